"""The command tree."""

from __future__ import annotations

import click

from trimtab.cli.exits import Exit
from trimtab.cli.root import Root
from trimtab.cli.session import Session

_HERE = "trimtab.cli.commands"

SECTIONS = {
    "Functions": {
        "deploy": f"{_HERE}.deploy:deploy",
        "dev": f"{_HERE}.dev:dev",
        "ls": f"{_HERE}.functions:ls",
        "get": f"{_HERE}.functions:get",
        "logs": f"{_HERE}.logs:logs",
        "traffic": f"{_HERE}.traffic:traffic",
        "rollback": f"{_HERE}.traffic:rollback",
        "promote": f"{_HERE}.promote:promote",
        "delete": f"{_HERE}.functions:delete",
    },
    "Calling them": {
        "invoke": f"{_HERE}.invoke:invoke",
        "run": f"{_HERE}.run:run",
        "runs": f"{_HERE}.run:runs",
    },
    "Models": {
        "models": f"{_HERE}.models:models",
        "drift": f"{_HERE}.drift:drift",
        "approve": f"{_HERE}.loop:approve",
        "reject": f"{_HERE}.loop:reject",
    },
    "Events and triggers": {
        "events": f"{_HERE}.events:events",
        "publish": f"{_HERE}.events:publish",
        "trigger": f"{_HERE}.trigger:trigger",
        "dead": f"{_HERE}.dead:dead",
        "consume": f"{_HERE}.consume:consume",
    },
    "Clusters": {
        "preflight": f"{_HERE}.cluster:preflight",
        "diff": f"{_HERE}.cluster:diff",
        "canary": f"{_HERE}.cluster:canary",
    },
    "Without a target": {
        "build": f"{_HERE}.build:build",
        "serve": f"{_HERE}.serve:serve",
        "export": f"{_HERE}.export:export",
        "schema": f"{_HERE}.export:schema",
        "simulate": f"{_HERE}.simulate:simulate",
    },
    "This machine": {
        "up": f"{_HERE}.daemon:up",
        "status": f"{_HERE}.daemon:status",
        "down": f"{_HERE}.daemon:down",
        "version": f"{_HERE}.version:version",
    },
}

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {code.meaning}" for code in Exit)


@click.group(
    cls=Root,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.version_option(package_name="trimtab", message="%(version)s")
@click.pass_context
def app(ctx: click.Context) -> None:
    """Turn Python functions into autoscaling services, on this machine and on Knative.

    \b
    trimtab deploy hello.py                 make it run; prints its URL
    trimtab invoke hello -d '{"x": 1}'      call it
    trimtab logs hello -f                   see what it says

    Every command that prints a table takes `-o json`. NO_COLOR turns colour off, TRIMTAB_HOME says where this
    machine's state is (~/.trimtab), TRIMTAB_DEBUG=1 shows tracebacks of errors.
    """
    if ctx.obj is None:
        ctx.obj = Session()
