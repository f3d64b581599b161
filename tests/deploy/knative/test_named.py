"""Targets by name: what the file and the environment say, and how it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.deploy import named
from trimtab.deploy.local.target import LocalTarget
from trimtab.errors import SpecError

FILE = """
targets:
  staging: {context: kind, namespace: shop, registry: registry.example.com/staging}
  production: {context: prod, ingress: 10.0.0.1, artifacts: s3://b/a, state: 'redis://:$(PASSWORD)@host/0'}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path))
    return tmp_path / "targets.yaml"


def test_clusters_come_from_the_file_and_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(FILE)
    monkeypatch.setenv("TRIMTAB_REGISTRY", "registry.example.com/all")
    monkeypatch.setenv("TRIMTAB_NAMESPACE", "mine")
    found = named.clusters()
    assert named.names() == ["local", "knative", "staging", "production"]
    assert (found["knative"].namespace, found["knative"].registry) == ("mine", "registry.example.com/all")
    assert (found["staging"].context, found["staging"].namespace) == ("kind", "shop")
    assert found["staging"].registry == "registry.example.com/staging"
    assert found["production"].registry == "registry.example.com/all"
    assert found["production"].environ == {
        "TRIMTAB_ARTIFACTS": "s3://b/a",
        "TRIMTAB_STATE": "redis://:$(PASSWORD)@host/0",
    }


def test_without_a_file_there_are_two(file: Path) -> None:
    assert not file.exists()
    assert named.names() == ["local", "knative"]
    assert isinstance(named.find(None), LocalTarget)
    assert named.find("knative").name == "knative"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("targets: {a: {contxt: x}}", "contxt"),
        ("targets: [", "targets.yaml"),
        ("targets: {local: {context: x}}", "`local` is this machine"),
        ("other: 1", "other"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_name(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(SpecError, match="targets") as caught:
        named.clusters()
    assert words in str(caught.value)


def test_a_target_that_is_not_there_is_answered_with_those_that_are(file: Path) -> None:
    file.write_text(FILE)
    with pytest.raises(SpecError, match="target: found 'prod', allowed: one of local, knative, staging, production"):
        named.find("prod")


def test_without_the_extra_it_says_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from trimtab.deploy.knative.client.connect import connect
    from trimtab.errors import TargetError

    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(TargetError, match=r"pip install 'trimtab\[knative\]'"):
        connect()
