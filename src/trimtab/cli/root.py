"""The root of the command tree: commands are imported when they are named, and every ending becomes an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import click

from trimtab.cli.exits import Exit, code_of
from trimtab.cli.output import colour
from trimtab.errors import TrimtabError


class LazyGroup(click.Group):
    """A group whose commands are `module:name` texts, under headings, in the order in which help shows them."""

    def __init__(self, *args: Any, sections: Mapping[str, Mapping[str, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        self.sections = sections
        self._places = {name: place for section in sections.values() for name, place in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the sections."""
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and give the command."""
        if cmd_name not in self._places:
            return None
        module, _, name = self._places[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a name that is not there is answered with the closest one that is."""
        if args and not args[0].startswith("-") and args[0] not in self._places:
            from trimtab.cli.names import closest

            near = closest(args[0], self._places)
            ctx.fail(f"no command {args[0]!r}." + (f" Did you mean {near!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings."""
        for title, places in self.sections.items():
            commands = [(name, self.get_command(ctx, name)) for name in places]
            limit = formatter.width - 6 - max(map(len, self._places))
            with formatter.section(title):
                formatter.write_dl([(name, command.get_short_help_str(limit)) for name, command in commands if command])


class Root(LazyGroup):
    """The group that `trimtab` is: it turns errors into one message and an exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run and, in standalone mode, exit the process; else return the exit code."""
        extra.setdefault("color", colour())
        run = partial(super().main, args, prog_name, complete_var, standalone_mode=False, **extra)
        code = _guarded(run)
        if not standalone_mode:
            return code
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that went away ends it quietly."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            ctx.exit(_reader_gone())


def _guarded(run: Callable[[], Any]) -> int:
    try:
        result = run()
        sys.stdout.flush()
        return result if isinstance(result, int) else Exit.OK
    except (click.Abort, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the second Ctrl-C of an impatient user comes while we leave
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return _reader_gone()
    except click.ClickException as error:
        tell(error)
        return error.exit_code
    except TrimtabError as error:
        tell(error)
        return code_of(error)
    except Exception as error:
        tell(error)
        return Exit.INTERNAL


def tell(error: Exception) -> None:
    """Print one message about an error: the handler's traceback if it has one, ours only when TRIMTAB_DEBUG is set."""
    if os.environ.get("TRIMTAB_DEBUG"):
        sys.excepthook(type(error), error, error.__traceback__)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return
    if trace := getattr(error, "traceback", ""):
        click.echo(str(trace).rstrip("\n"), err=True)
    click.echo(click.style("error: ", fg="red") + _message(error), err=True, color=colour())


def _message(error: Exception) -> str:
    if isinstance(error, TrimtabError):
        return str(error)
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{error.format_message()}\n`{error.ctx.command_path} --help` says more."
    if isinstance(error, click.ClickException):
        return error.format_message()
    return f"internal error: {type(error).__name__}: {error} (TRIMTAB_DEBUG=1 shows where)"


def _reader_gone() -> Exit:
    """Point stdout at nothing, so that the flush at the interpreter's end has nobody to complain about."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.PIPE
