from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.artifacts import StoreURI, is_store_uri
from trimtab.artifacts.uri import KINDS
from trimtab.errors import SpecError

names = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}\Z")


@given(st.sampled_from(KINDS), names, names, st.integers(0, 999), names | st.just(""), names | st.none())
def test_what_is_written_is_read(kind, project, key, iter, tag, tree) -> None:  # type: ignore[no-untyped-def]
    if not tag and tree is None:
        tag = "latest"
    uri = StoreURI(kind=kind, project=project, key=key, iter=iter, tag=tag, tree=tree)
    assert StoreURI.parse(str(uri)) == uri
    assert is_store_uri(str(uri))


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("store://models/p/m", "store://models/p/m#0:latest"),
        ("store://models/p/m:v1", "store://models/p/m#0:v1"),
        ("store://models/p/m#2", "store://models/p/m#2:latest"),
        ("store://models/p/m#2:v1", "store://models/p/m#2:v1"),
        ("store://datasets/p/m@abc", "store://datasets/p/m#0@abc"),
        ("store://artifacts/p/m#0:latest@abc", "store://artifacts/p/m#0:latest@abc"),
        ("store://models/p/m#:v1", "store://models/p/m#0:v1"),
    ],
)
def test_short_forms_mean_latest(text: str, whole: str) -> None:
    assert str(StoreURI.parse(text)) == whole


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models/p/m", "store URI: found 'models/p/m', allowed: store://models|datasets|artifacts/PROJECT/KEY"),
        ("store://models/p", "store URI: found 'store://models/p', allowed: store://models|"),
        ("store://models/p/m#x", "store URI: found 'store://models/p/m#x', allowed"),
        ("store://model/p/m", "There is no kind 'model'"),
        ("store://models/p/a b", "key: found 'a b', allowed: letters, digits"),
        ("store://models/../m", "project: found '..', allowed: letters"),
        ("store://models/p/m:", "tag: found '', allowed: letters"),
        ("store://models/p/m@", "version: found '', allowed: letters"),
        ("store://models/p/m/x", "key: found 'm/x', allowed: letters"),
    ],
)
def test_what_is_no_uri_is_refused(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        StoreURI.parse(text)
    assert said in str(caught.value)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(SpecError):
        assert StoreURI.parse(f"store://models/p/{text}").project == "p"
