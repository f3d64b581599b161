"""`trimtab drift`: compare tables, and show what a monitor has found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli import output as out
from trimtab.cli.options import output_option, pair

if TYPE_CHECKING:
    from trimtab.cli.session import Session
    from trimtab.handlers.drift.report import DriftReport

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def drift() -> None:
    """Tell whether data has drifted from a reference.

    \b
    trimtab drift run --reference train.csv --current today.csv
    trimtab drift show shop/churn
    """


@drift.command()
@click.option("--reference", required=True, type=_FILE, metavar="FILE", help="The reference: a .csv or .parquet file.")
@click.option("--current", required=True, type=_FILE, metavar="FILE", help="What is compared with it.")
@click.option("--method", default="default", show_default=True, metavar="NAME", help="How to compare.")
@click.option("--columns", metavar="NAME[,..]", help="Compare these columns alone.")
@click.option(
    "--param", "params", multiple=True, type=pair, metavar="KEY=VALUE", help="A parameter of the method. Repeatable."
)
@click.option("--html", type=_FILE, metavar="FILE", help="Write a report with plots too.")
@output_option()
def run(
    reference: Path,
    current: Path,
    method: str,
    columns: str | None,
    params: tuple[tuple[str, str], ...],
    html: Path | None,
    output: str,
) -> None:
    """Compare two files, feature by feature.

    \b
    trimtab drift run --reference train.csv --current today.csv
    trimtab drift run --reference train.parquet --current today.csv --method ks --param alpha=0.001
    trimtab drift run --reference train.csv --current today.csv --html drift.html
    """
    from trimtab.handlers.drift import detect
    from trimtab.handlers.drift.files import read_table
    from trimtab.handlers.drift.report import report

    expected, seen = read_table(reference), read_table(current)
    wanted = None if columns is None else [name.strip() for name in columns.split(",")]
    result = detect(method, expected, seen, columns=wanted, **{key: _value(text) for key, text in params})
    _tell([report(expected, seen, result, endpoint=current.name)], output, html)


@drift.command()
@click.argument("endpoint")
@click.option(
    "--from",
    "source",
    metavar="FILE|URL",
    help="Where the reports are: JSON, or one on each line (default: the drift function that is deployed).",
)
@click.option("--last", type=click.IntRange(1), default=50, show_default=True, help="How many reports --html shows.")
@click.option("--html", type=_FILE, metavar="FILE", help="Write a report with plots too.")
@output_option()
@click.pass_obj
def show(session: Session, endpoint: str, source: str | None, last: int, html: Path | None, output: str) -> None:
    """Show the latest report of an endpoint: what was expected and seen, feature by feature.

    The reports are those of a drift function's events (dev.trimtab.drift), or of `trimtab drift run -o json`. The file
    that --html writes shows all of the endpoint's reports over time.

    \b
    trimtab drift show scorer/churn
    trimtab drift show scorer/churn --html drift.html --last 100
    trimtab drift show scorer/churn --from reports.jsonl
    """
    from trimtab.handlers.drift.files import read_reports, select

    _tell(select(read_reports(source or _deployed(session, endpoint, last)), endpoint), output, html)


def _deployed(session: Session, endpoint: str, last: int) -> str:
    """Give the URL of an endpoint's reports. Errors: NotFound, where no drift function is deployed."""
    from urllib.parse import quote

    from trimtab.errors import NotFound
    from trimtab.project.monitoring import DRIFT

    try:
        url = session.target().get(DRIFT).url
    except NotFound as exc:
        raise NotFound(
            f"{DRIFT!r} is not deployed: `project.enable_model_monitoring()` deploys it; --from reads reports of a file"
        ) from exc
    return f"{url}?endpoint={quote(endpoint, safe='')}&last={last}"


def _tell(reports: list[DriftReport], output: str, html: Path | None) -> None:
    """Print the last report, and write all of them."""
    from trimtab.handlers.drift import text
    from trimtab.handlers.drift.page import page

    if html is not None:
        try:
            html.write_text(page(reports), "utf-8")
        except OSError as exc:
            raise click.ClickException(f"{html} cannot be written: {exc.strerror}") from exc
        out.note(f"written: {html}")
    last = reports[-1]
    if output == "json":
        out.json(last)
        return
    click.echo(text.headline(last))
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    out.table(text.HEADINGS, text.rows(last, plain=plain), empty="No feature was compared.")
    for feature in last.features:
        if feature.message:
            click.echo(f"{feature.name}: {feature.message}")


def _value(text: str) -> Any:
    """Read a parameter as a number where it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
