"""How a function's URL is reached where its domain does not resolve: the ingress' address, with the Host header."""

from __future__ import annotations

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from trimtab.deploy.knative.client.api import Api
from trimtab.deploy.knative.client.kinds import LOAD_BALANCER
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
            f"{parts.hostname} does not resolve here, and no load balancer was found: give --ingress ADDR, such as that of "
            "`kubectl port-forward -n kourier-system service/kourier 8080:80` (localhost:8080)"
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


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
