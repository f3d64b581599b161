from __future__ import annotations

import contextlib
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import SpecError
from trimtab.spec.document import parse, to_json, to_yaml

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
tricky = st.sampled_from(
    [
        "yes",
        "on",
        "1e3",
        "0o17",
        "017",
        "1_000",
        "12:30",
        "2024-01-01",
        "~",
        "null",
        "<<",
        "=",
        ".5",
        "a\nb\n",
        "\ta\n",
        " x\ny",
        "",
    ]
)


@given(values | tricky | st.dictionaries(tricky, tricky))
def test_data_survives_our_yaml_and_json(value: Any) -> None:
    assert parse(to_yaml({"a": value})) == {"a": value}
    assert parse(to_json({"a": value})) == {"a": value}


@given(st.dictionaries(st.text(), tricky | st.text() | st.integers()))
def test_readers_of_yaml_1_1_understand_what_we_write(value: dict[str, Any]) -> None:
    assert yaml.safe_load(to_yaml(value)) == value


def test_yaml_is_read_by_its_core_schema() -> None:
    text = "{a: yes, b: 12:30, c: 2024-01-01, d: 1e3, e: 0o17, f: 0x1F, g: ~, h: TRUE, i: .5, 1: x, null: y, on: z, j: 017, k: }"
    assert parse(text) == {
        "a": "yes", "b": "12:30", "c": "2024-01-01", "d": 1000.0, "e": 15, "f": 31, "g": None, "h": True, "i": 0.5,
        "1": "x", "null": "y", "on": "z", "j": 17, "k": None,
    }  # fmt: skip


def test_anchors_and_merges_work() -> None:
    text = "base: &b {a: 1, b: 2}\none:\n  <<: *b\n  b: 3\ntwo:\n  <<: [{a: 9}, *b]\n"
    assert parse(text) == {"base": {"a": 1, "b": 2}, "one": {"a": 1, "b": 3}, "two": {"a": 9, "b": 2}}


def test_a_byte_order_mark_is_no_content() -> None:
    assert parse("\ufeff{}") == {}


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n" for a, b in zip("abcde", "bcdef", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml: found 'nothing', allowed: one document in YAML or JSON"),
        ("# only a comment\n", "f.yaml: found 'nothing', allowed: one document in YAML or JSON"),
        ("a: 1\n---\nb: 2\n", "f.yaml, line 2, column 1: found 'a second document', allowed: one document in a file"),
        ("a: 1\nb: 2\na: 3\n", "f.yaml, line 3, column 1: found 'a', allowed: each key once"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "f.yaml: found 'c', allowed: each key once"),
        ("a:\n\tb: 1\n", ("f.yaml, line 2, column 1: found \"found character '\\\\t' that cannot start any token\", allowed: YAML. "
         "Indent with spaces: YAML does not allow tabs there")),
        ("a: [1, 2\n", "f.yaml, line 2, column 1: found \"expected ',' or ']', but got '<stream end>'\", allowed: YAML"),
        ("a: *nowhere\n", "f.yaml, line 1, column 4: found \"found undefined alias 'nowhere'\", allowed: YAML"),
        ("a: 1\nb: \x00\n", "f.yaml, line 2: found '\\x00', allowed: printable text"),
        ("a: !!python/object:os.system {}\n", ("f.yaml, line 1, column 4: found '!!python/object:os.system', allowed: a value "
         "without a tag")),
        ("a: !env HOME\n", "f.yaml, line 1, column 4: found '!env', allowed: a value without a tag"),
        ("? [a, b]\n: c\n", "f.yaml, line 1, column 3: found 'a mapping or list as a key', allowed: text as a key"),
        ("a: &a [*a]\n", ("f.yaml, line 1, column 4: found 'an alias of the mapping or list that it stands in', allowed: aliases "
         "that end")),
        ("a: .nan\n", "f.yaml, line 1, column 4: found '.nan', allowed: a finite number"),
        ("a: -.inf\n", "f.yaml, line 1, column 4: found '-.inf', allowed: a finite number"),
        ("a: 1e999\n", "f.yaml, line 1, column 4: found '1e999', allowed: a finite number"),
        ("a: !!int x\n", "f.yaml, line 1, column 4: found 'x', allowed: a number"),
        ('{"a": NaN}', "f.yaml: found 'NaN', allowed: a finite number"),
        ('{"a": 1e999}', "f.yaml: found '1e999', allowed: a finite number"),
        ("<<: 5\n", "f.yaml, line 1, column 5: found 5, allowed: a mapping, or a list of mappings, to merge"),
        ("[" * 100_000, "f.yaml: found 'hundreds of levels', allowed: a document of a sensible depth"),
    ],
)  # fmt: skip
def test_what_is_no_single_plain_document_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text, "f.yaml")
    assert str(caught.value) == message


def test_an_alias_bomb_does_not_go_off() -> None:
    with pytest.raises(SpecError, match="found 'more than 100000 values', allowed: a document of a sensible size"):
        parse(BOMB)


def test_a_json_file_is_refused_as_json() -> None:
    with pytest.raises(SpecError, match=r"^f\.json, line \d, column \d: found .*, allowed: JSON$"):
        parse('{"a": 1,\n}', "f.json")


@given(st.text())
def test_any_text_is_data_or_a_spec_error(text: str) -> None:
    with contextlib.suppress(SpecError):
        parse(text)
