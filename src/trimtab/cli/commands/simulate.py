"""`trimtab simulate`: what a load would do to scale settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli import output as out
from trimtab.cli.options import output_option, scale_options

if TYPE_CHECKING:
    from trimtab.deploy.local.simulate import Trace


@click.command()
@click.argument("trace", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--load", metavar="STEPS", help="Rates instead of a trace, such as '0s:10rps,60s:200rps,120s'.")
@click.option("--service", default="100ms", show_default=True, help="Time of a request; 'exponential:100ms' varies it.")
@click.option("--cold-start", default="100ms", show_default=True, help="From a replica's start to its readiness.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same requests.")
@scale_options
@output_option()
def simulate(
    trace: Path | None,
    load: str | None,
    service: str,
    cold_start: str,
    seed: int,
    scale: dict[str, Any],
    output: str,
) -> None:
    """Replay a load against scale settings.

    Shows replicas, waiting and cold starts over simulated time, with the autoscaler that the daemon runs. TRACE is a
    file of requests: CSV lines `timestamp[,duration]` or JSON lines with these keys. The settings are those of
    `trimtab deploy`.

    \b
    trimtab simulate --load '0s:10rps,60s:200rps,120s' --concurrency 1 --max 8 --window 6s
    trimtab simulate requests.csv --scale-target 5 --cold-start 2s -o json | jq .peak_replicas
    """
    from shutil import get_terminal_size

    from trimtab.config import settings
    from trimtab.deploy.local.simulate import simulate as replay
    from trimtab.spec import Scale
    from trimtab.spec.amounts import check_scale
    from trimtab.spec.quantity import seconds

    wanted = Scale(**scale)
    check_scale(wanted)
    report = replay(
        wanted,
        _trace(trace, load),
        service=service,
        cold_start=seconds(cold_start, "--cold-start"),
        seed=seed,
        max_replicas=settings().max_replicas,
    )
    if output == "json":
        out.json(report)
        return
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    click.echo(report.render(width=get_terminal_size().columns, ascii_only=plain).rstrip("\n"))


def _trace(file: Path | None, load: str | None) -> Trace:
    from trimtab.deploy.local.simulate import Trace

    if (file is None) == (load is None):
        raise click.UsageError("say either a TRACE file or --load")
    return Trace.load(file) if file is not None else Trace.parse(load or "")
