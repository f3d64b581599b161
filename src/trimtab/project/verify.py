"""Verify a function on this machine, with its own requirements, before it goes anywhere."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from trimtab.builder.source import applied, read_function
from trimtab.builder.verify import Sample, Verified, verify
from trimtab.config import settings
from trimtab.project.run import without_loop
from trimtab.spec import Function, check


def verified(function: Function, sample: Sample | None = None) -> Verified:
    """Import the handler in a clean process and call it once. Errors: NotVerified; SpecError; DeployFailed where the
    requirements cannot be installed."""
    spec = function.spec
    code = read_function(function)
    complete = check(applied(function, code)[0]).spec
    env = {variable.name: variable.value or "" for variable in complete.env if variable.value_from is None}
    with tempfile.TemporaryDirectory(prefix="trimtab-") as scratch:
        own = code.requirements.folder or Path(scratch)
        pinned = code.requirements.pinned and not spec.build.requirements
        requirements = [] if pinned else complete.build.requirements
        python = without_loop(lambda: asyncio.run(_python(requirements, complete.build.python, own)))
    return verify(code, kind=complete.kind, sample=sample, env=env, python=python)


async def _python(requirements: list[str], python: str | None, directory: Path) -> Path:
    from trimtab.deploy.local.environments import ensure

    found = await ensure(requirements, python, settings().home / "environments", directory=directory)
    return found.python
