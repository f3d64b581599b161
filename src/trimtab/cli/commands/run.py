"""`trimtab run` and `runs`: jobs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trimtab.cli import output as out
from trimtab.cli.exits import Exit
from trimtab.cli.logline import render
from trimtab.cli.names import looking_for
from trimtab.cli.options import complete_functions, output_option, pair, target_option
from trimtab.cli.session import Session
from trimtab.errors import Conflict, NotFound

if TYPE_CHECKING:
    from trimtab.cli.changes import Changes
    from trimtab.deploy.abc import RunInfo, Target
    from trimtab.spec import Function

_EXITS = {"failed": Exit.FAILED, "cancelled": Exit.INTERRUPTED}


@click.command()
@click.argument("job", metavar="SOURCE|NAME")
@click.option(
    "-p", "--parameter", "parameters", multiple=True, type=pair, metavar="KEY=VALUE", help="A parameter. Repeatable."
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    type=pair,
    metavar="NAME=PATH",
    help="An input: a path, a URL, or a store:// URI. Repeatable.",
)
@click.option("--artifact-path", help="Where the run puts its files (default: a folder of its own).")
@click.option("--name", help="The job's name (default: the file's, as a DNS label).")
@click.option("--project", help="The project that it and what it logs belong to.")
@click.option("--requirements", multiple=True, metavar="REQ|FILE", help="A requirement, or a .txt file. Repeatable.")
@click.option("--env", multiple=True, type=pair, metavar="KEY=VALUE", help="An environment variable. Repeatable.")
@click.option("--timeout", metavar="DURATION", help="Time the run may take, such as 30m (default: no limit).")
@click.option("--backoff-limit", type=click.IntRange(min=0), help="Times it is tried again when it fails (default: 0).")
@click.option("--detach", is_flag=True, help="Do not wait: print the run's id.")
@target_option
@output_option()
@click.pass_obj
def run(
    session: Session,
    job: str,
    parameters: tuple[tuple[str, str], ...],
    inputs: tuple[tuple[str, str], ...],
    artifact_path: str | None,
    name: str | None,
    project: str | None,
    requirements: tuple[str, ...],
    env: tuple[tuple[str, str], ...],
    timeout: str | None,
    backoff_limit: int | None,
    detach: bool,
    target: str,
    output: str,
) -> None:
    """Run a job once and print its results.

    The job is FILE.py[:handler], a folder, a document, or the name of a job that is deployed.
    Parameters become what the handler's annotations say. The log goes to stderr, the results to stdout; the exit code
    is 0, 1 (failed) or 130 (cancelled). Ctrl-C cancels the run.

    \b
    trimtab run train.py:train -p depth=3 -p 'columns=["a", "b"]'
    trimtab run train.py --input data=iris.csv -o json | jq .results
    trimtab run nightly --detach
    """
    from trimtab.cli.changes import Changes

    place = session.target(target, start=True)
    changes = Changes(
        name=name,
        project=project,
        kind="job",
        requirements=requirements,
        env=env,
        timeout=timeout,
        backoff_limit=backoff_limit,
    )
    info = place.run(
        _job(place, job, changes),
        dict(parameters),
        inputs=dict(inputs) or None,
        artifact_path=artifact_path,
        wait=not detach,
        on_log=lambda line: out.note(render(line)),
    )
    if output == "json":
        out.json(info)
    elif detach:
        click.echo(info.id)
    else:
        _conclude(info)
    raise click.exceptions.Exit(_EXITS.get(info.state, Exit.OK))


@click.command()
@click.argument("identity", metavar="[ID]", required=False)
@click.option("--function", shell_complete=complete_functions, help="Only runs of this function.")
@click.option("--cancel", is_flag=True, help="Stop the run of that ID.")
@target_option
@output_option()
@click.pass_obj
def runs(session: Session, identity: str | None, function: str | None, cancel: bool, target: str, output: str) -> None:
    """List the runs of jobs, or show one.

    Newest first. An ID may be shortened as long as it stays unique.

    \b
    trimtab runs --function train
    trimtab runs 3f9c -o json | jq .results
    trimtab runs 3f9c --cancel
    """
    place = session.target(target)
    if identity is None:
        if cancel:
            raise click.UsageError("--cancel needs the ID of a run")
        _list(place.runs(function), output)
        return
    info = _find(place.runs(function), identity)
    if cancel:
        info = place.cancel(info.id)
    if output == "json":
        out.json(info)
    else:
        _show(info)


def _job(place: Target, job: str, changes: Changes) -> Function:
    """Read a source; a plain name is that of a deployed job, which the target knows better than we do."""
    from trimtab.cli.changes import Changes
    from trimtab.cli.source import CODE, DOCUMENTS, read
    from trimtab.spec import Function, FunctionSpec, Metadata

    if os.sep in job or ":" in job or Path(job).suffix in CODE | DOCUMENTS or Path(job).is_dir():
        return changes.apply(read(job))
    if changes != Changes(kind="job"):
        raise click.UsageError(
            "--name, --project, --requirements, --env, --timeout and --backoff-limit go with a source: "
            "a deployed job has its own"
        )
    with looking_for(place, job):
        deployed = place.get(job)
    if deployed.kind != "job":
        raise Conflict(f"{job!r} is of kind {deployed.kind}: only jobs are run; `trimtab invoke {job}` calls it")
    return Function(metadata=Metadata(name=job), spec=FunctionSpec(kind="job"))


def _conclude(info: RunInfo) -> None:
    if info.results or info.artifacts:
        out.facts([*info.results.items(), *info.artifacts.items()])
    took = f" after {out.span(info.finished - info.started)}" if info.finished and info.started else ""
    reason = f": {info.error}" if info.error and info.state != "cancelled" else ""
    out.note(f"run {info.id} {info.state}{took}{reason}")


def _list(found: list[RunInfo], output: str) -> None:
    if output == "json":
        out.json(found)
        return
    out.table(
        ("ID", "FUNCTION", "STATE", "CREATED", "TOOK", "ERROR"),
        [(r.id, r.function, r.state, out.ago(r.created), _took(r), (r.error or "").partition("\n")[0]) for r in found],
        empty="No runs. `trimtab run FILE.py:NAME` makes one.",
    )


def _show(info: RunInfo) -> None:
    out.facts(
        (
            ("id", info.id),
            ("function", info.function),
            ("state", info.state),
            ("created", out.ago(info.created)),
            ("took", _took(info)),
            ("tries", info.tries),
            ("exit code", info.exit_code),
            ("error", info.error),
            ("files", info.artifact_path),
            *((f"parameter {name}", value) for name, value in info.parameters.items()),
            *((f"result {name}", value) for name, value in info.results.items()),
            *((f"artifact {name}", uri) for name, uri in info.artifacts.items()),
        )
    )


def _took(info: RunInfo) -> str:
    return out.span(info.finished - info.started) if info.finished and info.started else ""


def _find(found: list[RunInfo], identity: str) -> RunInfo:
    matches = [info for info in found if info.id.startswith(identity)]
    exact = [info for info in matches if info.id == identity]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    if not matches:
        raise NotFound(f"no run {identity!r}: `trimtab runs` lists them")
    raise Conflict(f"{identity!r} is the beginning of {len(matches)} runs: {', '.join(info.id for info in matches)}")
