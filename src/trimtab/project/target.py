"""From the name of a target to the target."""

from __future__ import annotations

from trimtab.config import settings
from trimtab.deploy.abc import Target
from trimtab.errors import SpecError


def find(target: Target | str | None) -> Target:
    """Give the target of a name (None: this machine), or the target itself. Errors: SpecError."""
    if isinstance(target, Target):
        return target
    if target in (None, "local"):
        from trimtab.deploy.local.target import LocalTarget

        return LocalTarget(settings())
    raise SpecError("target", target, "'local', or a Target")
