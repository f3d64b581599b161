"""`trimtab build`, as it is typed."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from tests.builder.image.conftest import HELLO, home, tiny, warm

from trimtab.builder.abc import Step
from trimtab.cli.progress import line, size

__all__ = ["home", "tiny", "warm"]


def trimtab(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trimtab", "build", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    (tmp_path / "hello.py").write_text(HELLO)
    return tmp_path


def test_the_answer_is_the_image_by_digest(folder: Path, tiny: str) -> None:
    run = trimtab("hello.py", "-t", "team/hello:1", "--base-image", tiny, "--oci-layout", "out", cwd=folder)
    assert run.returncode == 0, run.stderr
    index = json.loads((folder / "out" / "index.json").read_text())
    assert run.stdout == f"docker.io/team/hello@{index['manifests'][0]['digest']}\n"
    assert run.stderr == ""


def test_json_has_digest_sizes_and_times(folder: Path, tiny: str) -> None:
    arguments = ("hello.py", "-t", "hello", "--base-image", tiny, "--platform", "linux/amd64,linux/arm64")
    run = trimtab(*arguments, "--oci-layout", "out", "-o", "json", cwd=folder)
    assert run.returncode == 0, run.stderr
    built = json.loads(run.stdout)
    assert [image["platform"] for image in built["platforms"]] == ["linux/amd64", "linux/arm64"]
    assert {layer["name"] for layer in built["platforms"][0]["layers"]} == {"base", "runtime", "code"}
    assert all(layer["size"] > 0 for layer in built["platforms"][0]["layers"])
    assert [step["name"] for step in built["steps"]][-1] == "send"
    assert all(step["ms"] >= 0 for step in built["steps"])


def test_a_dry_run_prints_a_plan(folder: Path, tiny: str) -> None:
    run = trimtab("hello.py", "-t", "hello", "--base-image", tiny, "--oci-layout", "out", "--dry-run", cwd=folder)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].split() == ["PLATFORM", "LAYER", "SIZE", "DIGEST"]
    assert [row.split()[1] for row in lines[1:-1]] == ["base", "runtime", "code"]
    assert lines[-1].startswith("docker.io/library/hello:latest would be sha256:")
    assert not (folder / "out").exists()


def test_refusals_end_with_a_code_of_their_own(folder: Path) -> None:
    run = trimtab("hello.py", "-t", "127.0.0.1:1/hello", "--base-image", f"oci:{folder}", cwd=folder)
    assert (run.returncode, run.stdout) == (8, "")
    assert run.stderr.startswith(f"error: '{folder}' is no OCI layout: ")


@pytest.mark.parametrize("missing", ["oras", "requests"])
def test_what_the_extra_brings_is_named_where_it_is_missing(folder: Path, missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from trimtab.cli.app import app; app.main(['build', 'hello.py'])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (
        8,
        f"error: building images needs {missing}: pip install 'trimtab[build]'\n",
    )


def test_verify_stops_before_anything_is_built(folder: Path, tiny: str) -> None:
    (folder / "broken.py").write_text("def handler(context, event):\n    return event.body['x'] + 1\n")
    arguments = ("broken.py", "-t", "hello", "--base-image", tiny, "--oci-layout", "out", "--verify")
    run = trimtab(*arguments, cwd=folder)
    assert run.returncode == 6, run.stderr
    assert "KeyError: 'x'" in run.stderr
    assert not (folder / "out").exists()
    run = trimtab(*arguments, "--sample", '{"x": 1}', cwd=folder)
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("verified in ")
    run = trimtab(*arguments, "--sample", "{x", cwd=folder)
    assert run.returncode == 2
    assert "Invalid value for '--sample': '{x' is not JSON: " in run.stderr


def test_imports_that_nothing_brings_are_proposed(folder: Path, tiny: str) -> None:
    (folder / "soup.py").write_text("import bs4\n\n\ndef handler(event):\n    return 1\n")
    run = trimtab("soup.py", "-t", "hello", "--base-image", tiny, "--oci-layout", "out", cwd=folder)
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("warning: ")
    assert "imports 'bs4': require beautifulsoup4" in run.stderr


def test_whoever_watches_sees_each_layer(folder: Path, tiny: str) -> None:
    reader, writer = pty.openpty()
    command = [sys.executable, "-m", "trimtab", "build", "hello.py", "-t", "hello", "--base-image", tiny]
    with subprocess.Popen(
        [*command, "--oci-layout", "out"], cwd=folder, stdout=subprocess.PIPE, stderr=writer
    ) as process:
        os.close(writer)
        seen = b""
        try:
            while part := os.read(reader, 4096):
                seen += part
        except OSError:  # the other side has gone
            pass
    os.close(reader)
    assert process.returncode == 0, seen.decode()
    lines = [text.rpartition("\x1b[K")[2].split() for text in seen.decode().splitlines()]
    runtime = next(words for words in lines if words[:1] == ["runtime"] and words[-1] in ("made", "cached"))
    assert runtime[3] == "MB"
    assert ["code"] in [words[:1] for words in lines]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (678, "678 B"), (1000, "1.0 kB"), (9_082_536, "9.1 MB"), (52_271_105_000, "52.27 GB")],
)
def test_sizes_are_said_in_their_largest_unit(count: int, text: str) -> None:
    assert size(count) == text


def test_a_step_that_runs_says_how_far_it_is() -> None:
    step = Step(name="push runtime", done=4_000_000, total=9_000_000)
    assert line(step, "...") == "  push runtime                   4.0 MB of 9.0 MB ..."
