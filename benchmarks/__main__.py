"""`python -m benchmarks [names...] [--quick]`: measure, print the tables; without names, write `docs/benchmarks.md`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time

from benchmarks.machine import facts
from benchmarks.page import missed, page, table
from benchmarks.rounds import FULL, QUICK
from benchmarks.row import Row
from benchmarks.server import ROOT

NAMES = [
    "echo",
    "peers",
    "wake",
    "edit",
    "broker",
    "events",
    "emit",
    "streams",
    "serving",
    "sketches",
    "drift",
    "alarms",
    "kernels",
    "build",
    "knative",
    "weight",
]


def main() -> int:
    """Run; exit with 1 when a figure is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"which: {', '.join(NAMES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="see that it works; the figures mean little")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is measured starts as it does everywhere: compiled
    about, sections = facts(), {}
    names = arguments.names or NAMES
    for number, name in enumerate(names, 1):
        print(f"== {number} of {len(names)}: {name}", file=sys.stderr, flush=True)
        began = time.monotonic()
        module = importlib.import_module(f"benchmarks.{name}")
        sections[name] = (str(module.__doc__), module.rows(QUICK if arguments.quick else FULL))
        print(*table(sections[name][1]), *missed(sections[name][1]), sep="\n", flush=True)
        print(f"   {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if not arguments.names and not arguments.quick:
        (ROOT / "docs" / "benchmarks.md").write_text(page(sections, about), "utf-8")
        print("written: docs/benchmarks.md", file=sys.stderr)
    return _end([row for _, found in sections.values() for row in found])


def _end(rows: list[Row]) -> int:
    late = [row.what for row in rows if row.reached is False]
    asked = sum(row.reached is not None for row in rows)
    print(f"{asked - len(late)} of {asked} figures reached" + (f"; MISSED: {'; '.join(late)}" if late else ""))
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
