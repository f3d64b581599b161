"""From the name of a target to the target."""

from __future__ import annotations

from trimtab.deploy import named
from trimtab.deploy.abc import Target


def find(target: Target | str | None) -> Target:
    """Give the target of a name (None: this machine), or the target itself. Errors: SpecError."""
    return target if isinstance(target, Target) else named.find(target)
