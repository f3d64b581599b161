"""The targets by name: this machine, the cluster that the kubeconfig points to, and those of a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import yaml
from msgspec import Struct

from trimtab.config import settings
from trimtab.errors import SpecError

if TYPE_CHECKING:
    from trimtab.deploy.abc import Target
    from trimtab.deploy.knative.target import KnativeTarget

FILE = "targets.yaml"


class ClusterSettings(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One cluster that functions are deployed to. What is empty is the kubeconfig's, or the environment's."""

    name: str = "knative"
    """What `--target` calls it."""
    context: str = ""
    """The kubeconfig's context. Empty: the current one (`TRIMTAB_CONTEXT` for the target `knative`)."""
    kubeconfig: str = ""
    """The kubeconfig's path. Empty: KUBECONFIG, or ~/.kube/config; without either, the pod's service account."""
    namespace: str = ""
    """Where functions go. Empty: the function's own, or the context's (`TRIMTAB_NAMESPACE`)."""
    registry: str = ""
    """Where images are pushed, such as `registry.example.com/team` (`TRIMTAB_REGISTRY`)."""
    ingress: str = ""
    """The address of the cluster's ingress, where its domain does not resolve from here (`TRIMTAB_INGRESS`)."""
    prometheus: str = ""
    """The URL of a Prometheus that scrapes the functions, for canaries. Empty: the pods are asked."""
    artifacts: str = ""
    """Where functions on the cluster keep artifacts, such as `s3://bucket/artifacts` (their `TRIMTAB_ARTIFACTS`)."""
    state: str = ""
    """Where they share small documents: `redis://:$(PASSWORD)@host/0` (their `TRIMTAB_STATE`); PASSWORD is one of the
    function's own variables."""

    @property
    def environ(self) -> dict[str, str]:
        """What functions are told of these two."""
        found = {"TRIMTAB_ARTIFACTS": self.artifacts, "TRIMTAB_STATE": self.state}
        return {name: value for name, value in found.items() if value}


class _File(Struct, forbid_unknown_fields=True):
    targets: dict[str, dict[str, str]] = {}


def clusters(environ: Mapping[str, str] = os.environ) -> dict[str, ClusterSettings]:
    """Give the clusters by name: `knative`, and those of `$TRIMTAB_HOME/targets.yaml` (or TRIMTAB_TARGETS).

    Errors: SpecError, naming the file and the field.
    """
    own = ClusterSettings(
        context=environ.get("TRIMTAB_CONTEXT", ""),
        namespace=environ.get("TRIMTAB_NAMESPACE", ""),
        registry=environ.get("TRIMTAB_REGISTRY", ""),
        ingress=environ.get("TRIMTAB_INGRESS", ""),
    )
    return {own.name: own, **_read(Path(environ.get("TRIMTAB_TARGETS") or settings(environ).home / FILE), own)}


def names() -> list[str]:
    """Give the names that `--target` takes."""
    return ["local", *clusters()]


def find(name: str | None) -> Target:
    """Give the target of a name (None: this machine). Errors: SpecError, naming those there are."""
    if name in (None, "local"):
        from trimtab.deploy.local.target import LocalTarget

        return LocalTarget(settings())
    return cluster(str(name))


def cluster(name: str) -> KnativeTarget:
    """Give the cluster of a name. Errors: SpecError, naming the targets there are."""
    from trimtab.deploy.knative.target import KnativeTarget

    return KnativeTarget(settings_of(name))


def settings_of(name: str) -> ClusterSettings:
    """Give a cluster's settings. Errors: SpecError, naming the targets there are."""
    known = clusters()
    if name not in known:
        allowed = f"a cluster: {', '.join(known)}" if name == "local" else f"one of {', '.join(['local', *known])}"
        raise SpecError("target", name, allowed, hint=f"$TRIMTAB_HOME/{FILE} names more")
    return known[name]


def _read(path: Path, own: ClusterSettings) -> dict[str, ClusterSettings]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise SpecError("targets", str(path), f"a file that can be read ({exc.strerror})") from exc
    try:
        found = msgspec.convert(yaml.safe_load(text) or {}, _File).targets
        made = {
            name: msgspec.convert({"registry": own.registry, **fields, "name": name}, ClusterSettings)
            for name, fields in found.items()
        }
    except (yaml.YAMLError, msgspec.ValidationError) as exc:
        allowed = "targets: {NAME: {context, kubeconfig, namespace, registry, ingress, prometheus, artifacts, state}}"
        raise SpecError("targets", str(path), allowed, hint=str(exc)) from exc
    if "local" in made:
        raise SpecError("targets.local", str(path), "another name: `local` is this machine")
    return made
