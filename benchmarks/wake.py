"""The first answer from zero replicas on the local target, beside what a bare Python needs for the same imports.

Functions scale to zero by themselves, after the shortest window there is; several of each kind sleep at the same time,
and are woken one after the other. Their zygote is warm, as it is from the first deployment until the daemon ends.
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial

from benchmarks.home import Home, ask, home, until
from benchmarks.rounds import Effort, alternate, milliseconds, say
from benchmarks.row import Row

_IMPORTS = {"hello": "pass", "pandas and scikit-learn": "import pandas, sklearn.linear_model"}
_MUST = {"hello": 60.0, "pandas and scikit-learn": 120.0}
_EACH = 4


def rows(effort: Effort) -> list[Row]:
    """Measure."""
    each = min(_EACH, effort.count)
    with home() as local:
        found = _wake(local, each, rounds=max(1, effort.count // each))
    sides = {what: partial(milliseconds, partial(python, imports)) for what, imports in _IMPORTS.items()}
    bare = alternate(sides, max(1, effort.count // 4))
    return [
        Row(
            what=f"first answer from zero replicas, {what}",
            unit="ms",
            ours=found[what],
            beside="bare Python, the same imports",
            theirs=bare[what],
            must=_MUST[what],
            bound="at most",
        )
        for what in _IMPORTS
    ]


def _wake(local: Home, each: int, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {what: [] for what in _IMPORTS}
    urls: dict[str, tuple[str, str]] = {}
    for number, (what, imports) in enumerate(_IMPORTS.items()):
        code = f"{imports}\ndef handler(context, event):\n    return 'hello'\n"
        for copy in range(each):
            name = f"f{number}-{copy}"
            urls[name] = what, local.deploy(name, code, window="6s")
    for _ in range(rounds):
        until(lambda: not any(info.replicas for info in local.target.functions()))
        time.sleep(0.5)  # the replicas that were told to go have gone
        for what, url in urls.values():
            found[what].append(milliseconds(partial(ask, url)))
        say(", ".join(f"{what} {values[-each:][0]:.1f} ms" for what, values in found.items()))
    return found


def python(code: str) -> None:
    """Run a bare Python for a line of code."""
    subprocess.run([sys.executable, "-c", code], check=True)
