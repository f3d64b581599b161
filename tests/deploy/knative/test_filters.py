"""How filters of events are written on a cluster, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest
from tests.deploy.knative.conftest import IMAGE

from trimtab.deploy.knative.manifests import Rendering, render
from trimtab.errors import SpecError
from trimtab.spec import loads


def with_filter(text: str) -> Any:
    wanted = loads(
        "apiVersion: trimtab.dev/v1\nkind: Function\nmetadata: {name: a}\n"
        f"spec: {{handler: a, triggers: [{{kind: event, name: t, filters: [{text}]}}]}}"
    )
    objects = render(Rendering(function=wanted, image=IMAGE, namespace="shop")).objects
    return next(item for item in objects if item["kind"] == "Trigger")["spec"]["filters"][0]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("{exact: {x: ''}}", "exact.x"),
        ("{prefix: {x: ''}}", "prefix.x"),
        ("{suffix: {x: ''}}", "suffix.x"),
        ("{not: {exact: {x: ''}}}", "not.exact.x"),
        ("{any: [{exact: {x: ''}}]}", r"any\[0\].exact.x"),
    ],
)
def test_a_filter_by_an_empty_text_is_refused_for_knative_would_leave_it_out(text: str, path: str) -> None:
    expected = rf"spec\.triggers\[0\]\.filters\[0\]\.{path}: found '', allowed: a string that is not empty"
    with pytest.raises(SpecError, match=expected):
        with_filter(text)


def test_a_filter_in_a_language_that_is_none_is_refused() -> None:
    with pytest.raises(SpecError, match=r"spec\.triggers\[0\]\.filters\[0\]\.cesql"):
        with_filter("{cesql: 'total >'}")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("{exact: {type: x, subject: y}}", {"all": [{"exact": {"type": "x"}}, {"exact": {"subject": "y"}}]}),
        ("{not: {prefix: {a: x, b: y}}}", {"not": {"all": [{"prefix": {"a": "x"}}, {"prefix": {"b": "y"}}]}}),
        ("{any: [{attributes: {a: ''}}]}", {"any": [{"cesql": "EXISTS a"}]}),
        ("{all: [{suffix: {a: x}}, {cesql: 'a = 1'}]}", {"all": [{"suffix": {"a": "x"}}, {"cesql": "a = 1"}]}),
    ],
)
def test_filters_are_written_as_every_knative_takes_them(text: str, written: Any) -> None:
    assert with_filter(text) == written
