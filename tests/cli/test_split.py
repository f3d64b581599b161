from __future__ import annotations

import click
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trimtab.cli.split import split
from trimtab.deploy.abc import FunctionInfo, RevisionInfo
from trimtab.spec import Scale, TrafficTarget

REVISIONS = ["x-00001", "x-00002", "x-00003"]


def function(percents: dict[str, int], tags: dict[str, str] | None = None) -> FunctionInfo:
    revisions = [
        RevisionInfo(
            name=name,
            created=0,
            state="ready",
            percent=percents.get(name, 0),
            urls={tag: "http://x/" for tag, revision in (tags or {}).items() if revision == name},
        )
        for name in REVISIONS
    ]
    return FunctionInfo(
        name="x", kind="http", url="", target="local", revision="x-00003", revisions=revisions, scale=Scale()
    )


def test_shares_replace_those_that_are_there() -> None:
    targets = split(function({"x-00003": 100}), [("x-00001", "90"), ("latest", "10%")], [], [])
    assert targets == [TrafficTarget(revision="x-00001", percent=90), TrafficTarget(revision=None, percent=10)]


def test_a_tag_alone_keeps_the_shares() -> None:
    targets = split(function({"x-00003": 100}), [], [("canary", "x-00002"), ("live", "x-00003")], [])
    assert targets == [
        TrafficTarget(revision="x-00003", percent=100, tag="live"),
        TrafficTarget(revision="x-00002", percent=0, tag="canary"),
    ]


def test_tags_stay_until_they_are_moved_or_taken_away() -> None:
    info = function({"x-00003": 100}, {"a": "x-00001", "b": "x-00002", "c": "x-00003"})
    targets = split(info, [("x-00001", "100")], [("b", "x-00001")], ["c"])
    assert targets == [
        TrafficTarget(revision="x-00001", percent=100, tag="a"),
        TrafficTarget(revision="x-00001", percent=0, tag="b"),
    ]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([("x-00001", "90")], "the percents sum to 90, they must sum to 100"),
        ([("x-00001", "-5")], "the share is a whole number from 0 to 100"),
        ([("x-00001", "101")], "the share is a whole number from 0 to 100"),
        ([("x-00001", "50.0")], "the share is a whole number from 0 to 100"),
        ([("x-00001", "50"), ("x-00001", "50")], "'x-00001' is named twice"),
    ],
)
def test_what_is_no_split_is_refused(shares: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(click.UsageError, match=message):
        split(function({"x-00003": 100}), shares, [], [])


def test_a_tag_that_is_not_there_cannot_be_taken_away() -> None:
    with pytest.raises(click.UsageError, match="there is no tag 'z'; there is a"):
        split(function({"x-00003": 100}, {"a": "x-00001"}), [], [], ["z"])


@given(
    st.dictionaries(st.sampled_from(REVISIONS), st.integers(1, 100)),
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from(REVISIONS)),
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from(REVISIONS)),
)
def test_every_tag_and_every_percent_arrives(
    weights: dict[str, int], before: dict[str, str], tags: dict[str, str]
) -> None:
    assume(weights)
    percents = {name: weight * 100 // sum(weights.values()) for name, weight in weights.items()}
    first = next(iter(percents))
    percents[first] += 100 - sum(percents.values())
    shares = [(name, str(percent)) for name, percent in percents.items()]
    targets = split(function({"x-00003": 100}, before), shares, list(tags.items()), [])
    assert {target.tag: target.revision for target in targets if target.tag} == {**before, **tags}
    assert sum(target.percent for target in targets) == 100
    arrived = {name: sum(t.percent for t in targets if t.revision == name) for name in percents}
    assert arrived == percents
