"""The echo as a Knative Python function, served as its own scaffolding serves it."""

from __future__ import annotations

from typing import Any

from func_python.http import serve

from benchmarks.apps.bare import app


class Function:
    """One instance of the function."""

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Echo JSON."""
        await app(scope, receive, send)


def new() -> Function:
    """Make the instance."""
    return Function()


if __name__ == "__main__":
    serve(new)
