"""What every command is given: where functions run, connected to when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.deploy.abc import Target
    from trimtab.deploy.knative.target import KnativeTarget
    from trimtab.deploy.local.target import LocalTarget


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
        """Give the target of that name. Errors: SpecError, naming those there are."""
        return self.local(start=start) if name == "local" else self.cluster(name)

    def cluster(self, name: str) -> KnativeTarget:
        """Give a cluster, with what only it can do (preflight, diff). Errors: SpecError, naming those there are."""
        from trimtab.deploy.named import cluster

        return cluster(name)
