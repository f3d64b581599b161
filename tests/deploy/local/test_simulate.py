from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.deploy.local.simulate import Arrival, Report, Service, Trace, simulate
from trimtab.errors import SpecError
from trimtab.spec import Scale

ENDLESS = 10**9


def erlang_c(servers: int, load: float) -> float:
    """The probability that a request of an M/M/c queue waits; `load` per server (Erlang, 1917)."""
    offered = servers * load
    last = offered**servers / math.factorial(servers) / (1 - load)
    return last / (math.fsum(offered**k / math.factorial(k) for k in range(servers)) + last)


def fixed(servers: int, rate: float, service: str, *, seed: int = 1, requests: int = 60_000) -> Report:
    trace = Trace.parse(f"0s:{rate}rps,{requests / rate:.3f}s")
    scale = Scale(min=servers, max=servers, concurrency=1)
    return simulate(scale, trace, service=service, seed=seed, queue=ENDLESS)


# Against theory


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (2, 0.7), (4, 0.7), (8, 0.8)])
def test_fixed_replicas_wait_as_erlang_c_says(servers: int, load: float) -> None:
    mu = 10.0
    rate = servers * mu * load
    report = fixed(servers, rate, "exponential:100ms")
    chance = erlang_c(servers, load)
    assert report.waits.waited / report.served == pytest.approx(chance, rel=0.06)
    assert report.waits.mean == pytest.approx(chance / (servers * mu - rate), rel=0.12)


@pytest.mark.parametrize("load", [0.3, 0.5, 0.8])
def test_a_constant_service_waits_half_as_long(load: float) -> None:
    """M/D/1, Pollaczek-Khinchine: mean wait = load / (2 mu (1 - load))."""
    report = fixed(1, 10 * load, "100ms")
    assert report.waits.mean == pytest.approx(load / (2 * 10 * (1 - load)), rel=0.08)


def test_what_is_in_flight_on_average_is_rate_times_time() -> None:
    """Little's law, over what is in flight and what waits."""
    report = fixed(4, 28.0, "exponential:100ms")
    seconds = len(report.points)
    assert math.fsum(p.in_flight for p in report.points) / seconds == pytest.approx(28 * 0.1, rel=0.02)
    waiting = math.fsum(p.waiting for p in report.points)
    assert waiting == pytest.approx(report.waits.mean * report.served, rel=1e-6)


# By hand


def test_requests_of_a_trace_by_hand() -> None:
    """One replica, one slot. At 0 s a request of 2 s; at 1 s one of 1 s waits 1 s; at 5 s one finds it idle."""
    trace = Trace.parse("timestamp,duration\n0,2\n1,1\n5,500ms\n")
    report = simulate(Scale(min=1, max=1, concurrency=1), trace)
    assert (report.requests, report.served, report.refused) == (3, 3, 0)
    assert (report.waits.longest, report.waits.waited, report.waits.p50) == (1.0, 1, 0.0)
    assert [p.in_flight for p in report.points[:6]] == [1, 1, 1, 0, 0, 0.5]
    assert [p.waiting for p in report.points[:6]] == [0, 1, 0, 0, 0, 0]
    assert (report.cold_starts, report.cold_requests, report.peak_replicas) == (0, 0, 1)
    assert report.replica_seconds == report.seconds == 6.0


def test_the_first_request_at_zero_waits_for_the_cold_start() -> None:
    report = simulate(Scale(window="6s"), Trace.parse("10\n"), service="50ms", cold_start=0.25)
    assert (report.cold_starts, report.cold_requests, report.waits.longest) == (1, 1, 0.25)
    assert [(c.time, c.before, c.after) for c in report.changes] == [(0.0, 0, 1), (8.0, 1, 0)]
    assert report.replica_seconds == 8.0
    assert report.points[-1].want == 0


def test_what_does_not_fit_the_queue_is_refused() -> None:
    trace = Trace.parse("\n".join(["0,10"] * 5))
    report = simulate(Scale(min=1, max=1, concurrency=1), trace, queue=2)
    assert (report.requests, report.served, report.refused) == (5, 3, 2)
    assert report.waits.longest == 20.0


def test_without_a_limit_nothing_waits_at_a_ready_replica() -> None:
    report = simulate(Scale(min=1, max=1), Trace.parse("0s:500rps,5s"), service="1s")
    assert report.waits.waited == 0
    assert report.peak_replicas == 1


def test_a_surge_scales_out_and_back_to_zero() -> None:
    trace = Trace.parse("0s:5rps,30s:100rps,60s")
    report = simulate(Scale(concurrency=2, window="10s", max=12), trace, service="100ms", cold_start=0.2, seed=4)
    wants = [change.after for change in report.changes]
    assert wants[0] == 1
    assert max(wants) == report.peak_replicas == 12
    assert wants[-1] == 0
    assert report.points[-1].ready == 0
    assert report.served == report.requests
    assert "panic" in next(change.reason for change in report.changes if change.after == 12)


def test_a_replica_that_leaves_finishes_its_work() -> None:
    """Two requests of 40 s; the second replica is not needed after the windows have forgotten the surge of 60."""
    trace = Trace.parse("\n".join([f"{n / 1000},100ms" for n in range(60)] + ["0.1,40", "0.2,40"]))
    report = simulate(Scale(target=10, concurrency=10, window="6s", retention="5s"), trace, cold_start=0.0)
    assert report.served == report.requests == 62
    assert report.seconds > 40
    assert report.points[-1].ready == 0


def test_a_trace_that_ends_quietly_is_simulated_to_its_end() -> None:
    assert simulate(Scale(window="6s"), Trace.parse("0s:5rps,5s:0rps,120s")).seconds == 120.0


def test_a_seed_gives_the_same_report_and_another_one_another() -> None:
    trace = Trace.parse("0s:20rps,20s")
    first, again, other = (simulate(Scale(concurrency=1), trace, service="exponential:50ms", seed=s) for s in (1, 1, 2))
    assert first == again
    assert first != other


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 40), st.floats(0, 5)), min_size=1, max_size=60),
    st.integers(0, 2),
    st.integers(0, 3),
    st.integers(0, 20),
    st.sampled_from([0.0, 0.3, 3.0]),
)
def test_every_request_is_served_or_refused_and_replicas_keep_their_bounds(
    rows: list[tuple[float, float]], least: int, concurrency: int, queue: int, cold_start: float
) -> None:
    trace = Trace.parse("\n".join(f"{time},{duration}" for time, duration in rows))
    scale = Scale(min=least, max=4, concurrency=concurrency, window="6s")
    report = simulate(scale, trace, queue=queue, cold_start=cold_start)
    assert report.requests == len(rows) == report.served + report.refused
    assert all(least <= p.want <= 4 and p.ready + p.starting == p.want for p in report.points)
    served = math.fsum(p.in_flight for p in report.points)
    assert served <= math.fsum(duration for _, duration in rows) + 1e-6
    assert report.points[-1].want == least


# Traces


@pytest.mark.parametrize(
    ("text", "arrivals"),
    [
        ("3\n1\n2", [(0, None), (1, None), (2, None)]),
        ("timestamp\n1.5\n2", [(0, None), (0.5, None)]),
        ("duration,user,timestamp\n20ms,x,5\n,y,6\n", [(0, 0.02), (1, None)]),
        ("0,0.5\n\n1,250ms\n2,1.5e-05", [(0, 0.5), (1, 0.25), (2, 1.5e-05)]),
        ("2026-01-31T08:00:00Z\n2026-01-31T09:00:01+01:00\n2026-01-31T08:00:02", [(0, None), (1, None), (2, None)]),
        ("2026-01-31T08:00:00Z", [(0, None)]),
        ('{"timestamp": 7, "duration": "1s"}\n\n{"timestamp": "8.5", "path": "/"}', [(0, 1.0), (1.5, None)]),
    ],
)
def test_recorded_requests(text: str, arrivals: list[tuple[float, float | None]]) -> None:
    trace = Trace.parse(text)
    assert list(trace.arrivals(1)) == [Arrival(*row) for row in arrivals]
    assert trace.end == arrivals[-1][0]


@pytest.mark.parametrize(
    ("text", "steps", "end"),
    [
        ("0s:10rps", [(0, 10)], 60),
        ("0s:10rps,20s:200rps", [(0, 10), (20, 200)], 40),
        (" 0:1.5, 1m:0rps ,1m30s", [(0, 1.5), (60, 0)], 90),
    ],
)
def test_steps_of_a_rate(text: str, steps: list[tuple[float, float]], end: float) -> None:
    trace = Trace.parse(text)
    assert [(step.start, step.rate) for step in trace.steps] == steps
    assert trace.end == end


def test_requests_of_a_step_come_at_its_rate_within_its_time() -> None:
    times = [arrival.time for arrival in Trace.parse("5s:100rps,45s:0rps,60s:50rps,100s").arrivals(9)]
    assert times == sorted(times)
    assert sum(5 <= time < 45 for time in times) == pytest.approx(4000, rel=0.06)
    assert sum(60 <= time < 100 for time in times) == pytest.approx(2000, rel=0.08)
    assert all(5 <= time < 45 or 60 <= time < 100 for time in times)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  \n", r"^trace: found '  \\n', allowed: rate steps such as"),
        ("0s:10rps,x", r"^trace step 2: found 'x', allowed: a duration"),
        ("0s:10rps,0s:20rps", r"^trace step 2: found '0s:20rps', allowed: a time after 0 s"),
        ("0s:10rps,5s,9s:3rps", r"^trace step 3: found '9s:3rps', allowed: rate steps"),
        ("0s:10rpm", r"^trace step 1: found '0s:10rpm', allowed: rate steps"),
        ("0s:1000000rps,1h", r"^trace: found '3600000000 requests', allowed: at most 20000000 requests"),
        ("0s:0rps,200h", r"^trace: found '720000 s from the first request to the end', allowed: at most 604800 s"),
        ("2026-01-01\n2026-01-09", r"^trace: found '691200 s from the first request to the end', allowed: at most"),
        ("1\ntwo", r"^trace line 2: timestamp: found 'two', allowed: seconds, or an ISO 8601 time"),
        ("1\nnan", r"^trace line 2: timestamp: found 'nan', allowed"),
        ("1,5\n2,long", r"^trace line 2: duration: found 'long', allowed: a duration"),
        ("1,-5", r"^trace line 1: duration: found '-5'"),
        ("timestamp,duration\n", r"^trace: found 'no request', allowed: CSV lines"),
        ('{"timestamp": 1}\n{"timestamp"', r"^trace line 2: found '\{\"timestamp\"', allowed: CSV lines"),
        ('{"time": 1}', r"^trace line 1: timestamp: found nothing, allowed: seconds"),
        ('{"timestamp": true}', r"^trace line 1: timestamp: found True"),
        ('{"timestamp": 1, "duration": -2}', r"^trace line 1: duration: found -2, allowed: a duration"),
        ('{"timestamp": 1, "duration": []}', r"^trace line 1: duration: found \[\], allowed: a duration"),
    ],
)
def test_a_trace_that_makes_no_sense_is_refused_at_its_line(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Trace.parse(text)


def test_a_trace_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "load.csv"
    file.write_text("\ufefftimestamp\n4\n", encoding="utf-8")
    assert Trace.load(file).recorded == (Arrival(0.0),)
    with pytest.raises(
        SpecError, match=r"^trace: found '.*none\.csv', allowed: a text file that can be read\. .*No such"
    ):
        Trace.load(tmp_path / "none.csv")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="a text file that can be read"):
        Trace.load(file)


@pytest.mark.parametrize(
    ("text", "service"),
    [
        ("100ms", Service(mean=0.1)),
        (0.25, Service(mean=0.25)),
        ("constant:1s", Service(mean=1.0)),
        ("exponential:20ms", Service(kind="exponential", mean=0.02)),
    ],
)
def test_service_times(text: str | float, service: Service) -> None:
    assert Service.parse(text) == service


@pytest.mark.parametrize("text", ["0s", "", "gaussian:1s", "soon", "-1"])
def test_a_service_time_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"^service: found"):
        Service.parse(text)


def test_impossible_settings_are_refused() -> None:
    trace = Trace.parse("1")
    with pytest.raises(SpecError, match=r"^cold_start: found -1"):
        simulate(Scale(), trace, cold_start=-1)
    with pytest.raises(SpecError, match=r"^queue: found -1"):
        simulate(Scale(), trace, queue=-1)


# The picture


def test_the_report_is_drawn_within_its_width_and_in_plain_letters_if_asked() -> None:
    report = simulate(Scale(concurrency=2, window="6s"), Trace.parse("0s:3rps,20s:60rps,200s"), seed=2)
    for width, ascii_only in ((78, False), (60, True), (40, True)):
        text = report.render(width=width, ascii_only=ascii_only)
        chart = text.split("\n\n\n")[0].split("\nrequests   ")[0]
        assert all(len(line) <= width for line in chart.splitlines())
        assert text.isascii() == ascii_only
    for word in ("requests per second, at most", "replicas, at most", "replicas started", "wait p50 / p90 / p95"):
        assert word in text


def test_a_small_report_letter_by_letter() -> None:
    report = simulate(
        Scale(min=1, max=1, concurrency=1), Trace.parse("timestamp,duration\n0,2\n1,1\n5,500ms\n"), cold_start=0
    )
    assert report.render(ascii_only=True) == (Path(__file__).parent / "simulate.txt").read_text()


def test_a_report_becomes_json() -> None:
    report = simulate(Scale(window="6s"), Trace.parse("1\n2\n"), cold_start=0.5)
    loaded = json.loads(json.dumps(report.as_dict()))
    assert loaded["cold_starts"] == 1
    assert loaded["waits"]["longest"] == 0.5
    assert loaded["points"][0] == {
        "time": 1.0, "arrived": 1, "in_flight": pytest.approx(0.1), "waiting": 0.5, "ready": 1, "starting": 0, "want": 1,
    }  # fmt: skip
