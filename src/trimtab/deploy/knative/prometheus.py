"""A revision's counters from Prometheus, where a target names one: it keeps those of pods that are gone, too."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from trimtab.deploy.knative.canary import Counters
from trimtab.errors import TargetUnreachable
from trimtab.runtime import http

_NAMES = {"trimtab_requests_total": "code", "trimtab_request_duration_seconds_bucket": "le"}


def scrape(url: str, namespace: str, revision: str) -> Counters:
    """Ask for the counters as they are now. Errors: TargetUnreachable, also for an answer that is none.

    Replicas are told apart by what Prometheus calls them (`pod`, or else `instance`), and by their workers. Names of
    revisions may come again in another namespace, so the label `namespace` counts where Prometheus has set it.
    """
    found: Counters = {}
    for name, label in _NAMES.items():
        query = f'{name}{{revision="{revision}",namespace=~"{namespace}|"}}'
        for sample in _ask(url, query):
            metric, (_, value) = sample["metric"], sample["value"]
            replica = f"{metric.get('pod') or metric.get('instance', '')}/{metric.get('worker', '0')}"
            found[replica, label, metric[label]] = float(value)
    return found


def _ask(url: str, query: str) -> list[dict[str, dict[str, str]]]:
    where = http.join(url, f"api/v1/query?query={quote(query)}")
    with http.request("GET", where, [], None, timeout=10.0) as response:
        body = response.read()
    try:
        samples: list[dict[str, dict[str, str]]] = msgspec.json.decode(body)["data"]["result"]
    except (msgspec.DecodeError, KeyError, TypeError) as exc:
        raise TargetUnreachable(
            f"{url} answered {response.status}, and not as Prometheus does: {body[:200]!r}"
        ) from exc
    return samples
