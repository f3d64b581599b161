"""How a function's URL is reached where its domain does not resolve: the ingress' address, with the Host header."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.kinds import LOAD_BALANCER, POD
from trimtab.deploy.knative.describe import is_ready
from trimtab.deploy.knative.manifests.abc import Manifest
from trimtab.errors import Conflict, TargetError

_KNOWN = (
    ("kourier-system", "kourier"),
    ("knative-serving", "kourier"),
    ("istio-system", "istio-ingressgateway"),
    ("contour-external", "envoy"),
)
"""Namespace and name of the Service of each ingress that Knative installs."""


def through(url: str, ingress: str, discover: Callable[[], str]) -> tuple[str, dict[str, str]]:
    """Give the URL to call, and the headers to add. `discover` is asked when there is no `ingress` and no name.

    Errors: Conflict for https (its certificate is the name's), and for a name that nothing resolves.
    """
    parts = urlsplit(url)
    if not ingress and (not parts.hostname or _resolves(parts.hostname)):
        return url, {}
    address = ingress or discover()
    if not address:
        raise Conflict(
            f"{parts.hostname} does not resolve here, and neither a load balancer nor a pod of an ingress was found: give "
            "--ingress ADDR, such as that of `kubectl port-forward -n kourier-system service/kourier 8080:80` (localhost:8080)"
        )
    if parts.scheme != "http":
        raise Conflict(f"{url}: an ingress by its address is for http; let {parts.hostname} resolve to {address}")
    return parts._replace(netloc=address).geturl(), {"host": parts.netloc}


def load_balancer(api: Api) -> str:
    """Give the address of the cluster's ingress; empty where none is known."""
    for namespace, name in _KNOWN:
        try:
            found = api.find(LOAD_BALANCER, name, namespace)
        except TargetError:
            continue
        for each in (((found or {}).get("status") or {}).get("loadBalancer") or {}).get("ingress") or []:
            if address := each.get("ip") or each.get("hostname"):
                return f"[{address}]" if ":" in address else str(address)
    return ""


class Gate(Struct, frozen=True):
    """A pod of the cluster's ingress, and the port on which it takes http."""

    namespace: str
    pod: str
    port: int


def gate(api: Api) -> Gate | None:
    """Find a pod of the cluster's ingress that is ready; None where there is none that we may see."""
    for namespace, name in _KNOWN:
        try:
            service = api.find(LOAD_BALANCER, name, namespace)
            spec = (service or {}).get("spec") or {}
            pods = api.all(POD, spec["selector"], namespace=namespace) if spec.get("selector") else []
        except TargetError:
            continue
        for pod in filter(is_ready, pods):
            if port := _http_port(spec, pod):
                return Gate(namespace, pod["metadata"]["name"], port)
    return None


def _http_port(spec: dict[str, Any], pod: Manifest) -> int:
    """Give the pod's port behind port 80 of its Service, which may be named; 0 where there is none."""
    wanted = next((each.get("targetPort", 80) for each in spec.get("ports") or [] if each.get("port") == 80), 0)
    if isinstance(wanted, int):
        return wanted
    ports = (port for each in pod["spec"]["containers"] for port in each.get("ports") or [])
    return next((int(port["containerPort"]) for port in ports if port.get("name") == wanted), 0)


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
