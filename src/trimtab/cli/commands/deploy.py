"""`trimtab deploy`: source in, URL out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trimtab.cli import output as out
from trimtab.cli.options import cluster_options, function_options, output_option, target_option
from trimtab.cli.session import Session
from trimtab.cli.verify import try_out, verify_options
from trimtab.errors import DeployFailed, TargetError

if TYPE_CHECKING:
    from trimtab.cli.changes import Changes
    from trimtab.deploy.abc import Deployment, Stage, Target
    from trimtab.spec import Function


@click.command()
@click.argument("source", required=False)
@function_options
@click.option("--force", is_flag=True, help="Make a new revision even if nothing changed.")
@cluster_options
@verify_options
@target_option
@output_option()
@click.pass_obj
def deploy(
    session: Session,
    source: str | None,
    changes: Changes,
    force: bool,
    how: dict[str, Any],
    verify: bool,
    sample: Any,
    target: str,
    output: str,
) -> None:
    """Make a function run, and print its URL.

    SOURCE is FILE.py[:handler], NOTEBOOK.ipynb[:handler], a folder, git+URL@REF#FOLDER, or a function.yaml or .json
    (Trimtab's or Nuclio's). Options override the document. A function that changed becomes a new revision, which takes
    over without a failed request; one that did not is left alone. A missing daemon is started. A model server without
    classes of its own needs no SOURCE.

    \b
    trimtab deploy hello.py
    trimtab deploy hello.py:handler --name greet --min 1 --max 4 --concurrency 1
    trimtab deploy model.ipynb:predict --verify
    trimtab deploy report.py --cron '0 7 * * *' --timezone Europe/Paris
    trimtab deploy audit.py --on type=com.example.made -o json | jq -r .url
    trimtab deploy --name iris --model rf=model.pkl --track
    trimtab deploy hello.py --target knative
    """
    from trimtab.cli.source import models_only, read

    function = changes.apply(read(source) if source is not None else models_only(changes))
    if verify:
        try_out(function, sample)
    say(send(place(session, target, how), function, force=force), output)


def place(session: Session, target: str, how: dict[str, Any]) -> Target:
    """Give the target; only a cluster takes what `cluster_options` say."""
    if target == "local":
        if how:
            raise click.UsageError(
                "--no-wait, --wait-timeout, --force-conflicts and --hold are for clusters: add --target NAME"
            )
        return session.local(start=True)
    from trimtab.deploy.knative.target import Options

    cluster = session.cluster(target)
    cluster.options = Options(**how, say=out.warn)
    return cluster


def send(place: Target, function: Function, *, force: bool = False) -> Deployment:
    """Deploy, with the stages shown as they finish to whoever watches.

    Errors: as Target.deploy; DeployFailed says what serves instead.
    """
    try:
        done = place.deploy(function, force=force, progress=_show if out.live() else None)
    except DeployFailed as error:
        name = function.metadata.name
        raise DeployFailed(f"{error}\n{_instead(place, name)}", error.traceback) from error
    for warning in done.warnings:
        out.warn(warning)
    return done


def say(done: Deployment, output: str) -> None:
    """Print what a deployment did."""
    if output == "json":
        out.json(done)
    else:
        click.echo(sentence(done))


def sentence(done: Deployment) -> str:
    """Say what a deployment did."""
    if not done.changed:
        return f"{done.name} is unchanged: {done.revision} serves {done.url}"
    ms = sum(stage.ms for stage in done.stages)
    if not done.revision:
        return f"{done.name} is applied after {ms:.0f} ms; `trimtab get {done.name}` shows whether it serves"
    return f"{done.revision} is ready after {ms:.0f} ms: {done.url}"


def _show(stage: Stage) -> None:
    detail = f"  {stage.detail}" if stage.detail else ""
    out.note(f"  {stage.name:<12}{stage.ms:>8.0f} ms{detail}")


def _instead(place: Target, name: str) -> str:
    try:
        serving = [revision for revision in place.get(name).revisions if revision.percent]
    except TargetError:
        return f"There is no earlier revision of {name}."
    return f"Serving: {', '.join(f'{revision.name} ({revision.percent}%)' for revision in serving) or 'nothing'}."
