"""`python -m benchmarks [names...]`: measure and print the tables; with `--write`, put them into `docs/benchmarks.md`."""

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
_PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> int:
    """Run; exit with 1 when a figure is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"which: {', '.join(NAMES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="see that it works; the figures mean little")
    parser.add_argument("--write", action="store_true", help="write the sections into docs/benchmarks.md")
    arguments = parser.parse_args()
    if arguments.quick and arguments.write:
        parser.error("--quick figures mean little: they are not written")
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is measured starts as it does everywhere: compiled
    sections = {}
    names = arguments.names or NAMES
    for number, name in enumerate(names, 1):
        print(f"== {number} of {len(names)}: {name}", file=sys.stderr, flush=True)
        about, began = facts(), time.monotonic()
        module = importlib.import_module(f"benchmarks.{name}")
        sections[name] = (str(module.__doc__), module.rows(QUICK if arguments.quick else FULL))
        print(*table(sections[name][1]), *missed(sections[name][1]), sep="\n", flush=True)
        print(f"   {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if arguments.write:
            text = _PAGE.read_text("utf-8") if _PAGE.exists() else ""
            _PAGE.write_text(page(text, {name: sections[name]}, about, NAMES), "utf-8")
            print(f"   written: {_PAGE.relative_to(ROOT)}", file=sys.stderr)
    return _end([row for _, found in sections.values() for row in found])


def _end(rows: list[Row]) -> int:
    late = [row.what for row in rows if row.reached is False]
    asked = sum(row.reached is not None for row in rows)
    print(f"{asked - len(late)} of {asked} figures reached" + (f"; MISSED: {'; '.join(late)}" if late else ""))
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
