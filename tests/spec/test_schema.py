from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from trimtab.errors import SpecError
from trimtab.spec import from_dict
from trimtab.spec.base import Base
from trimtab.spec.document import parse, to_json
from trimtab.spec.schema import field_docstrings, json_schema, main, markdown

ROOT = Path(__file__).parents[2]
VALIDATOR = jsonschema.Draft202012Validator(json_schema())

GOOD: list[dict[str, Any]] = [
    {},
    {"apiVersion": "trimtab.dev/v1", "kind": "Function", "metadata": {"name": "f"}},
    {"spec": {"kind": "nuclio", "scale": {"min": 0, "target": 0.5, "window": "1m30s", "delay": 5}}},
    {"spec": {"resources": {"limits": {"memory": "2Gi", "cpu": 0.5, "nvidia.com/gpu": 1}}, "limits": {"body": 4096}}},
    {
        "spec": {
            "triggers": [
                {"kind": "cron", "name": "c", "schedule": "@hourly", "data": [1]},
                {"kind": "event", "name": "e"},
            ]
        }
    },
    {
        "spec": {
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "sink": {"broker": "b"},
        }
    },
]
BAD: list[dict[str, Any]] = [
    {"apiVersion": "v1"},
    {"spce": {}},
    {"metadata": {"name": "My_Fn"}},
    {"metadata": {"name": "a" * 64}},
    {"metadata": {"labels": {"a": 1}}},
    {"spec": {"kind": "dask"}},
    {"spec": {"scale": {"mn": 1}}},
    {"spec": {"scale": {"min": -1}}},
    {"spec": {"scale": {"min": "1"}}},
    {"spec": {"scale": {"window": "soon"}}},
    {"spec": {"scale": {"window": -1}}},
    {"spec": {"scale": {"utilization": 101}}},
    {"spec": {"scale": {"metric": "cpu"}}},
    {"spec": {"resources": {"limits": {"memory": "2 GB"}}}},
    {"spec": {"triggers": [{"kind": "kafka", "name": "k"}]}},
    {"spec": {"triggers": [{"kind": "cron", "name": "k"}]}},
    {"apiVersion": "trimtab.dev/v1", "spec": {"triggers": {"c": {}}}},
    {"spec": {"env": [{"value": "x"}]}},
    {"spec": {"volumes": [{"name": "v", "mountPath": "/v", "readOnly": "yes"}]}},
    {"spec": {"build": {"python": "3"}}},
]


@pytest.mark.parametrize("document", GOOD)
def test_the_schema_takes_what_the_loader_takes(document: dict[str, Any]) -> None:
    from_dict(document)
    VALIDATOR.validate(document)


@pytest.mark.parametrize("document", BAD)
def test_the_schema_refuses_what_the_loader_refuses(document: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        from_dict(document)
    assert not VALIDATOR.is_valid(document)


def test_the_schema_is_a_schema_that_refuses_unknown_keys_and_explains_every_field() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for name, component in schema["$defs"].items():
        assert component["additionalProperties"] is False, name
        assert component["description"], name
        for field, property_ in component["properties"].items():
            assert field == "kind" or property_["description"], (name, field)


def test_a_document_that_is_wrong_only_together_is_left_to_check() -> None:
    VALIDATOR.validate({"spec": {"scale": {"min": 3, "max": 2}}})


def test_the_committed_schema_and_reference_are_those_of_the_types() -> None:
    hint = "run: python -m trimtab.spec.schema --json > docs/function.schema.json; ... --markdown > docs/spec.md"
    assert (ROOT / "docs/function.schema.json").read_text() == to_json(json_schema()), hint
    assert (ROOT / "docs/spec.md").read_text() == markdown(), hint


def test_the_references_example_is_a_good_document() -> None:
    example = markdown().split("```yaml\n")[1].split("```")[0]
    VALIDATOR.validate(parse(example))
    assert from_dict(parse(example)).metadata.name == "hello"


@pytest.mark.parametrize("kind", Base.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_field_has_a_text_and_every_type_a_section(kind: type[Base]) -> None:
    assert set(field_docstrings(kind)) == set(kind.__struct_fields__)
    assert f"## {kind.__name__}\n" in markdown()


def test_the_module_prints_either_and_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    assert parse(capsys.readouterr().out) == json_schema()
    assert main([]) == 2
    assert capsys.readouterr().err == "usage: python -m trimtab.spec.schema --json | --markdown\n"
    run = subprocess.run(
        [sys.executable, "-m", "trimtab.spec.schema", "--markdown"], capture_output=True, text=True, check=True
    )
    assert run.stdout == markdown()
