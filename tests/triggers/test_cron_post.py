"""The pod of a CronJob posts its tick as the local target's cron would, and tries again as its trigger says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from trimtab.errors import SpecError
from trimtab.triggers.cron.post import due, tick


class Receiver:
    """A function that answers what it is told to, in turn, and the last again and again."""

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.events = list(statuses), list[dict[str, Any]]()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.events.append({**{k.lower(): v for k, v in self.headers.items()}, "body": body})
                rest = receiver.statuses
                self.send_response(rest.pop(0) if len(rest) > 1 else rest[0])
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receivers() -> Iterator[list[Receiver]]:
    made: list[Receiver] = []
    yield made
    for receiver in made:
        receiver.close()


def environ(url: str, **retry: Any) -> dict[str, str]:
    trigger = {"kind": "cron", "name": "nightly", "schedule": "0 3 * * *", "data": {"a": 1}, "retry": retry}
    return {
        "TRIMTAB_FUNCTION": "report",
        "TRIMTAB_TICK": json.dumps(trigger),
        "TRIMTAB_TICK_SOURCE": "/apis/v1/namespaces/shop/pingsources/report-nightly",
        "TRIMTAB_TICK_URL": url,
        "TRIMTAB_TICK_JOB": "report-nightly-29400660",
    }


def run(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trimtab.triggers.cron.post"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_tick_is_posted_as_an_event_named_by_trigger_and_moment(receivers: list[Receiver]) -> None:
    receivers.append(receiver := Receiver(202))
    done = run(environ(receiver.url))
    assert (done.returncode, done.stderr) == (0, "")
    (event,) = receiver.events
    assert event["ce-id"] == "report/nightly/2025-11-25T03:00:00Z"
    assert event["ce-type"] == "dev.knative.sources.ping"
    assert event["ce-source"] == "/apis/v1/namespaces/shop/pingsources/report-nightly"
    assert event["ce-time"] == "2025-11-25T03:00:00Z"
    assert event["body"] == b'{"a":1}'


def test_a_tick_is_tried_again_until_it_is_taken(receivers: list[Receiver]) -> None:
    receivers.append(receiver := Receiver(503, 500, 202))
    done = run(environ(receiver.url, delay="10ms"))
    assert done.returncode == 0
    assert [event["ce-id"] for event in receiver.events] == ["report/nightly/2025-11-25T03:00:00Z"] * 3
    assert done.stderr.splitlines() == ["try 1: 503", "try 2: 500"]


def test_a_tick_that_nobody_takes_goes_to_the_dead_letters_and_fails_the_pod(receivers: list[Receiver]) -> None:
    receivers.extend([receiver := Receiver(500), dead := Receiver(202)])
    done = run(environ(receiver.url, attempts=1, delay="10ms", deadLetter=dead.url))
    assert (done.returncode, len(receiver.events)) == (1, 2)
    (event,) = dead.events
    assert (event["ce-knativeerrordest"], event["ce-knativeerrorcode"]) == (receiver.url, "500")


def test_a_refusal_is_final(receivers: list[Receiver]) -> None:
    receivers.append(receiver := Receiver(400))
    assert run(environ(receiver.url)).returncode == 1
    assert len(receiver.events) == 1


def test_what_the_job_does_not_say_is_named() -> None:
    variables = environ("http://x/")
    with pytest.raises(SpecError, match="environment variable TRIMTAB_TICK_URL: found nothing"):
        tick({**variables, "TRIMTAB_TICK_URL": ""})
    with pytest.raises(SpecError, match="TRIMTAB_TICK: found 'no json', allowed: a cron trigger as JSON"):
        tick({**variables, "TRIMTAB_TICK": "no json"})
    done = run({**variables, "TRIMTAB_TICK_JOB": "by-hand"})
    assert (done.returncode, "the name of a CronJob's Job" in done.stdout) == (2, True)


def test_a_jobs_name_says_when_it_was_due() -> None:
    assert due("a-b-29400660") == datetime(2025, 11, 25, 3, tzinfo=UTC)
