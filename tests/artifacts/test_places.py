"""URLs of stores: what opens, and what is said of the others."""

from __future__ import annotations

import sys
from pathlib import Path

import fsspec
import pytest

from trimtab.artifacts import FileSpec, open_store
from trimtab.artifacts.files.local import folder_of
from trimtab.config import settings
from trimtab.errors import SpecError, StoreError


def test_the_store_is_in_the_home_unless_the_environment_says_where(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_store().url == f"file://{home}/artifacts"
    monkeypatch.setenv("TRIMTAB_ARTIFACTS", "memory://there/")
    assert open_store().url == settings().artifact_store.rstrip("/") == "memory://there"
    assert open_store(f"{home}/elsewhere").url == f"file://{home}/elsewhere"


def test_the_home_is_its_owners_alone_whoever_makes_it(home: Path) -> None:
    open_store().put("artifacts", "p", "key", {"a": b"1"}, FileSpec(file="a"))
    assert home.stat().st_mode & 0o777 == (home / "artifacts" / "artifacts").stat().st_mode & 0o777 == 0o700
    shared = home.parent / "shared"
    open_store(str(shared)).put("artifacts", "p", "key", {"a": b"1"}, FileSpec(file="a"))
    assert shared.stat().st_mode & 0o055 == 0o055


def test_a_relative_path_in_the_environment_is_made_absolute(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_ARTIFACTS", "here")
    assert settings().artifact_store == f"file://{Path.cwd()}/here"


def test_local_urls_are_told_from_others() -> None:
    assert folder_of("file:///a/b%20c") == Path("/a/b c")
    assert folder_of("relative") == Path.cwd() / "relative"
    assert folder_of("s3://bucket/x") is None


def test_a_local_store_needs_no_package(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    store = open_store()
    assert store.put("artifacts", "p", "key", {"a": b"1"}, FileSpec(file="a")).read() == b"1"
    with pytest.raises(SpecError, match=r"pip install 'trimtab\[ml\]'\. fsspec is not installed$"):
        open_store("s3://bucket/x")


def test_what_a_url_needs_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match=r"^store URL: found 'nothing://x', allowed: file://, s3://, gs://, or what fs"):
        open_store("nothing://x")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(SpecError, match=r"pip install 'trimtab\[gs\]'\. .*[Ii]nstall gcsfs"):
        open_store("gs://bucket/x")


def test_a_bucket_that_is_not_there_is_said(s3: str) -> None:
    with pytest.raises(StoreError, match=r"^s3://no-such-bucket/x/files/artifacts/p/key/.*is there such a bucket\?$"):
        open_store("s3://no-such-bucket/x").put("artifacts", "p", "key", {"a": b"1"}, FileSpec(file="a"))


def test_a_server_that_is_away_is_said(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem = fsspec.get_filesystem_class("s3")
    S3FileSystem.clear_instance_cache()
    with pytest.raises(StoreError, match=r"^s3://bucket/away/.* cannot be used: \w+: .*127\.0\.0\.1:9"):
        open_store("s3://bucket/away").get("store://models/p/key")
    S3FileSystem.clear_instance_cache()
