"""Trigger filters: what passes each dialect, and what is said of a filter that cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import SpecError
from trimtab.triggers.filters import compile_filters

EVENT = {
    "specversion": "1.0",
    "id": "42",
    "source": "/models/iris",
    "type": "dev.trimtab.drift",
    "drifted": "true",
    "severity": "3",
    "empty": "",
}

PASSES: list[tuple[dict[str, Any], bool]] = [
    ({"exact": {"type": "dev.trimtab.drift"}}, True),
    ({"exact": {"type": "dev.trimtab"}}, False),
    ({"exact": {"type": "dev.trimtab.drift", "source": "/models/iris"}}, True),
    ({"exact": {"type": "dev.trimtab.drift", "source": "/models/wine"}}, False),
    ({"exact": {"subject": "x"}}, False),
    ({"prefix": {"source": "/models/"}}, True),
    ({"prefix": {"source": "models/"}}, False),
    ({"prefix": {"subject": "x"}}, False),
    ({"prefix": {"source": "/models/", "type": "com."}}, False),
    ({"suffix": {"type": ".drift"}}, True),
    ({"suffix": {"type": ".Drift"}}, False),
    ({"suffix": {"subject": "x"}}, False),
    ({"all": [{"prefix": {"source": "/"}}, {"suffix": {"source": "iris"}}]}, True),
    ({"all": [{"prefix": {"source": "/"}}, {"suffix": {"source": "wine"}}]}, False),
    ({"any": [{"exact": {"id": "1"}}, {"exact": {"id": "42"}}]}, True),
    ({"any": [{"exact": {"id": "1"}}, {"exact": {"id": "2"}}]}, False),
    ({"not": {"exact": {"id": "1"}}}, True),
    ({"not": {"exact": {"subject": "x"}}}, True),
    ({"not": {"not": {"any": [{"exact": {"id": "42"}}]}}}, True),
    ({"cesql": "type = 'dev.trimtab.drift' AND drifted = true"}, True),
    ({"cesql": "severity > 2 AND EXISTS source"}, True),
    ({"cesql": "severity > 3"}, False),
    ({"cesql": "subject = 'x' OR TRUE"}, False),  # an error never passes
    ({"not": {"cesql": "subject = 'x'"}}, True),
    ({"attributes": {"type": "dev.trimtab.drift", "source": ""}}, True),
    ({"attributes": {"type": "dev.trimtab.drift", "subject": ""}}, False),
    ({"attributes": {"empty": ""}}, False),
]


@pytest.mark.parametrize(("item", "passes"), PASSES, ids=str)
def test_a_filter_passes_the_events_its_dialect_says(item: dict[str, Any], passes: bool) -> None:
    assert compile_filters([item])(EVENT) is passes


def test_without_filters_every_event_passes() -> None:
    assert compile_filters([])(EVENT)


def test_an_event_must_pass_all_filters() -> None:
    good, bad = {"exact": {"id": "42"}}, {"exact": {"id": "43"}}
    assert compile_filters([good, good])(EVENT)
    assert not compile_filters([good, bad])(EVENT)


def nested(levels: int) -> dict[str, Any]:
    item: dict[str, Any] = {"exact": {"id": "42"}}
    for _ in range(levels):
        item = {"not": item}
    return item


REFUSED: list[tuple[Any, str]] = [
    ("type", "filters[1]: found 'type', allowed: a mapping with one of exact, prefix, suffix, all, any, not, cesql"),
    ({}, "filters[1]: found [], allowed: exactly one of exact, prefix, suffix, all, any, not, cesql"),
    (
        {"exact": {"id": "1"}, "prefix": {"id": "2"}},
        (
            "filters[1]: found ['exact', 'prefix'], allowed: exactly one of exact, prefix, suffix, all, any, not, cesql. "
            "Write one filter for each; an event must pass all of them"
        ),
    ),
    (
        {"prefx": {"id": "1"}},
        "filters[1]: found 'prefx', allowed: one of exact, prefix, suffix, all, any, not, cesql",
    ),
    (
        {"type": "com.x"},
        (
            "filters[1]: found 'type', allowed: one of exact, prefix, suffix, all, any, not, cesql. "
            "To compare an attribute, write {exact: {type: ...}}"
        ),
    ),
    ({"exact": {}}, "filters[1].exact: found {}, allowed: a mapping of attribute names to strings"),
    ({"exact": "x"}, "filters[1].exact: found 'x', allowed: a mapping of attribute names to strings"),
    (
        {"exact": {"Type": "x"}},
        "filters[1].exact: found 'Type', allowed: attribute names of lower-case letters and digits, a letter first",
    ),
    ({"suffix": {"type": ""}}, "filters[1].suffix.type: found '', allowed: a string that is not empty"),
    (
        {"exact": {"drifted": True}},
        'filters[1].exact.drifted: found True, allowed: a string. Attributes are strings: write "true"',
    ),
    ({"all": []}, "filters[1].all: found [], allowed: a list of at least one filter"),
    ({"any": {"id": "1"}}, "filters[1].any: found {'id': '1'}, allowed: a list of at least one filter"),
    (
        {"any": [{"prefix": {"id": ""}}]},
        "filters[1].any[0].prefix.id: found '', allowed: a string that is not empty",
    ),
    (
        {"not": {"all": [{"exact": {"id": "1"}}, {"prefix": 1}]}},
        "filters[1].not.all[1].prefix: found 1, allowed: a mapping of attribute names to strings",
    ),
    ({"cesql": ""}, "filters[1].cesql: found '', allowed: a CloudEvents SQL expression"),
    ({"cesql": 1}, "filters[1].cesql: found 1, allowed: a CloudEvents SQL expression"),
    (
        {"not": {"cesql": "type == 'x'"}},
        (
            "filters[1].not.cesql: found '=', allowed: an attribute, a literal, a function, NOT, EXISTS, '-' or '(' "
            "at column 7"
        ),
    ),
    (
        {"cesql": "drifted"},
        (
            "filters[1].cesql: found 'drifted', allowed: an expression that is true or false (this one is of type String). "
            "Compare it, for example drifted = 'true'"
        ),
    ),
    (
        {"cesql": "1 + 1"},
        "filters[1].cesql: found '1 + 1', allowed: an expression that is true or false (this one is of type Integer)",
    ),
    (
        {"cesql": "STARTS_WITH(type, 'x')"},
        (
            "filters[1].cesql: found 'STARTS_WITH with 2 arguments', allowed: the functions LENGTH, CONCAT, CONCAT_WS, "
            "LOWER, UPPER, TRIM, LEFT, RIGHT, SUBSTRING, ABS, INT, BOOL, STRING, IS_INT, IS_BOOL"
        ),
    ),
]


@pytest.mark.parametrize(("item", "message"), REFUSED, ids=str)
def test_a_bad_filter_is_refused_with_its_path(item: Any, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        compile_filters([{"exact": {"id": "1"}}, item])
    assert str(refused.value) == message


def test_filters_may_be_nested_deeply_but_not_without_end() -> None:
    assert compile_filters([nested(30)])(EVENT)
    with pytest.raises(SpecError, match="found 'more than 32 levels of filters', allowed: at most 32"):
        compile_filters([nested(5000)])


def test_the_path_of_the_field_can_be_given() -> None:
    with pytest.raises(SpecError) as refused:
        compile_filters([{"exact": {}}], path="spec.triggers[2].filters")
    assert refused.value.path == "spec.triggers[2].filters[0].exact"


# A model of the dialects to compare with, over small attributes so that filters often match.
NAMES = st.sampled_from(["a", "b", "c"])
TEXTS = st.text("xy", min_size=1, max_size=3)
LEAVES = st.builds(
    lambda dialect, name, text: {dialect: {name: text}}, st.sampled_from(["exact", "prefix", "suffix"]), NAMES, TEXTS
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(lambda item: {"not": item}, inner)
        | st.builds(
            lambda dialect, items: {dialect: items},
            st.sampled_from(["any", "all"]),
            st.lists(inner, min_size=1, max_size=3),
        )
    ),
    max_leaves=8,
)


def model(item: dict[str, Any], attributes: Mapping[str, str]) -> bool:
    ((dialect, value),) = item.items()
    if dialect == "not":
        return not model(value, attributes)
    if dialect in ("any", "all"):
        found = [model(one, attributes) for one in value]
        return any(found) if dialect == "any" else all(found)
    name: str
    text: str
    ((name, text),) = value.items()
    if name not in attributes:
        return False
    actual = attributes[name]
    results = {"exact": actual == text, "prefix": actual.startswith(text), "suffix": actual.endswith(text)}
    return results[dialect]


def as_cesql(item: dict[str, Any]) -> str:
    ((dialect, value),) = item.items()
    if dialect == "not":
        return f"NOT ({as_cesql(value)})"
    if dialect in ("any", "all"):
        return "(" + {"any": " OR ", "all": " AND "}[dialect].join(as_cesql(one) for one in value) + ")"
    ((name, text),) = value.items()
    pattern = {"exact": text, "prefix": f"{text}%", "suffix": f"%{text}"}[dialect]
    return f"(EXISTS {name} AND {name} LIKE '{pattern}')"


@given(st.lists(FILTERS, max_size=3), st.dictionaries(NAMES, TEXTS))
def test_nested_filters_agree_with_a_model_and_with_the_same_filter_in_cesql(
    filters: list[dict[str, Any]], attributes: dict[str, str]
) -> None:
    expected = all(model(item, attributes) for item in filters)
    assert compile_filters(filters)(attributes) is expected
    assert compile_filters([{"cesql": as_cesql(item)} for item in filters])(attributes) is expected
