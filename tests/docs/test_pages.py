"""What the pages show is what happens."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.builder.image.conftest import server, tiny
from tests.deploy.knative.conftest import cluster, knative, kubeconfig

from trimtab.spec import loads

__all__ = ["cluster", "knative", "kubeconfig", "server", "tiny"]

ROOT = Path(__file__).parents[2]
SESSIONS = [
    "README.md",
    "docs/artifacts.md",
    "docs/builder.md",
    "docs/drift-multivariate.md",
    "docs/drift.md",
    "docs/getting-started.md",
    "docs/handlers.md",
    "docs/knative.md",
    "docs/local-target.md",
    "docs/loop.md",
    "docs/monitoring.md",
    "docs/moving.md",
    "docs/notebooks.md",
    "docs/serving.md",
    "docs/streams.md",
    "docs/triggers.md",
]
MOST_SKIPPED = 8
"""Console blocks, over all pages, that may say why they are not run."""


@pytest.mark.parametrize("name", SESSIONS)
def test_the_commands_of_a_page_print_what_it_shows(name: str, session: Any, request: pytest.FixtureRequest) -> None:
    page = ROOT / name
    if shutil.which("curl") is None and "$ curl" in page.read_text("utf-8"):
        pytest.skip("there is no curl here, which the page uses")
    if name == "docs/knative.md":  # a cluster that is none, over real HTTP
        session.run(f"export KUBECONFIG={request.getfixturevalue('kubeconfig')}")
    if name in ("docs/builder.md", "docs/knative.md"):
        for variable, value in _builders(request, session).items():
            session.run(f"export {variable}={value}")
    session.play(page)


def _builders(request: pytest.FixtureRequest, session: Any) -> dict[str, str]:
    """Give a page that builds a registry, in place of the one on port 5000, and a base image that is here."""
    server = request.getfixturevalue("server")
    session.learned["5000"] = str(server.port)
    return {"TRIMTAB_BASE_IMAGE": request.getfixturevalue("tiny")}


def test_every_page_with_commands_is_run(pages: Any, blocks: Any) -> None:
    runnable = {"console", "python", "output"}
    found = {
        str(page.relative_to(ROOT))
        for page in pages(generated=False)
        if any(block.language in runnable and "skip" not in block.options for block in blocks(page))
    }
    assert found == set(SESSIONS)


def test_a_block_is_of_a_kind_that_is_tried(pages: Any, blocks: Any) -> None:
    known = {"console", "python", "yaml", "json", "output", "text"}
    for page in pages(generated=False):
        for block in blocks(page):
            assert block.language in known, f"{block.place}: a block {block.language!r} is tried by nobody"
            assert set(block.options) <= {"skip", "file"}, block.place


def test_what_is_not_run_says_why_and_is_little(pages: Any, blocks: Any) -> None:
    skipped = [block for page in pages(generated=False) for block in blocks(page) if "skip" in block.options]
    for block in skipped:
        assert block.language == "console", f"{block.place}: only commands may be skipped"
        assert len(block.options["skip"].split()) > 2, f"{block.place}: say why it is not run"
    assert len(skipped) <= MOST_SKIPPED, [block.place for block in skipped]


def test_documents_in_the_pages_are_accepted(pages: Any, blocks: Any) -> None:
    found = [block for page in pages() for block in blocks(page)]
    for block in found:
        if block.language == "yaml":
            function = loads(block.text, name=block.place, leftovers=[])
            assert function.metadata.name, f"{block.place}: the document names no function"
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "python":
            compile(block.text, block.place, "exec")
    assert {"yaml", "python"} <= {block.language for block in found}


def test_no_command_leaves_the_working_folder(pages: Any, blocks: Any, commands: Any) -> None:
    """A reader who types what a page says finds their files as they were."""
    for page in pages(generated=False):
        for block in blocks(page):
            if block.language == "console" and "skip" not in block.options:
                for command in commands(block):
                    assert not re.search(r"\b(sudo|rm -rf?) +[/~]|pkill|killall", command.text), block.place
