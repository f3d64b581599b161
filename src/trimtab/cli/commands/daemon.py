"""`trimtab up`, `status` and `down`: the daemon that runs this machine's functions."""

from __future__ import annotations

from typing import Any

import click

from trimtab.cli import output as out
from trimtab.cli.options import output_option
from trimtab.cli.session import Session


@click.command()
@click.option("--foreground", is_flag=True, help="Run the daemon in this process, until Ctrl-C.")
@output_option()
@click.pass_obj
def up(session: Session, foreground: bool, output: str) -> None:
    """Start the daemon and say where things are.

    The daemon runs this machine's functions.
        `trimtab deploy` does this by itself. All state is under TRIMTAB_HOME (~/.trimtab); what was deployed before comes
    back.

    \b
    trimtab up
    trimtab up --foreground        under a service manager
    TRIMTAB_HOME=/tmp/try trimtab up
    """
    if foreground:
        from trimtab.config import settings
        from trimtab.deploy.local.daemon import main

        raise click.exceptions.Exit(main(settings()))
    state = session.local(start=True).up()
    if output == "text":
        click.echo("The daemon is started." if state.get("started") else "The daemon was running already.")
    _print(state, output)


@click.command()
@output_option()
@click.pass_obj
def status(session: Session, output: str) -> None:
    """Say what the daemon runs, and where.

    Exit code 4: it does not run.

    \b
    trimtab status
    trimtab status -o json | jq -r .broker
    """
    _print(session.local().status(), output)


@click.command()
@click.option("--timeout", default=60.0, show_default=True, help="Seconds that requests in flight are given.")
@click.pass_obj
def down(session: Session, timeout: float) -> None:
    """Finish what is in flight, then end the daemon. Functions come back with the next `trimtab up`.

    \b
    trimtab down
    trimtab down --timeout 5
    """
    ran = session.local().down(timeout=timeout)
    click.echo("The daemon is stopped." if ran else "No daemon was running.")


def _print(state: dict[str, Any], output: str) -> None:
    if output == "json":
        out.json(state)
        return
    since = state.get("since")
    out.facts(
        (name, out.ago(since) if name == "since" else value) for name, value in state.items() if name != "started"
    )
