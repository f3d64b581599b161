from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import SpecError
from trimtab.spec.quantity import canonical, duration, parse, seconds, size

SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"]
digits = st.integers(0, 9999)
quantities = st.builds(lambda a, b, s: f"{a}.{b}{s}" if b else f"{a}{s}", digits, digits, st.sampled_from(SUFFIXES))


@pytest.mark.parametrize(
    ("value", "number", "text"),
    [
        ("500m", "0.5", "500m"),
        ("1G", "1000000000", "1G"),
        ("2Gi", "2147483648", "2Gi"),
        ("1e3", "1000", "1e3"),
        ("1000e3", "1000000", "1e6"),
        ("12E", "12000000000000000000", None),
        ("2E", "2000000000000000000", "2E"),
        (1, "1", "1"),
        (0.5, "0.5", "500m"),
        (1e3, "1000", "1k"),
        ("0.1", "0.1", "100m"),
        ("1024Mi", "1073741824", "1Gi"),
        ("1536Mi", "1610612736", "1536Mi"),
        ("1.5Gi", "1610612736", "1536Mi"),
        ("0.5Ki", "512", "512"),
        ("1025Ki", "1049600", "1025Ki"),
        ("1.5Ki", "1536", "1536"),
        ("1000M", "1000000000", "1G"),
        ("0", "0", "0"),
        ("0Gi", "0", "0"),
        ("-1500m", "-1.5", "-1500m"),
        (".5", "0.5", "500m"),
        ("5.", "5", "5"),
        ("100n", "0.0000001", "100n"),
        ("0.1n", "0.000000001", "1n"),
    ],
)
def test_quantities_are_read_and_written_as_kubernetes_does(value: str | float, number: str, text: str | None) -> None:
    if text is None:
        with pytest.raises(SpecError, match=r"at most 2\*\*63-1"):
            parse(value)
        return
    assert parse(value) == Decimal(number)
    assert canonical(value) == text


@pytest.mark.parametrize(
    "value", ["", "G", "1 G", "1g", "1KiB", "1mm", "--1", "1e", "1\n", "nan", "inf", math.nan, math.inf, True, "1e999"]
)
def test_what_is_no_quantity_is_refused_with_path_value_and_what_is_allowed(value: str | float) -> None:
    with pytest.raises(SpecError) as caught:
        canonical(value, "spec.resources.limits.memory")
    assert str(caught.value) == (
        f"spec.resources.limits.memory: found {value!r}, allowed: a Kubernetes quantity such as '500m', '1G', '2Gi', 1 "
        "or 0.5, of at most 2**63-1"
    )


@given(quantities)
def test_canonical_text_means_the_same_and_is_stable(text: str) -> None:
    assert parse(canonical(text)) == parse(text)
    assert canonical(canonical(text)) == canonical(text)


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_every_whole_number_survives(number: int) -> None:
    assert parse(number) == parse(str(number)) == parse(canonical(number)) == number


@given(st.floats(min_value=1e-6, max_value=1e12))
def test_floats_are_taken_by_their_shortest_text(number: float) -> None:
    assert abs(parse(number) - Decimal(str(number))) < Decimal("1e-9")


def test_size_is_whole_bytes_and_at_least_one() -> None:
    assert size("32Mi") == 33554432
    assert size("100m") == 1
    with pytest.raises(SpecError, match=r"limits.body: found 0, allowed: a number of bytes"):
        size(0, "limits.body")


@pytest.mark.parametrize(
    ("value", "number", "text"),
    [
        ("6s", 6, "6s"),
        ("500ms", 0.5, "500ms"),
        ("1m30s", 90, "1m30s"),
        ("1h", 3600, "1h"),
        ("1.5h", 5400, "1h30m"),
        ("90", 90, "1m30s"),
        (90, 90, "1m30s"),
        (1.5, 1.5, "1.5s"),
        (0, 0, "0s"),
        ("0s", 0, "0s"),
        ("250us", 0.00025, "250us"),
        ("1500us", 0.0015, "1.5ms"),
        ("36h", 129600, "36h"),
    ],
)
def test_durations(value: str | float, number: float, text: str) -> None:
    assert seconds(value) == number
    assert duration(value) == text


@pytest.mark.parametrize("value", ["", "s", "-1s", -1, "1 s", "1d", "1m 30s", "1s\n", math.nan, math.inf, True, "1e3"])
def test_what_is_no_duration_is_refused(value: str | float) -> None:
    with pytest.raises(SpecError) as caught:
        seconds(value, "spec.scale.window")
    assert str(caught.value) == (
        f"spec.scale.window: found {value!r}, allowed: a duration such as '6s', '1m30s' or '500ms', or a number of seconds"
    )


@given(st.integers(0, 10**13))
def test_a_duration_survives_its_canonical_text(micros: int) -> None:
    text = duration(micros / 1e6)
    assert math.isclose(seconds(text), micros / 1e6, abs_tol=1e-6)
    assert duration(text) == text
