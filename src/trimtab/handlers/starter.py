"""Starts one Kubernetes Job for each event: what a JobSink does, on clusters that have none.

The Job comes as `TRIMTAB_JOB`. Its name gets a digest of the event's source and id, so that an event that is delivered twice
starts one. The event, in CloudEvents' JSON format, is an annotation of the pod, which its own container finds as a file.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.errors import PermanentError, SpecError, TargetUnreachable, TemporaryError
from trimtab.events import Envelope
from trimtab.events.jsonformat import encode_event
from trimtab.runtime.event import Event
from trimtab.runtime.http import request

EVENT = "trimtab.dev/event"
"""The annotation that holds the event."""
LONGEST = 200 * 1024
"""Bytes of an event: Kubernetes allows 256 KiB for all annotations of an object together."""
DIGEST = 16
"""Characters of the digest in a name."""
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT = 10.0
_DELAY = 5.0
"""Seconds after which an event that could not become a Job may come again."""
_FINAL = {400, 404, 405, 413, 422}
"""Answers that the same Job will get again."""

logger = logging.getLogger("trimtab.starter")


class Cluster(Struct, frozen=True):
    """The API that a pod speaks to as its service account, whose token is read anew each time: it is rotated."""

    url: str
    account: Path

    def create(self, job: Mapping[str, Any]) -> bool:
        """Create a Job; False when one of its name is there. Errors: PermanentError, TemporaryError."""
        path = f"/apis/batch/v1/namespaces/{job['metadata']['namespace']}/jobs"
        token = (self.account / "token").read_bytes().strip()
        headers = [(b"authorization", b"Bearer " + token), (b"content-type", b"application/json")]
        tls = ssl.create_default_context(cafile=self.account / "ca.crt")
        try:
            with request(
                "POST", self.url + path, headers, msgspec.json.encode(job), timeout=_TIMEOUT, tls=tls
            ) as answer:
                return _created(answer.status, answer.read())
        except TargetUnreachable as exc:
            raise TemporaryError(str(exc), delay=_DELAY) from exc


def in_cluster(environ: Mapping[str, str], account: Path = _ACCOUNT) -> Cluster:
    """Give the cluster that this pod is in. Errors: SpecError outside of one."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (account / "token").is_file():
        raise SpecError("environment variable KUBERNETES_SERVICE_HOST", host, "what a pod with a service account has")
    return Cluster(f"https://{f'[{host}]' if ':' in host else host}:{port}", account)


class Starter:
    """One process's; any number of replicas may run."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self._job: dict[str, Any] = {}

    def load(self) -> None:
        """Read what to start, so that a wrong setting fails the deployment. Errors: SpecError, naming the variable."""
        text = os.environ.get("TRIMTAB_JOB", "")
        try:
            self._job = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError as exc:
            raise SpecError("environment variable TRIMTAB_JOB", text, "a Kubernetes Job as JSON") from exc
        self._cluster = in_cluster(os.environ, _ACCOUNT)

    def __call__(self, context: Any, event: Event) -> None:
        """Start the event's Job, if nothing has yet."""
        if event.envelope is None:
            raise PermanentError("a job is started by a POST of a CloudEvent")
        assert self._cluster is not None
        job = started(self._job, event.envelope)
        fresh = self._cluster.create(job)
        logger.info(
            "event %s: job %s %s", event.envelope.id, job["metadata"]["name"], "started" if fresh else "is there"
        )


def started(job: dict[str, Any], envelope: Envelope) -> dict[str, Any]:
    """Give the Job of an event. Errors: PermanentError for an event that is too long."""
    text = encode_event(envelope)
    if len(text) > LONGEST:
        raise PermanentError(
            f"the event has {len(text)} bytes; one that starts a job has at most {LONGEST}", status=413
        )
    made = copy.deepcopy(job)
    digest = hashlib.sha256(f"{envelope.source}\0{envelope.id}".encode()).hexdigest()[:DIGEST]
    made["metadata"]["name"] = f"{made['metadata']['name']}-{digest}"
    made["spec"]["template"]["metadata"].setdefault("annotations", {})[EVENT] = text.decode()
    return made


def _created(status: int, body: bytes) -> bool:
    if 200 <= status < 300:
        return True
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        said = {}
    if status == 409 and said.get("reason") == "AlreadyExists":
        return False
    message = f"the cluster answered {status} to the job: {said.get('message', '')}"
    if status in _FINAL:
        raise PermanentError(message, status=422)
    raise TemporaryError(message, delay=_DELAY)


handler = Starter
