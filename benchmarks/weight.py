"""What Trimtab weighs: the time that `import trimtab` adds to Python's start, and the memory of one replica.

RSS counts what a process shares with others in full, PSS its share of it. A replica of the local target is forked from its
zygote: what it has not touched since then (mapped files above all) is in neither. `trimtab serve` starts from nothing.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from benchmarks.home import ask, home
from benchmarks.rounds import Effort, alternate, milliseconds
from benchmarks.row import Row
from benchmarks.server import bare, ours, post, serving
from benchmarks.wake import python

_HELLO = "import os\ndef handler(context, event):\n    return str(os.getpid())\n"
_FRONT = "import trimtab; trimtab.code_to_function"
_REQUESTS = 100


def rows(effort: Effort) -> list[Row]:
    """Measure."""
    return [*_imports(effort), *_memory()]


def _imports(effort: Effort) -> list[Row]:
    codes = {"bare": "pass", "root": "import trimtab", "front": _FRONT}
    sides = {name: partial(milliseconds, partial(python, code)) for name, code in codes.items()}
    found = alternate(sides, effort.count)

    def over(name: str) -> list[float]:
        return [ours - bare for ours, bare in zip(found[name], found["bare"], strict=True)]

    row = partial(Row, unit="ms", beside="bare Python in all", theirs=found["bare"], bound="at most")
    return [
        row(what="`import trimtab`, over bare Python", ours=over("root"), must=60),
        row(what="`trimtab.code_to_function` loaded, over bare Python", ours=over("front")),
    ]


def _memory() -> list[Row]:
    with home() as local:
        url = local.deploy("hello", _HELLO, min=1, max=1)
        for _ in range(_REQUESTS):
            pid = int(ask(url))
        forked = memory(pid)
    with serving(ours("echo")) as server, serving(bare()) as limit:
        for _ in range(_REQUESTS):
            post(server.port)
            post(limit.port)
        alone, least = memory(server.pid), memory(limit.pid)
    row = partial(Row, unit="MB", beside="bare ASGI app on uvicorn", theirs=[least["Rss"]], bound="at most")
    return [
        row(what="replica of the local target, hello: RSS", ours=[forked["Rss"]], must=45),
        row(what="replica of the local target, hello: its share (PSS)", ours=[forked["Pss"]], theirs=[least["Pss"]]),
        row(what="`trimtab serve`, echo: RSS", ours=[alone["Rss"]], must=45),
    ]


def memory(pid: int) -> dict[str, float]:
    """Give a process's resident set and its proportional share, in megabytes (10^6 bytes)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8")
    return {
        name: int(kilobytes) * 1024 / 1e6
        for name, kilobytes in re.findall(r"^(Rss|Pss): +(\d+) kB", text, re.MULTILINE)
    }
