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
        self._erases = self._live and out.colour() is None  # which a dumb terminal cannot
        self._last, self._dirty = 0.0, False

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        click.echo(self._erased(), err=True, nl=False)

    def show(self, step: Step) -> None:
        """Show a step that runs, or has ended."""
        if not self._live:
            return
        if step.ms is not None:
            click.echo(f"{self._erased()}{line(step, f'{step.ms:>8.0f} ms')}", err=True)
        elif self._erases and time.monotonic() - self._last >= _PAUSE:
            click.echo(f"{self._erased()}{line(step, ' ' * 8 + '...')}", err=True, nl=False)
            self._last, self._dirty = time.monotonic(), True

    def _erased(self) -> str:
        """Give what takes the unfinished line away, if there is one."""
        dirty, self._dirty = self._dirty, False
        return "\r\x1b[K" if dirty else ""


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
