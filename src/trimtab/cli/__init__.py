"""The command line: what a person types, and what scripts read from it."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run the command line with the process's arguments and exit with the code that `trimtab.cli.exits` gives."""
    try:
        from trimtab.cli.app import app  # inside `try`: Ctrl-C while modules are imported is a Ctrl-C too

        app.main(prog_name="trimtab")
    except KeyboardInterrupt:
        pass
    raise SystemExit(130)
