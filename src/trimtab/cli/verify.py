"""`--verify` and `--sample`: try a function out in a clean process before it goes anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli import output as out
from trimtab.cli.options import Command, add_options

if TYPE_CHECKING:
    from trimtab.spec import Function


def _sample(text: str) -> Any:
    """Read JSON, or `@FILE` that holds it."""
    try:
        return json.loads(Path(text[1:]).read_text("utf-8") if text.startswith("@") else text)
    except OSError as error:
        raise click.BadParameter(f"{text[1:]!r}: {error.strerror}") from error
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not JSON: {error}") from error


def verify_options(command: Command) -> Callable[..., Any]:
    """`--verify` as `verify`, `--sample` as `sample`."""
    return add_options(
        command,
        (
            click.option(
                "--verify", is_flag=True, help="First import it in a clean process, and call it with a sample."
            ),
            click.option(
                "--sample", type=_sample, default="{}", metavar="JSON|@FILE", help="What --verify calls it with."
            ),
        ),
    )


def try_out(function: Function, sample: Any) -> None:
    """Verify a function, and say what it answered. Errors: NotVerified."""
    from trimtab.builder.verify import Sample
    from trimtab.project.verify import verified
    from trimtab.spec import check

    parameters = sample if isinstance(sample, dict) else {}
    done = verified(check(function), Sample(body=sample, parameters=parameters))
    status = f"{done.status}: " if done.status else ""
    out.note(f"verified in a clean process after {done.ms:.0f} ms: {status}{done.answer}")
