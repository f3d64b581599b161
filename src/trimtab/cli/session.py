"""What every command is given: where functions run, connected to when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.deploy.abc import Target
    from trimtab.deploy.local.target import LocalTarget

TARGETS = ("local",)


def local_target(start: bool) -> LocalTarget:
    """Make the local target from the environment's settings."""
    from trimtab.config import settings
    from trimtab.deploy.local.target import LocalTarget

    return LocalTarget(settings(), start=start)


class Session:
    """The targets of one command. `make` is called with whether a missing daemon may be started."""

    def __init__(self, make: Callable[[bool], LocalTarget] = local_target) -> None:
        self._make = make

    def local(self, *, start: bool = False) -> LocalTarget:
        """Give this machine's target, with what only it can do (triggers, events, dead letters)."""
        return self._make(start)

    def target(self, name: str = "local", *, start: bool = False) -> Target:
        """Give the target of that name."""
        return {"local": self.local}[name](start=start)
