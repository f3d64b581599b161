"""From a target's configuration to a connection: a kubeconfig's context (exec plugins too), or a pod's service account."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from trimtab.deploy.knative.client.failures import Expired
from trimtab.errors import SpecError, TargetError, TargetUnreachable

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Connection(Struct, kw_only=True):
    """An open connection: the official client's, where it leads, and the namespace that it stands in."""

    client: Any
    host: str
    namespace: str
    context: str


def connect(context: str = "", kubeconfig: str = "") -> Connection:
    """Connect as the kubeconfig says, or as the pod that we run in does. Nothing is sent yet.

    Errors: TargetError without the extra, SpecError for a context that is not there, TargetUnreachable where nothing is
    configured, Expired for an exec plugin that gives no credentials.
    """
    try:
        from kubernetes import client, config
    except ImportError as exc:
        raise TargetError("the Knative target needs the Kubernetes client: pip install 'trimtab[knative]'") from exc
    configuration = client.Configuration()
    if not (context or kubeconfig) and _in_cluster():
        config.load_incluster_config(client_configuration=configuration)
        namespace = (_ACCOUNT / "namespace").read_text("utf-8").strip() if _ACCOUNT.exists() else "default"
        return _opened(client, configuration, namespace, "the pod's service account")
    # The client reads KUBECONFIG when it is imported, which in a notebook is long ago.
    path = kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    try:
        contexts, active = config.list_kube_config_contexts(config_file=path)
    except (config.ConfigException, OSError) as exc:
        raise TargetUnreachable(
            f"no cluster is configured: {path} cannot be used ({exc}); set KUBECONFIG, or name a kubeconfig for the target"
        ) from exc
    names = [each["name"] for each in contexts]
    if context and context not in names:
        raise SpecError("context", context, f"one of {', '.join(names)}")
    chosen = active if not context else next(each for each in contexts if each["name"] == context)
    try:
        with _listening() as heard:
            config.load_kube_config(
                path, context=chosen["name"], client_configuration=configuration, persist_config=False
            )
    except (config.ConfigException, OSError, ValueError) as exc:
        raise TargetUnreachable(f"context {chosen['name']!r} cannot be used: {exc}") from exc
    if heard and not (configuration.api_key or configuration.cert_file):
        plugin = _plugin(config.kube_config.KubeConfigMerger(path).config, chosen["context"]["user"])
        raise Expired(
            f"context {chosen['name']!r}: {plugin} gave no credentials ({heard[-1].removeprefix('exec: ')}): "
            "log in again, or run it by hand and see why"
        )
    return _opened(client, configuration, chosen["context"].get("namespace") or "default", chosen["name"])


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect what this thread logs as errors: the client tells of a plugin that fails there, and goes on without it."""
    heard: list[str] = []
    handler = logging.Handler(logging.ERROR)
    thread = threading.get_ident()
    handler.addFilter(lambda record: record.thread == thread)
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        yield heard
    finally:
        logging.getLogger().removeHandler(handler)


def _plugin(merged: Any, user: str) -> str:
    """Name what gets a user's credentials; without its arguments, in which there may be some."""
    found = merged["users"].get_with_name(user)["user"].safe_get("exec")
    return f"the exec plugin {found['command']!r}" if found else "its login"


def _in_cluster() -> bool:
    """A kubeconfig that is there wins: whoever set it means it."""
    given = os.environ.get("KUBECONFIG") or (Path.home() / ".kube" / "config").exists()
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and not given


def _opened(client: Any, configuration: Any, namespace: str, context: str) -> Connection:
    if not configuration.verify_ssl:
        # `insecure-skip-tls-verify` is the kubeconfig's own word: no warning for each request.
        import urllib3

        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return Connection(
        client=client.ApiClient(configuration), host=configuration.host, namespace=namespace, context=context
    )
