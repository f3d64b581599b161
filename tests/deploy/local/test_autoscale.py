from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.deploy.local.autoscale import Autoscaler, Decision, ScalerConfig
from trimtab.deploy.local.autoscale.decide import desire
from trimtab.errors import SpecError
from trimtab.spec import Scale


def config(max_replicas: int = 1000, **scale: Any) -> ScalerConfig:
    return ScalerConfig.of(Scale(**scale), max_replicas=max_replicas)


def play(
    scaler: Autoscaler, loads: Iterable[float], *, start: float = 0.0, running: int = 0, ready: int | None = None
) -> list[Decision]:
    """Record one load a second and decide at each; from `running` on, what is wanted is ready a second later, unless
    `ready` says how many there always are."""
    decisions, now = list[Decision](), start
    running = running if ready is None else ready
    for load in loads:
        scaler.record(now, load)
        decisions.append(scaler.decide(now, running))
        running = decisions[-1].want if ready is None else ready
        now += 1.0
    return decisions


def wants(decisions: list[Decision]) -> list[int]:
    return [decision.want for decision in decisions]


# Settings


@pytest.mark.parametrize(
    ("scale", "total", "target"),
    [
        ({}, 100, 70),
        ({"concurrency": 10}, 10, 7),
        ({"target": 50}, 50, 35),
        ({"target": 50, "concurrency": 10}, 10, 7),
        ({"target": 5, "concurrency": 10}, 5, 3.5),
        ({"metric": "rps"}, 200, 140),
        ({"metric": "rps", "concurrency": 10}, 200, 140),
        ({"metric": "rps", "target": 30, "concurrency": 10}, 30, 21),
        ({"target": 1, "utilization": 100}, 1, 1),
        ({"target": 0.01, "utilization": 1}, 0.01, 0.01),
    ],
)
def test_targets(scale: dict[str, Any], total: float, target: float) -> None:
    got = config(**scale)
    assert (got.total, got.target) == pytest.approx((total, target))


@pytest.mark.parametrize(
    ("window", "percent", "panic_window"),
    [("60s", 10, 6), ("6s", 10, 1), ("6s", 1, 1), ("65s", 10, 7), ("25s", 10, 3), ("1h", 100, 3600), (14, 10, 1)],
)
def test_the_panic_window_is_rounded_to_whole_seconds_half_up_and_at_least_one(
    window: str, percent: float, panic_window: float
) -> None:
    assert config(window=window, panic_window=percent).panic_window == panic_window


def test_this_machine_stops_a_function_without_a_maximum_but_never_below_its_minimum() -> None:
    assert config(max_replicas=16).max == 16
    assert config(max_replicas=16, max=40).max == 40
    assert config(max_replicas=16, min=20).max == 20
    assert config(max_replicas=2, initial=9).initial == 2


def test_a_duration_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match=r"scale\.window: found 'soon'"):
        config(window="soon")


# One decision, by hand. Target 10 at 70 % = 7 a replica.


@pytest.mark.parametrize(
    ("stable", "panic", "ready", "reachable", "expected"),
    [
        pytest.param(0, 0, 0, True, (0, 0, 0.0), id="nothing"),
        pytest.param(0.000001, 0, 0, True, (1, 0, 0.0), id="any load asks for one"),
        pytest.param(7, 7, 1, True, (1, 1, 1.0), id="just full"),
        pytest.param(7.1, 14, 1, True, (2, 2, 2.0), id="one more; the panic window asks for twice what is ready"),
        pytest.param(0, 0, 9, True, (4, 4, 0.0), id="at most halved"),
        pytest.param(0, 0, 1, True, (0, 0, 0.0), id="half of one is none"),
        pytest.param(0, 0, 9, False, (0, 0, 0.0), id="without traffic all at once"),
        pytest.param(50, 0, 9, True, (8, 4, 0.0), id="less, but more than half: as asked"),
        pytest.param(7007, 70, 1, True, (1000, 10, 10.0), id="at most a thousand times"),
        pytest.param(7, 700, 0, True, (1, 100, 100.0), id="nothing ready counts as one"),
    ],
)
def test_one_decision(
    stable: float, panic: float, ready: int, reachable: bool, expected: tuple[int, int, float]
) -> None:
    wish = desire(config(concurrency=10), stable, panic, ready, reachable=reachable)
    assert (wish.stable, wish.panic, wish.pressure) == expected


def test_activation_counts_from_the_first_load_on() -> None:
    woken = config(concurrency=10, activation=3)
    assert desire(woken, 0.1, 0.0, 0).stable == 3
    assert desire(woken, 0.1, 0.0, 0).panic == 0
    assert desire(woken, 70.0, 0.1, 10).stable == 10
    assert desire(woken, 0.0, 0.0, 1).stable == 0


# Over time


def test_the_first_request_after_idle_wakes_a_replica_at_once() -> None:
    scaler = Autoscaler(config(), initialised=True)
    assert wants(play(scaler, [0] * 30)) == [0] * 30
    scaler.record(30.4, 1)
    decision = scaler.decide(30.4, 0)
    assert decision.want == 1
    assert decision.reason == (
        "0.0323 requests at once in 60 s and 0.167 in 6 s, 70 aimed at for one replica; 1 replica wanted"
    )


def test_a_steady_load_is_met_by_its_share() -> None:
    """25 at once, 7 aimed at for one: 4 replicas, at once because a young window is not diluted."""
    decisions = play(Autoscaler(config(concurrency=10)), [25.0] * 70)
    assert set(wants(decisions)) == {4}
    assert decisions[0].panic  # 4 asked for, 1 counted as ready
    assert not decisions[-1].panic


def test_panic_begins_at_twice_the_ready_replicas_never_falls_and_ends_a_window_after_the_surge() -> None:
    scaler = Autoscaler(config(concurrency=1, utilization=100, window="10s", panic_window=20), initialised=True)
    calm = play(scaler, [2.0] * 20)
    assert (calm[-1].want, calm[-1].panic) == (2, False)
    surge = play(scaler, [8.0] * 3, start=20.0, ready=2)
    # Panic window 2 s: (2 + 8) / 2 = 5 asks for 5 >= 2 * 2; then 8 of 8.
    assert [(d.want, d.panic) for d in surge] == [(5, True), (8, True), (8, True)]
    after = play(scaler, [1.0] * 30, start=23.0, running=8)
    panicking = [d.panic for d in after]
    assert wants(after)[: panicking.index(False)] == [8] * panicking.index(False)
    # At 23 s the panic window still holds (8 + 1) / 2 -> 5 < 2 * 8, so the last surge was at 22 s: over after 32 s.
    assert panicking.index(False) == 33 - 23
    assert wants(after)[-1] == 1


def test_after_panic_the_number_at_most_halves_in_each_decision() -> None:
    scaler = Autoscaler(config(concurrency=1, utilization=100, window="6s"), initialised=True)
    play(scaler, [64.0] * 3)
    falling = wants(play(scaler, [1.0] * 20, start=3.0, running=64))
    assert [n for i, n in enumerate(falling) if i == 0 or n != falling[i - 1]] == [64, 32, 16, 8, 4, 2, 1]


def test_the_scale_down_delay_keeps_the_largest_wish() -> None:
    """In slots of two seconds, five of them for 10 s, this second's among them."""
    plain = Autoscaler(config(concurrency=1, utilization=100, window="6s"), initialised=True)
    slow = Autoscaler(config(concurrency=1, utilization=100, window="6s", delay="10s"), initialised=True)
    loads = [3.0] * 20 + [1.0] * 20
    fast, delayed = wants(play(plain, loads)), wants(play(slow, loads))
    assert all(after >= before for before, after in zip(fast, delayed, strict=True))
    assert delayed == [max(fast[max(0, 2 * (t // 2) - 8) : t + 1]) for t in range(40)]


def test_zero_comes_a_stable_window_after_the_last_request_and_the_retention() -> None:
    loads = [0.5] * 20 + [0.0] * 60
    quick = wants(play(Autoscaler(config(window="6s")), loads))
    # The last request was recorded at second 19, which leaves the window of 6 s at second 25.
    assert quick.index(0) == 25
    kept = wants(play(Autoscaler(config(window="6s", retention="7s")), loads))
    assert kept.index(0) == 25 + 7
    assert set(kept[: 25 + 7]) == {1}
    assert set(kept[25 + 7 :]) == {0}


def test_a_request_during_the_retention_starts_it_again() -> None:
    loads = [0.5] * 10 + [0.0] * 10 + [0.5] + [0.0] * 30
    # Last request at 20 s, out of the window at 26 s, retained for 7 s.
    assert wants(play(Autoscaler(config(window="6s", retention="7s")), loads)).index(0) == 26 + 7


def test_a_replica_that_was_not_active_for_a_window_stays() -> None:
    """Ready since 100 s after a daemon restart, with no load at all: it stays for a window."""
    scaler = Autoscaler(config(window="6s"), initialised=True)
    decisions = play(scaler, [0.0] * 10, start=100.0, ready=1)
    assert wants(decisions) == [1] * 6 + [0] * 4
    assert "the last one stays until it was there for 6 s" in decisions[5].reason


def test_a_replica_that_is_on_its_way_out_is_not_taken_for_a_new_one() -> None:
    """After zero was decided the replica drains for a while and still counts as ready: zero stays zero."""
    assert wants(play(Autoscaler(config(window="6s")), [1.0] * 10 + [0.0] * 30, ready=1))[-20:] == [0] * 20


def test_a_slow_start_is_waited_for_though_the_window_forgot_its_request() -> None:
    scaler = Autoscaler(ScalerConfig.of(Scale(window="6s"), max_replicas=4, start_timeout=20.0), initialised=True)
    scaler.decide(0.0, 0)
    scaler.record(0.0, 1)
    starting = play(scaler, [0.0] * 30, start=0.0, ready=0)
    assert wants(starting) == [1] * 21 + [0] * 9
    assert starting[15].reason == "no load in 6 s; 0 replicas wanted; kept until the first one is ready"
    assert starting[21].reason == "no load in 6 s; 0 replicas wanted; given up: nothing became ready in 20 s"


def test_a_slow_start_that_succeeds_has_its_window_of_activity() -> None:
    scaler = Autoscaler(config(window="6s"), initialised=True)
    scaler.decide(0.0, 0)
    scaler.record(0.0, 1)
    assert set(wants(play(scaler, [0.0] * 15, ready=0))) == {1}
    assert wants(play(scaler, [0.0] * 10, start=15.0, ready=1)) == [1] * 6 + [0] * 4


def test_the_initial_scale_is_held_until_it_was_reached_once() -> None:
    scaler = Autoscaler(config(initial=3, window="6s"))
    first = scaler.decide(0.0, 0)
    assert (first.want, first.reason) == (3, "no measurements: the number stays; 3 replicas to begin with")
    assert wants(play(scaler, [0.0] * 10, ready=2)) == [3] * 10
    done = wants(play(scaler, [0.0] * 20, start=10.0, ready=3))
    assert done[-1] < 3


def test_a_revision_that_was_ready_before_is_not_woken_by_its_initial_scale() -> None:
    assert Autoscaler(config(initial=3), initialised=True).decide(0.0, 0).want == 0
    assert Autoscaler(config(initial=0)).decide(0.0, 0).want == 0


def test_the_minimum_is_for_revisions_with_traffic() -> None:
    scaler = Autoscaler(config(min=2, window="6s"))
    assert wants(play(scaler, [0.0] * 20)) == [2] * 20
    for second in range(20, 40):
        scaler.record(second, 0.0)
        last = scaler.decide(second, 2, reachable=False)
    assert last.want == 0


def test_without_measurements_the_number_stays() -> None:
    scaler = Autoscaler(config(concurrency=1, utilization=100, window="6s"))
    assert play(scaler, [3.0] * 10)[-1].want == 3
    later = scaler.decide(60.0, 3)
    assert (later.want, later.reason) == (3, "no measurements: the number stays")


def test_a_restarted_autoscaler_keeps_what_is_there_until_it_has_history() -> None:
    scaler = Autoscaler(config(concurrency=1, utilization=100, window="6s"), initialised=True)
    decisions = play(scaler, [1.0] * 10, start=50.0, ready=5)
    assert [d.want for d in decisions[:7]] == [5] * 7
    assert decisions[6].panic
    assert (decisions[7].want, decisions[7].panic) == (2, False)


def test_requests_per_second_count_when_they_are_the_metric() -> None:
    scaler = Autoscaler(config(metric="rps", target=10, utilization=100))
    scaler.record(0.0, 50.0, 35.0)
    decision = scaler.decide(0.0, 0)
    assert (decision.want, decision.stable) == (4, 35.0)
    assert decision.reason.startswith("35 requests per second in 60 s")


def test_the_reason_says_which_bound_held() -> None:
    scaler = Autoscaler(config(max=2, concurrency=1))
    assert play(scaler, [9.0])[0].reason == (
        "9 requests at once in 60 s and 9 in 6 s, 0.7 aimed at for one replica; "
        "panic, no fewer than 13 replicas until the surge is 60 s old; 2 replicas at most"
    )
    assert (
        play(Autoscaler(config(min=1)), [0.0] * 2)[1].reason == "no load in 60 s; 0 replicas wanted; 1 replica at least"
    )


# Properties

SCALES = st.builds(
    Scale,
    min=st.integers(0, 3),
    max=st.integers(3, 8),
    initial=st.integers(0, 3),
    activation=st.integers(1, 3),
    target=st.none() | st.floats(0.5, 10),
    concurrency=st.sampled_from([0, 1, 2, 10]),
    utilization=st.floats(10, 100),
    window=st.integers(6, 20),
    panic_window=st.floats(1, 100),
    panic_threshold=st.floats(110, 400),
    delay=st.sampled_from([0, 1, 4, 9]),
    retention=st.sampled_from([0, 3, 10]),
)
LOADS = st.lists(st.floats(0, 60) | st.just(0.0), max_size=60)


@given(SCALES, LOADS, st.integers(0, 9))
def test_bounds_are_never_left_and_the_minimum_always_holds(scale: Scale, loads: list[float], lag: int) -> None:
    scaler = Autoscaler(ScalerConfig.of(scale, max_replicas=16))
    running = [0] * (lag + 1)
    for now, load in enumerate(loads):
        scaler.record(now, load)
        want = scaler.decide(now, running[-1 - lag]).want
        assert scale.min <= want <= scale.max
        running.append(want)


@given(SCALES, LOADS, st.integers(0, 9))
def test_in_panic_the_wish_never_falls(scale: Scale, loads: list[float], ready: int) -> None:
    decisions = play(Autoscaler(ScalerConfig.of(scale, max_replicas=16)), loads, ready=ready)
    for before, after in pairwise(decisions):
        if before.panic and after.panic:
            assert after.want >= before.want


@given(SCALES, LOADS, st.data(), st.integers(0, 9))
def test_more_load_never_means_fewer_replicas(
    scale: Scale, loads: list[float], data: st.DataObject, ready: int
) -> None:
    more = [load + data.draw(st.floats(0, 5)) for load in loads]
    settings = ScalerConfig.of(scale, max_replicas=16)
    low, high = (play(Autoscaler(settings), series, ready=ready) for series in (loads, more))
    assert all(few.want <= many.want for few, many in zip(low, high, strict=True))


@given(SCALES, LOADS)
def test_zero_means_silence_for_the_window_and_the_retention(scale: Scale, loads: list[float]) -> None:
    settings = ScalerConfig.of(scale, max_replicas=16)
    silence, loaded = 0, False
    for load, want in zip(loads, wants(play(Autoscaler(settings), loads)), strict=True):
        silence = 0 if load > 1e-4 else silence + 1
        loaded = loaded or load > 1e-4
        if want == 0 and loaded:
            assert silence >= settings.window + settings.retention


@given(SCALES, LOADS)
def test_silence_leads_to_the_minimum(scale: Scale, loads: list[float]) -> None:
    settings = ScalerConfig.of(scale, max_replicas=16)
    quiet = [0.0] * int(3 * settings.window + settings.retention + settings.delay + 20)
    assert wants(play(Autoscaler(settings), loads + quiet))[-1] == scale.min


@given(SCALES, LOADS)
def test_the_same_measurements_give_the_same_decisions(scale: Scale, loads: list[float]) -> None:
    settings = ScalerConfig.of(scale, max_replicas=16)
    assert play(Autoscaler(settings), loads) == play(Autoscaler(settings), loads)


# Equality with the formulas, written down once more without any of the machinery.


def straight(scale: Scale, loads: list[float | None], ready: list[int]) -> list[int]:
    """Second t: load (None: no record) and ready replicas. Knative's formulas over the whole history each time."""
    cc = scale.concurrency
    total = scale.target or cc or 100
    if scale.target and cc:
        total = min(scale.target, cc)
    target = max(0.01, total * scale.utilization / 100)
    window = int(scale.window)
    panic_window = max(1, math.floor(window * scale.panic_window / 100 + 0.5))
    top = scale.max
    panic_time: int | None = 0 if ready and ready[0] > 1 else None
    most = ready[0] if panic_time is not None else 0
    wishes: list[tuple[int, int]] = []
    initialised, previous = False, ready[0] if ready else 0
    state, since, idle = ("active" if ready and ready[0] else "zero"), 0, None
    out: list[int] = []
    for t in range(len(loads)):
        written = [s for s in range(t + 1) if loads[s] is not None]

        def average(n: int, t: int = t, written: list[int] = written) -> float:
            if not written or t - written[-1] >= n:
                return 0.0
            first = written[-1]
            for a, b in pairwise(reversed(written)):
                if a - b >= n:
                    break
                first = b
            inside = [s for s in written if s > t - n and s >= first]
            valid = min(written[-1] - first + 1, n - (t - written[-1]))
            return math.floor(math.fsum(loads[s] or 0.0 for s in inside) / valid * 1e6) / 1e6

        initialised = initialised or ready[t] >= min(max(scale.min, scale.initial), top)
        if not written or t - written[-1] > window:
            want = previous
        else:
            r = max(1, ready[t])
            up, down = math.ceil(1000 * r), math.floor(r / 2)
            ds, dp = math.ceil(average(window) / target), math.ceil(average(panic_window) / target)
            s, p = min(max(ds, down), up), min(max(dp, down), up)
            if scale.activation > 1:
                s = max(s, scale.activation) if ds > 0 else s
                p = max(p, scale.activation) if dp > 0 else p
            if dp / r >= scale.panic_threshold / 100:
                panic_time = t
            elif panic_time is not None and panic_time + window < t:
                panic_time, most = None, 0
            want = s
            if panic_time is not None:
                most = max(most, s, p)
                want = most
            if scale.delay:
                wishes.append((t // 2, want))
                want = max(w for slot, w in wishes if slot > t // 2 - math.ceil(float(scale.delay) / 2))
        least = scale.min if initialised else max(scale.min, scale.initial)
        want = min(max(want, min(least, top)), top)
        if want:
            idle = None
        if want and state == "zero":
            state, since = "starting", t
        if state == "starting" and ready[t]:
            state, since = "active", t
        elif state == "active" and not ready[t]:
            state, since, idle = "starting", t, None
        if want == 0 and state == "starting":
            if t - since <= 60:
                want = max(1, previous)
            else:
                state = "zero"
        elif want == 0 and state == "active":
            if t - since < window:
                want = 1
            else:
                idle = t if idle is None else idle
                if t - idle < float(scale.retention):
                    want = 1
                else:
                    state = "zero"
        out.append(want)
        previous = want
    return out


@given(SCALES, st.lists(st.tuples(st.none() | st.just(0.0) | st.floats(0, 40), st.integers(0, 9)), max_size=90))
def test_decisions_equal_those_of_the_formulas(scale: Scale, steps: list[tuple[float | None, int]]) -> None:
    loads, ready = [load for load, _ in steps], [count for _, count in steps]
    scaler = Autoscaler(ScalerConfig.of(scale, max_replicas=16))
    got = []
    for now, (load, count) in enumerate(steps):
        if load is not None:
            scaler.record(float(now), load)
        got.append(scaler.decide(float(now), count).want)
    assert got == straight(scale, loads, ready)
