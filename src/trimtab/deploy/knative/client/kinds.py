"""Where objects of a kind are found in the API, and which of them we make."""

from __future__ import annotations

from msgspec import Struct


class Kind(Struct, frozen=True):
    """One kind of object: its group and version (`v1` for the core's), its plural, whether it lies in a namespace."""

    api: str
    name: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; empty for the core's."""
        return self.api.rpartition("/")[0]

    def path(self, namespace: str = "", name: str = "", sub: str = "") -> str:
        """Give the path of one object, or of all without a name."""
        parts = ["/apis" if self.group else "/api", self.api]
        parts += ["namespaces", namespace] if self.namespaced and namespace else []
        parts += [self.plural, *filter(None, (name, sub))]
        return "/".join(parts)


SERVICE = Kind("serving.knative.dev/v1", "Service", "services")
REVISION = Kind("serving.knative.dev/v1", "Revision", "revisions")
TRIGGER = Kind("eventing.knative.dev/v1", "Trigger", "triggers")
BROKER = Kind("eventing.knative.dev/v1", "Broker", "brokers")
PING_SOURCE = Kind("sources.knative.dev/v1", "PingSource", "pingsources")
SINK_BINDING = Kind("sources.knative.dev/v1", "SinkBinding", "sinkbindings")
CONTAINER_SOURCE = Kind("sources.knative.dev/v1", "ContainerSource", "containersources")
JOB_SINK = Kind("sinks.knative.dev/v1alpha1", "JobSink", "jobsinks")
CRON_JOB = Kind("batch/v1", "CronJob", "cronjobs")
JOB = Kind("batch/v1", "Job", "jobs")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
POD = Kind("v1", "Pod", "pods")
EVENT = Kind("v1", "Event", "events")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
ROLE = Kind("rbac.authorization.k8s.io/v1", "Role", "roles")
ROLE_BINDING = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
SCALED_OBJECT = Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects")
TRIGGER_AUTHENTICATION = Kind("keda.sh/v1alpha1", "TriggerAuthentication", "triggerauthentications")
NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")
CORE_SERVICE = Kind("v1", "Service", "services")
ACCESS_REVIEW = Kind("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False)

MADE = (
    CONFIG_MAP,
    SINK_BINDING,
    SERVICE,
    JOB_SINK,
    PING_SOURCE,
    CRON_JOB,
    TRIGGER,
    CONTAINER_SOURCE,
    DEPLOYMENT,
)
"""What a function's deployment can consist of; these are looked through for what is to be pruned."""
ALWAYS = (CONFIG_MAP, SERVICE)
"""What every function consists of, or nearly. Whoever may not look for the others made none."""
RARE = (SCALED_OBJECT, TRIGGER_AUTHENTICATION, ROLE_BINDING, ROLE, SERVICE_ACCOUNT)
"""What only some consist of."""
_BY_NAME = {(kind.api, kind.name): kind for kind in (*MADE, *RARE, JOB)}


def kind_of(manifest: dict[str, object]) -> Kind:
    """Give the kind of an object that we made."""
    return _BY_NAME[str(manifest["apiVersion"]), str(manifest["kind"])]
