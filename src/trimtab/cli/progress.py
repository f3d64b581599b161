"""What somebody who watches a build sees: a line for each step, and how far the one that runs has come."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

import click

from trimtab.cli import output as out

if TYPE_CHECKING:
    from trimtab.builder.abc import Step

_PAUSE = 0.1
"""Seconds between two looks at a running step."""


class Bars:
    """Shows steps on stderr while that is a terminal. Several threads may report at once."""

    def __init__(self) -> None:
        self._live = out.live()
        self._last, self._dirty = 0.0, False

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._dirty:
            click.echo("\r\x1b[K", err=True, nl=False)

    def show(self, step: Step) -> None:
        """Show a step that runs, or has ended."""
        if not self._live:
            return
        if step.ms is not None:
            took = f"{step.ms:>8.0f} ms"
            click.echo(f"\r\x1b[K{line(step, took)}", err=True)
            self._dirty = False
        elif time.monotonic() - self._last >= _PAUSE:
            click.echo(f"\r\x1b[K{line(step, ' ' * 8 + '...')}", err=True, nl=False)
            self._last, self._dirty = time.monotonic(), True


def line(step: Step, took: str) -> str:
    """Say one step in a line: name, platform, bytes, time, and what happened."""
    amount = size(step.total)
    if 0 < step.done < step.total:
        amount = f"{size(step.done)} of {amount}"
    name = f"{step.name} {step.platform}".rstrip()
    return f"  {name:<26} {amount if step.total else '':>20} {took}  {step.detail}".rstrip()


def size(count: int) -> str:
    """Say an amount of bytes: `678 B`, `8.7 MB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.2f} GB"
