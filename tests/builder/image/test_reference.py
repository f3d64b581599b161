from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from trimtab.builder.registry.credentials import find
from trimtab.builder.registry.reference import parse
from trimtab.errors import RegistryError, SpecError

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("python:3.12-slim", "docker.io/library/python:3.12-slim"),
        ("team/hello", "docker.io/team/hello:latest"),
        ("index.docker.io/python", "docker.io/library/python:latest"),
        ("localhost/hello:1", "localhost/hello:1"),
        ("127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000/a/b/c:x"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ("registry.example.com/a.b/c_d/e--f", "registry.example.com/a.b/c_d/e--f:latest"),
        (f"a@{DIGEST}", f"docker.io/library/a@{DIGEST}"),
        (f"a:1@{DIGEST}", f"docker.io/library/a:1@{DIGEST}"),
    ],
)
def test_references_are_read_as_docker_reads_them(text: str, full: str) -> None:
    assert str(parse(text)) == full
    assert parse(full) == parse(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("https://registry.example.com/a", ". An image's name has no scheme"),
        ("Team/Hello", ". Repositories are in lower case"),
        ("a/../b", ""),
        ("-a", ""),
        ("a:", ""),
        ("a@sha256:1", ""),
        ("", ""),
    ],
)
def test_what_is_no_reference_is_refused(text: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text)
    allowed = "allowed: an image such as 'registry.example.com/team/hello:1.0'"
    assert str(caught.value) == f"image: found {text!r}, {allowed}{hint}"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1:5000", True),
        ("localhost", True),
        ("[::1]:80", True),
        ("localhost.example.com", False),
        ("10.0.0.1:5000", False),
    ],
)
def test_plain_http_is_for_this_machine(host: str, loopback: bool) -> None:
    assert parse(f"{host}/a").loopback is loopback


def test_the_hub_answers_under_another_name() -> None:
    assert parse("python").api == "registry-1.docker.io"


def login(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def kept(folder: Path, config: object) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config) if not isinstance(config, str) else config)
    return {"DOCKER_CONFIG": str(folder), "HOME": str(folder)}


@pytest.mark.parametrize(
    "key",
    [
        "r.example.com",
        "https://r.example.com",
        "https://r.example.com/v1/",
        "r.example.com/team",
        "r.example.com/team/hello",
    ],
)
def test_a_login_is_found_by_host_url_or_namespace(tmp_path: Path, key: str) -> None:
    found = find("r.example.com", "team/hello", kept(tmp_path, {"auths": {key: login("ada", "a:b")}}))
    assert found is not None
    assert (found.user, found.password, found.where) == ("ada", "a:b", str(tmp_path / "config.json"))
    assert "a:b" not in repr(found)


def test_the_closest_login_wins(tmp_path: Path) -> None:
    config = {"auths": {"r.example.com": login("far", ""), "r.example.com/team": login("near", "")}}
    found = find("r.example.com", "team/hello", kept(tmp_path, config))
    assert found is not None
    assert found.user == "near"


def test_the_hubs_login_is_under_its_old_address(tmp_path: Path) -> None:
    found = find(
        "docker.io", "library/a", kept(tmp_path, {"auths": {"https://index.docker.io/v1/": login("ada", "x")}})
    )
    assert found is not None


def test_podmans_logins_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / "auth.json").write_text(json.dumps({"auths": {"r.example.com": login("ada", "x")}}))
    assert find("r.example.com", "a", {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}) is not None
    assert find("other.example.com", "a", {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}) is None


def helper(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "docker-credential-fake"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, """read key; echo "{\\"Username\\": \\"ada\\", \\"Secret\\": \\"of $key\\"}" """, monkeypatch)
    for config in ({"credHelpers": {"r.example.com": "fake"}}, {"credsStore": "fake", "auths": {"r.example.com": {}}}):
        found = find("r.example.com", "a", kept(tmp_path, config))
        assert found is not None
        assert (found.password, found.where) == ("of r.example.com", "docker-credential-fake")


def test_an_identity_token_of_a_helper_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, """echo '{"Username": "<token>", "Secret": "refresh"}'""", monkeypatch)
    found = find("r.example.com", "a", kept(tmp_path, {"credHelpers": {"r.example.com": "fake"}}))
    assert found is not None
    assert (found.user, found.token) == ("", "refresh")


def test_a_helper_that_knows_nothing_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, "echo credentials not found in native keychain; exit 1", monkeypatch)
    assert find("r.example.com", "a", kept(tmp_path, {"credHelpers": {"r.example.com": "fake"}})) is None


def test_a_helper_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, "echo the keyring is locked; exit 1", monkeypatch)
    with pytest.raises(RegistryError) as caught:
        find("r.example.com", "a", kept(tmp_path, {"credHelpers": {"r.example.com": "fake"}}))
    assert str(caught.value) == "docker-credential-fake gave no login for 'r.example.com': the keyring is locked"


def test_a_helper_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        find("r.example.com", "a", kept(tmp_path, {"credHelpers": {"r.example.com": "nothere"}}))
    where = tmp_path / "config.json"
    assert str(caught.value) == (
        f"{where} keeps the login of 'r.example.com' with docker-credential-nothere, which is not on PATH"
    )


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": {"r.example.com": {"auth": "!"}}}'])
def test_a_broken_file_of_logins_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(RegistryError, match=r"config\.json"):
        find("r.example.com", "a", kept(tmp_path, text))
