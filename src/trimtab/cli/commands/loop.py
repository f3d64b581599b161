"""`trimtab models history`, `approve`, `reject`: what became of challengers, and what people say about them."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from trimtab.cli import output as out
from trimtab.cli.options import output_option

if TYPE_CHECKING:
    from trimtab.cli.session import Session
    from trimtab.handlers.retrain.state import Decision, Loop


@click.command()
@click.argument("endpoint", required=False)
@output_option()
@click.pass_obj
def history(session: Session, endpoint: str | None, output: str) -> None:
    """Show which models were trained anew, and which of them took over.

    One line for each attempt, oldest first: what was compared on which rows, by how much the challenger was better, and
    why it was promoted, refused or taken back. ENDPOINT is FUNCTION/KEY; without it all endpoints are shown.

    \b
    trimtab models history
    trimtab models history shop/churn -o json
    """
    loops = _loops(session, endpoint)
    if output == "json":
        out.json(loops)
        return
    out.table(
        ("ENDPOINT", "CHAMPION", "INCIDENT", "NOW"),
        [(each.endpoint, _version(each.champion), _incident(each), _now(each)) for each in loops],
        empty="No endpoint was registered. A model server with tracking registers its models when it starts.",
    )
    decided = [(each, decision) for each in loops for decision in each.decisions]
    if decided:
        click.echo()
        headings = ("WHEN", "ENDPOINT", "OUTCOME", "CHALLENGER", "METRIC", "CHAMPION", "CHALLENGER", "GAIN", "ROWS")
        out.table(headings, [_row(loop, decision) for loop, decision in decided], empty="")
        for _, decision in decided:
            click.echo(f"{_version(decision.challenger) or decision.attempt}: {decision.outcome}: {decision.reason}")


def _say(verb: str, help: str, examples: str) -> click.Command:
    @click.command(verb, help=f"{help}\n\n\b\n{examples}")
    @click.argument("endpoint")
    @output_option()
    @click.pass_obj
    def command(session: Session, endpoint: str, output: str) -> None:
        decide(session, endpoint, verb, output)

    return command


def decide(session: Session, endpoint: str, verb: str, output: str) -> None:
    """Say a verb about an endpoint's attempt, and print what became of it. Errors: NotFound, InvocationFailed."""
    loop = _told(session, endpoint, verb)
    if output == "json":
        out.json(loop)
    else:
        click.echo(_now(loop) if loop.attempt is not None else f"{endpoint}: the champion is {loop.champion}")


approve = _say(
    "approve",
    "Let a training start that waits for a yes (spec.retrain.approval).",
    "trimtab approve shop/churn",
)
reject = _say(
    "reject",
    "End an attempt: the champion stays, and what was trained is kept and not served.",
    "trimtab reject shop/churn",
)


def _loops(session: Session, endpoint: str | None) -> list[Loop]:
    from trimtab.handlers.retrain.state import Loop

    if endpoint is not None:
        return [_asked(session, "GET", f"/{quote(endpoint)}", None, Loop)]
    found: list[Loop] = _asked(session, "GET", "/", None, dict[str, list[Loop]])["loops"]
    return found


def _told(session: Session, endpoint: str, verb: str) -> Loop:
    from trimtab.handlers.retrain.state import Loop

    found: Loop = _asked(session, "POST", f"/{quote(endpoint)}/{verb}", {"by": getpass.getuser()}, Loop)
    return found


def _asked(session: Session, method: str, path: str, body: Any, kind: Any) -> Any:
    """Ask the function that keeps the loops. Errors: NotFound, InvocationFailed with what it says."""
    import msgspec

    from trimtab.errors import InvocationFailed, NotFound
    from trimtab.project.monitoring import RETRAIN
    from trimtab.runtime.http import join, request

    try:
        url = session.target().get(RETRAIN).url
    except NotFound as exc:
        raise NotFound(
            f"{RETRAIN!r} is not deployed: `project.enable_model_monitoring()` deploys what watches models"
        ) from exc
    data = None if body is None else msgspec.json.encode(body)
    headers = [(b"content-type", b"application/json"), (b"accept", b"application/json")]
    with request(method, join(url, path), headers, data, timeout=60.0) as answer:
        text = answer.read()
    if answer.status >= 400:
        said = msgspec.json.decode(text) if text.startswith(b"{") else {}
        raise InvocationFailed(str(said.get("error") or text.decode("utf-8", "replace")), answer.status, text)
    return msgspec.json.decode(text, type=kind)


def _version(uri: str) -> str:
    return uri.rpartition("@")[2] if "@" in uri else uri


def _incident(loop: Loop) -> str:
    if loop.incident is None:
        return ""
    return f"since {out.ago(loop.incident.opened)}: {', '.join(loop.incident.features)}"


def _now(loop: Loop) -> str:
    attempt = loop.attempt
    if attempt is None:
        return ""
    waits = {
        "approval": "a training waits for `trimtab approve`",
        "approve": "a challenger waits for `trimtab promote`",
        "training": "a training runs",
        "comparing": "champion and challenger are compared",
        "canary": "a challenger answers a share of the requests",
        "shadow": "a challenger answers copies of the requests",
    }
    return f"{waits[attempt.stage]} (since {out.ago(attempt.since)})"


def _row(loop: Loop, decision: Decision) -> tuple[Any, ...]:
    figures = decision.figures
    head = (out.ago(decision.time), loop.endpoint, decision.outcome, _version(decision.challenger))
    if figures is None:
        return (*head, "", "", "", "", "")
    gain = f"{figures.gain:+.4g} ({figures.low:+.4g} to {figures.high:+.4g})"
    return (*head, figures.metric, f"{figures.champion:.4g}", f"{figures.challenger:.4g}", gain, figures.rows)
