from __future__ import annotations

from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.cli.changes import Changes, Names
from trimtab.spec import (
    Build,
    CronTrigger,
    EnvVar,
    EventTrigger,
    Function,
    FunctionSpec,
    Metadata,
    Model,
    Scale,
    Sink,
    Source,
    Tracking,
    check,
)

DOCUMENT = Function(
    metadata=Metadata(name="hello"),
    spec=FunctionSpec(
        handler="hello:greet",
        source=Source(path="/x/hello.py"),
        build=Build(requirements=["numpy"]),
        env=[EnvVar(name="A", value="1"), EnvVar(name="B", value="2")],
        scale=Scale(min=1, window="30s"),
        triggers=[CronTrigger(name="cron", schedule="@hourly")],
    ),
)


def test_no_flags_change_nothing() -> None:
    assert Changes().apply(DOCUMENT) == DOCUMENT


def test_flags_win_over_the_document() -> None:
    changes = Changes(
        name="greet",
        kind="serving",
        requirements=("pandas",),
        env=(("B", "3"), ("C", "")),
        scale={"min": 0, "concurrency": 1},
        timeout="5s",
        sink="default",
    )
    spec = changes.apply(DOCUMENT).spec
    assert changes.apply(DOCUMENT).metadata.name == "greet"
    assert (spec.kind, spec.timeouts.request, spec.sink) == ("serving", "5s", Sink(broker="default"))
    assert spec.build.requirements == ["numpy", "pandas"]
    assert [(v.name, v.value) for v in spec.env] == [("A", "1"), ("B", "3"), ("C", "")]
    assert spec.scale == Scale(min=0, window="30s", concurrency=1)
    assert DOCUMENT.spec.scale.min == 1, "the document itself stays as it was"


def test_a_sink_is_a_url_or_a_broker() -> None:
    sink = Changes(sink="https://example.com/in").apply(DOCUMENT).spec.sink
    assert sink == Sink(uri="https://example.com/in")


@pytest.mark.parametrize(
    ("given_name", "path", "handler"),
    [
        ("bye", "/x/hello.py", "hello:bye"),
        ("hello", "/x/hello.py", "hello"),
        ("other:bye", "/x/hello.py", "other:bye"),
        ("bye", "/x", "bye"),
    ],
)
def test_a_handlers_bare_name_is_looked_for_in_the_file(given_name: str, path: str, handler: str) -> None:
    function = Function(spec=FunctionSpec(source=Source(path=path)))
    assert Changes(handler=given_name).apply(function).spec.handler == handler


def test_requirements_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("# what it needs\nnumpy>=2\n\n  pandas  \n")
    spec = Changes(requirements=(str(file), "scipy")).apply(Function()).spec
    assert spec.build.requirements == ["numpy>=2", "pandas", "scipy"]
    with pytest.raises(click.BadParameter, match="No such file"):
        Changes(requirements=("gone.txt",)).apply(Function())


def test_triggers_are_added_under_names_of_their_own() -> None:
    changes = Changes(
        cron=("0 7 * * *", "@every 10s"),
        timezone="Europe/Paris",
        on=("type=com.example.made,source=/shop", "*", "type=com.example.made"),
        filter=("type LIKE 'com.%'",),
    )
    function = changes.apply(DOCUMENT)
    assert function.spec.triggers == [
        CronTrigger(name="cron", schedule="@hourly"),
        CronTrigger(name="cron-2", schedule="0 7 * * *", timezone="Europe/Paris"),
        CronTrigger(name="cron-3", schedule="@every 10s", timezone="Europe/Paris"),
        EventTrigger(name="on-com-example-made", filters=[{"exact": {"type": "com.example.made", "source": "/shop"}}]),
        EventTrigger(name="on-all"),
        EventTrigger(name="on-com-example-made-2", filters=[{"exact": {"type": "com.example.made"}}]),
        EventTrigger(name="filter", filters=[{"cesql": "type LIKE 'com.%'"}]),
    ]
    check(function)


@pytest.mark.parametrize("text", ["com.example.made", "type=", "=x", "type=a,source"])
def test_a_filter_that_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="say ATTRIBUTE=VALUE"):
        Changes(on=(text,)).apply(DOCUMENT)


@given(st.lists(st.sampled_from(["cron", "cron-2", "on-a", "x"])), st.lists(st.sampled_from(["cron", "on-a"])))
def test_new_names_never_repeat(taken: list[str], asked: list[str]) -> None:
    names = Names(taken)
    new = [names.new(base) for base in asked]
    assert len({*new}) == len(new)
    assert not {*new} & {*taken}


def test_the_project_is_changed_only_when_it_is_given() -> None:
    function = Function(metadata=Metadata(name="f", project="flowers"))
    assert Changes().apply(function).metadata.project == "flowers"
    assert Changes(project="trees").apply(function).metadata.project == "trees"


def test_models_make_a_model_server_and_replace_those_of_their_key() -> None:
    function = Function(spec=FunctionSpec(models=[Model(key="a", path="/old"), Model(key="b", path="/b")]))
    spec = Changes(model=(("a", "/new"), ("c:v1", "store://models/p/c")), track=True).apply(function).spec
    assert spec.kind == "serving"
    assert [(model.key, model.path) for model in spec.models] == [
        ("b", "/b"),
        ("a", "/new"),
        ("c:v1", "store://models/p/c"),
    ]
    assert spec.tracking == Tracking()
    assert spec.sink == Sink(broker="default")


def test_a_key_that_cannot_be_is_refused() -> None:
    with pytest.raises(click.BadParameter, match=r"model\.key: found 'a b', allowed: a name such as 'churn'"):
        Changes(model=(("a b", "/x"),)).apply(Function())
