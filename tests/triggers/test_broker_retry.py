"""The decision after a failed try: pure, so every rule is a line here."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.runtime.retry import retry_after
from trimtab.triggers.broker.retry import LONGEST_RETRY_AFTER, Again, Dead, Policy, backoff, decide

NOW = 1_700_000_000.0


def decision(policy: Policy, status: int, *, tries: int = 1, after: float | None = None) -> Again | Dead:
    return decide(policy, tries=tries, status=status, retry_after=after, now=NOW, chance=0.0)


@pytest.mark.parametrize("status", [0, 404, 408, 409, 429, 500, 502, 503, 599])
def test_these_outcomes_are_tried_again(status: int) -> None:
    assert isinstance(decision(Policy(), status), Again)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 410, 413, 422])
def test_every_other_3xx_and_4xx_is_final(status: int) -> None:
    assert decision(Policy(), status) == Dead(f"status {status} is final")


def test_linear_backoff_is_delay_times_the_try() -> None:
    policy = Policy(backoff="linear", delay=2.0)
    assert [backoff(policy, tries, 0.0) for tries in (1, 2, 3)] == [2.0, 4.0, 6.0]


def test_exponential_backoff_doubles_with_every_try_up_to_the_largest_delay() -> None:
    policy = Policy(delay=0.2, max_delay=3.0)
    assert [backoff(policy, tries, 0.0) for tries in (1, 2, 3, 4, 500)] == [0.4, 0.8, 1.6, 3.0, 3.0]


@given(
    st.sampled_from(["linear", "exponential"]),
    st.floats(0, 1000),
    st.floats(0, 1000),
    st.integers(1, 10_000),
    st.floats(0, 1, exclude_max=True),
)
def test_jitter_adds_at_most_a_quarter_and_never_passes_the_largest_delay(
    kind: str, delay: float, largest: float, tries: int, chance: float
) -> None:
    policy = Policy(backoff="linear" if kind == "linear" else "exponential", delay=delay, max_delay=largest)
    plain, jittered = backoff(policy, tries, 0.0), backoff(policy, tries, chance)
    assert plain <= jittered <= min(plain * 1.25 * (1 + 1e-9), largest)


def test_after_the_last_retry_the_reason_names_the_tries_and_the_status() -> None:
    policy = Policy(attempts=2)
    assert isinstance(decision(policy, 500, tries=2), Again)
    assert decision(policy, 500, tries=3) == Dead("3 tries failed, the last with status 500")
    assert decision(Policy(attempts=0), 0) == Dead("1 try failed, the last with no answer")


def test_retry_after_wins_when_it_is_longer_than_the_backoff() -> None:
    policy = Policy(backoff="linear", delay=5.0, max_delay=10.0)
    assert decision(policy, 503, after=60.0) == Again(NOW + 60)
    assert decision(policy, 503, after=1.0) == Again(NOW + 5)
    assert decision(policy, 503, after=1e12) == Again(NOW + LONGEST_RETRY_AFTER)


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert retry_after("120", NOW) == 120.0
    assert retry_after(" 0 ", NOW) == 0.0
    assert retry_after(formatdate(NOW + 90, usegmt=True), NOW) == 90.0
    assert retry_after(formatdate(NOW - 90, usegmt=True), NOW) == 0.0


@pytest.mark.parametrize("text", [None, "", "soon", "-5", "1.5", "٣", "Fri, 99 Foo 2024 00:00:00 GMT"])
def test_a_retry_after_that_says_nothing_usable_is_ignored(text: str | None) -> None:
    assert retry_after(text, NOW) is None


@given(st.text())
def test_no_retry_after_text_breaks_the_reader(text: str) -> None:
    found = retry_after(text, NOW)
    assert found is None or found >= 0
