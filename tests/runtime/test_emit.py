"""The emitter against sinks that are well, slow, picky, overloaded, deaf or gone."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trimtab.errors import EventError, SpecError
from trimtab.events import Envelope, make
from trimtab.runtime.binding import Mode, is_event, read, read_batch
from trimtab.runtime.emit import Counters, Emitter, Policy
from trimtab.runtime.retry import backoff, retried, retry_after

FAST = Policy(delay=0.005, delay_most=0.02, linger=0.001)
Answer = tuple[int, dict[str, str]]
OK: Answer = (202, {})


class Sink:
    """A real HTTP server. `answer` decides on each request from its events; None hangs up without an answer."""

    def __init__(self) -> None:
        self.answer: Callable[[list[Envelope]], Answer | None] = lambda _: OK
        self.requests: list[list[Envelope]] = []
        self.taken: list[Envelope] = []
        self.modes: set[Mode] = set()
        self.open = threading.Event()
        """Cleared, the sink takes connections and requests and never answers."""
        self.open.set()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sink.serve(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that hangs up is no news here."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        headers = [(name.lower().encode(), value.encode()) for name, value in handler.headers.items()]
        mode = is_event(headers)
        events = read_batch(body) if mode is Mode.BATCH else [read(headers, body)]
        self.modes.add(mode)
        self.requests.append(events)
        self.open.wait(30)
        answer = self.answer(events)
        if answer is None:
            handler.close_connection = True
            return
        status, extra = answer
        if status < 300:
            self.taken += events
        handler.send_response(status)
        for name, value in {"content-length": "0", **extra}.items():
            handler.send_header(name, value)
        handler.end_headers()

    @property
    def ids(self) -> list[str]:
        return [event.id for event in self.taken]

    def close(self) -> None:
        self.open.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


@pytest.fixture
def nobody() -> str:
    """A URL at which nobody listens."""
    gone = Sink()
    gone.close()
    return gone.url


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)


def event(number: object, **attributes: str) -> Envelope:
    return make("com.example.made", "/me", {"n": 1}, id=str(number), **attributes)


def emit(emitter: Emitter, count: int, first: int = 0) -> list[str]:
    for number in range(first, first + count):
        emitter.emit(event(number))
    return [str(number) for number in range(first, first + count)]


def settled(emitter: Emitter) -> bool:
    counters = emitter.counters()
    return counters.sent + counters.dropped == counters.emitted + counters.recovered


def balanced(counters: Counters) -> bool:
    return (
        counters.emitted + counters.recovered == counters.sent + counters.queued + counters.spilled + counters.dropped
    )


def test_events_arrive_in_binary_mode_with_the_overrides(sink: Sink) -> None:
    emitter = Emitter(sink.url, overrides={"project": "p", "ext": "over"})
    emitter.emit(event(1, ext="own", other="kept"))
    emitter.close(10)
    (got,) = sink.taken
    assert got == event(1, ext="over", other="kept", project="p", time=got.attributes["time"])
    assert sink.modes == {Mode.BINARY}
    assert emitter.counters() == Counters(emitted=1, sent=1)


def test_order_is_kept_with_one_request_at_a_time(sink: Sink) -> None:
    emitter = Emitter(sink.url, policy=Policy(in_flight=1))
    expected = emit(emitter, 200)
    emitter.close(10)
    assert sink.ids == expected


def test_all_events_of_many_threads_arrive_once(sink: Sink) -> None:
    emitter = Emitter(sink.url)
    threads = [threading.Thread(target=emit, args=(emitter, 100, 100 * n)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    emitter.close(20)
    assert sorted(map(int, sink.ids)) == list(range(800))


def test_a_function_that_emits_nothing_has_no_thread(sink: Sink, tmp_path: Path) -> None:
    before = threading.active_count()
    emitter = Emitter(sink.url, spool=tmp_path / "spool")
    emitter.start()
    assert threading.active_count() == before
    emitter.close(1)
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize("refusal", [None, (404, {}), (408, {}), (409, {}), (429, {}), (500, {}), (503, {}), (599, {})])
def test_what_knative_retries_is_sent_again(sink: Sink, refusal: Answer | None) -> None:
    sink.answer = lambda _: refusal if len(sink.requests) < 4 else OK
    emitter = Emitter(sink.url, policy=FAST)
    emitter.emit(event(1))
    until(lambda: settled(emitter))
    emitter.close(10)
    assert sink.ids == ["1"]
    assert len(sink.requests) == 4
    assert emitter.counters() == Counters(emitted=1, sent=1)


@pytest.mark.parametrize("status", [301, 304, 400, 401, 403, 413, 415])
def test_other_refusals_are_final_and_counted_with_the_reason(sink: Sink, status: int) -> None:
    sink.answer = lambda _: (status, {})
    emitter = Emitter(sink.url, policy=FAST)
    emit(emitter, 3)
    emitter.close(10)
    assert len(sink.requests) == 3
    assert emitter.counters() == Counters(emitted=3, dropped=3, reasons={f"the sink answered {status}": 3})


def test_the_reason_of_drops_is_logged_once_a_minute(sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    sink.answer = lambda _: (400, {})
    emitter = Emitter(sink.url, policy=FAST)
    emit(emitter, 50)
    until(lambda: settled(emitter))
    assert [record.getMessage() for record in caplog.records] == ["1 emitted event dropped: the sink answered 400"]
    emitter.close(10)
    assert [record.getMessage() for record in caplog.records][1:] == [
        "49 emitted events dropped: the sink answered 400"
    ]


def test_retry_after_is_honoured(sink: Sink, tmp_path: Path) -> None:
    sink.answer = lambda _: (503, {"Retry-After": "3600"})
    emitter = Emitter(sink.url, policy=Policy(delay=0.001, delay_most=0.001, in_flight=1), spool=tmp_path)
    emitter.emit(event(0))
    until(lambda: len(sink.requests) == 1)
    for number in range(1, 50):
        emitter.emit(event(number))
        until(lambda number=number: emitter.counters().spilled == number)  # type: ignore[misc]
    assert len(sink.requests) == 1
    emitter.close(10)
    assert emitter.counters().spilled == 50


def test_batches_go_to_sinks_that_invite_them(sink: Sink) -> None:
    sink.answer = lambda _: (202, {"trimtab-batch": "accept"})
    emitter = Emitter(sink.url, policy=Policy(in_flight=2))
    expected = emit(emitter, 1000)
    emitter.close(10)
    assert sorted(sink.ids, key=int) == expected
    assert len(sink.requests) < 100
    assert max(map(len, sink.requests)) == 100
    assert sink.modes == {Mode.BINARY, Mode.BATCH}


def test_the_bad_event_of_a_batch_costs_only_itself(sink: Sink) -> None:
    def answer(events: list[Envelope]) -> Answer:
        return (400 if any(event.id == "50" for event in events) else 202, {"trimtab-batch": "accept"})

    sink.answer = answer
    emitter = Emitter(sink.url, policy=FAST)
    expected = emit(emitter, 100)
    emitter.close(10)
    assert sorted(sink.ids, key=int) == [number for number in expected if number != "50"]
    assert emitter.counters() == Counters(emitted=100, sent=99, dropped=1, reasons={"the sink answered 400": 1})


def test_an_event_on_which_the_sink_fails_is_dropped_in_the_end_and_holds_up_no_other(sink: Sink) -> None:
    sink.answer = lambda events: (500, {}) if events[0].id == "bad" else OK
    emitter = Emitter(sink.url, policy=Policy(delay=0.005, delay_most=0.02, tries=4))
    emitter.emit(event("bad"))
    expected = emit(emitter, 20)
    until(lambda: len(sink.taken) == 20)
    expected += emit(emitter, 20, first=20)
    until(lambda: settled(emitter))
    emitter.close(10)
    assert sorted(sink.ids, key=int) == expected
    assert emitter.counters().reasons == {"the sink answered 500 to 4 tries": 1}


def test_a_sink_that_fails_on_everything_loses_nothing(sink: Sink, tmp_path: Path) -> None:
    """However many tries: while no event gets through, it is the sink and not the events."""
    sink.answer = lambda _: (500, {})
    emitter = Emitter(sink.url, policy=Policy(delay=0.001, delay_most=0.002, tries=2), spool=tmp_path)
    expected = emit(emitter, 50)
    until(lambda: len(sink.requests) > 30)
    sink.answer = lambda _: OK
    until(lambda: settled(emitter))
    emitter.close(10)
    assert sorted(set(sink.ids), key=int) == expected
    assert emitter.counters().dropped == 0


@pytest.mark.parametrize("kind", ["refused", "silent", "failing"])
def test_a_dead_sink_holds_up_nobody_and_loses_nothing(sink: Sink, nobody: str, tmp_path: Path, kind: str) -> None:
    """All emits return while not one request has been answered well, and all events wait in memory and on disk."""
    if kind == "silent":
        sink.open.clear()
    sink.answer = lambda _: (500, {})
    emitter = Emitter(nobody if kind == "refused" else sink.url, policy=FAST, memory=500, spool=tmp_path / "spool")
    for first in range(0, 3000, 200):
        emit(emitter, 200, first)
        # The bound of memory holds for a burst; the thread has the disk for what lasts.
        until(lambda: emitter.counters().queued <= 300)
    assert sink.taken == []
    until(lambda: balanced(emitter.counters()))
    counters = emitter.counters()
    assert (counters.emitted, counters.sent, counters.dropped) == (3000, 0, 0)
    assert counters.spilled >= 2700
    sink.answer = lambda _: OK
    sink.open.set()
    if kind == "refused":
        emitter.close(5)
        emitter = Emitter(sink.url, policy=FAST, spool=tmp_path / "spool")
        emitter.start()
    until(lambda: len(set(sink.ids)) == 3000)
    until(lambda: settled(emitter))
    emitter.close(5)
    assert emitter.counters().dropped == 0


def test_memory_is_bounded_and_what_exceeds_it_is_counted(sink: Sink) -> None:
    sink.open.clear()
    emitter = Emitter(sink.url, memory=100, policy=Policy(in_flight=2))
    emit(emitter, 1000)
    counters = emitter.counters()
    assert balanced(counters)
    assert counters.queued <= 102
    assert counters.reasons == {"memory is full": 1000 - counters.queued}
    sink.open.set()
    emitter.close(10)
    assert emitter.counters().sent == counters.queued
    assert not any(event.data == b"" for event in sink.taken)


def test_memory_is_bounded_in_bytes(sink: Sink) -> None:
    sink.open.clear()
    emitter = Emitter(sink.url, memory_bytes=1_000_000, policy=Policy(in_flight=1))
    for number in range(100):
        emitter.emit(make("t", "/s", b"x" * 100_000, id=str(number)))
    assert emitter.counters().queued <= 10
    sink.open.set()
    emitter.close(10)


def test_disk_is_bounded_and_what_exceeds_it_is_counted(nobody: str, tmp_path: Path) -> None:
    emitter = Emitter(nobody, memory=50, spool=tmp_path, spool_bytes=10_000, policy=FAST)
    for number in range(1000):
        emitter.emit(event(number))
        if number % 20 == 0:
            until(lambda: balanced(emitter.counters()))
    emitter.close(5)
    counters = emitter.counters()
    assert balanced(counters)
    assert 20 < counters.spilled < 100
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*.seg")) <= 10_000
    assert set(counters.reasons) <= {"memory is full", "the replica ended before the sink took them"}


def test_without_a_disk_what_is_left_at_the_end_is_counted(nobody: str) -> None:
    emitter = Emitter(nobody, policy=FAST)
    emit(emitter, 10)
    emitter.close(0.05)
    assert emitter.counters() == Counters(
        emitted=10, dropped=10, reasons={"the replica ended before the sink took them": 10}
    )


def test_close_sends_what_is_left(sink: Sink) -> None:
    emitter = Emitter(sink.url, policy=Policy(linger=60))
    emit(emitter, 300)
    emitter.close(20)
    assert len(sink.taken) == 300


def test_close_gives_up_on_a_silent_sink_and_the_next_process_delivers(sink: Sink, tmp_path: Path) -> None:
    sink.open.clear()
    emitter = Emitter(sink.url, spool=tmp_path)
    expected = emit(emitter, 100)
    until(lambda: len(sink.requests) == 8)
    emitter.close(0.05)
    assert emitter.counters() == Counters(emitted=100, spilled=100)
    sink.open.set()
    again = Emitter(sink.url, spool=tmp_path, policy=FAST)
    again.start()
    until(lambda: settled(again) and again.counters().recovered == 100)
    again.close(10)
    assert sorted(set(sink.ids), key=int) == expected
    assert again.counters() == Counters(recovered=100, sent=100)


def test_emitting_after_the_end_is_counted(sink: Sink) -> None:
    for used in (True, False):
        emitter = Emitter(sink.url)
        if used:
            emitter.emit(event(1))
        emitter.close(10)
        emitter.close(10)
        emitter.emit(event(2))
        assert emitter.counters().reasons == {"emitted after the end": 1}


def test_a_malformed_event_is_the_callers_fault(sink: Sink) -> None:
    emitter = Emitter(sink.url)
    with pytest.raises(EventError) as caught:
        emitter.emit(Envelope({"specversion": "1.0", "id": "1", "source": "/s"}))
    assert caught.value.attribute == "type"
    emitter.close(1)
    assert emitter.counters() == Counters()


@pytest.mark.parametrize(
    ("sink_url", "overrides", "path"),
    [
        ("nowhere", {}, "sink"),
        ("http://x/", {"id": "1"}, "overrides.id"),
        ("http://x/", {"My-Ext": "1"}, "overrides"),
    ],
)
def test_impossible_settings_are_refused(sink_url: str, overrides: dict[str, str], path: str) -> None:
    with pytest.raises(SpecError) as caught:
        Emitter(sink_url, overrides=overrides)
    assert caught.value.path == path


def test_what_a_killed_process_left_on_disk_is_delivered(sink: Sink, nobody: str, tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from trimtab.events import make
from trimtab.runtime.emit import Emitter
emitter = Emitter(sys.argv[1], spool=Path(sys.argv[2]))
for number in range(500):
    emitter.emit(make("t", "/s", {"n": 1}, id=str(number)))
while emitter.counters().spilled < 490:
    time.sleep(0.005)
print("spilled", flush=True)
time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code, nobody, tmp_path], stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout
        assert child.stdout.readline() == "spilled\n"
        alive = Emitter(sink.url, spool=tmp_path)
        alive.start()
        alive.emit(event("of its neighbour"))
        until(lambda: settled(alive) and len(sink.taken) == 1)
        child.send_signal(signal.SIGKILL)
    alive.close(10)
    assert alive.counters().recovered == 0
    heir = Emitter(sink.url, spool=tmp_path)
    heir.start()
    until(lambda: settled(heir) and heir.counters().recovered >= 490)
    heir.close(10)
    assert len(set(sink.ids)) == heir.counters().sent + 1


def test_an_emitter_made_before_a_fork_starts_afresh_in_the_child(sink: Sink, tmp_path: Path) -> None:
    code = """
import os, sys, warnings
from pathlib import Path
from trimtab.events import make
from trimtab.runtime.emit import Emitter
warnings.simplefilter("ignore", DeprecationWarning)
emitter = Emitter(sys.argv[1], spool=Path(sys.argv[2]))
emitter.emit(make("t", "/s", id="parent"))
if child := os.fork():
    emitter.close(10)
    assert emitter.counters().sent == 1
    assert os.waitpid(child, 0)[1] == 0
else:
    emitter.close(0)
    emitter.emit(make("t", "/s", id="child"))
    emitter.close(10)
    os._exit(0 if emitter.counters().sent == emitter.counters().emitted == 1 else 1)
"""
    subprocess.run([sys.executable, "-c", code, sink.url, tmp_path], check=True)
    assert sorted(sink.ids) == ["child", "parent"]


def test_the_log_says_once_that_the_sink_is_away_and_when_it_is_back(
    sink: Sink, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sink.answer = lambda _: (503, {}) if len(sink.requests) < 20 else OK
    emitter = Emitter(sink.url, policy=FAST, spool=tmp_path)
    emit(emitter, 30)
    until(lambda: settled(emitter))
    emitter.close(10)
    assert [record.getMessage() for record in caplog.records] == [
        f"the sink {sink.url} is away, events are kept for it: status 503",
        f"the sink {sink.url} is back",
    ]


def test_which_answers_are_worth_another_try() -> None:
    again = {0, 404, 408, 409, 429, *range(500, 600)}
    assert {status for status in [0, *range(200, 600)] if retried(status)} == again


def test_backoff_doubles_up_to_a_bound_and_takes_off_up_to_a_half() -> None:
    assert [backoff(n, 0.0, delay=0.2, most=2.0) for n in (1, 2, 3, 4, 5, 1000)] == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert backoff(1, 0.999, delay=0.2, most=2.0) == pytest.approx(0.1001)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, 10.0) == seconds
