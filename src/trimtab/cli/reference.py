"""`docs/cli.md`, written from the command tree: `python -m trimtab.cli.reference > docs/cli.md`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from trimtab.cli.app import app
from trimtab.cli.exits import Exit

_INTRODUCTION = """\
# Command line

<!-- Written by `python -m trimtab.cli.reference`; a test compares this file with what it prints. -->

`trimtab COMMAND --help` says the same as this page. What a command answers goes to stdout; progress, warnings and errors
go to stderr, progress and colour only when that is a terminal (`NO_COLOR` and `TERM=dumb` turn colour off). Commands
that print a table take `-o json`: one document, or one a line where the output is a stream; times are seconds since the
epoch. `python -m trimtab` is the same as `trimtab`.
"""

_ENVIRONMENT = """\
## Environment

| variable | meaning |
|---|---|
| `TRIMTAB_HOME` | where this machine's state is; default `~/.trimtab` |
| `TRIMTAB_MAX_REPLICAS` | where a function without `--max` stops on this machine; default 16 |
| `TRIMTAB_ARTIFACTS` | the URL of the artifact store; default the folder `artifacts` of the home |
| `TRIMTAB_BROKER_PORT` | the broker's port; default a free one, kept |
| `TRIMTAB_REGISTRY` | where images go that are named without a registry |
| `TRIMTAB_BASE_IMAGE` | the base of images; default `python:X.Y-slim` |
| `TRIMTAB_CACHE_SIZE` | MiB that the cache of layers may take |
| `TRIMTAB_CONTEXT`, `TRIMTAB_NAMESPACE`, `TRIMTAB_INGRESS` | of the target `knative`: the kubeconfig's context, the namespace, the ingress' address |
| `TRIMTAB_TARGETS` | the file that names more clusters; default `targets.yaml` in the home |
| `TRIMTAB_DEBUG` | `1` shows the Python traceback of every error |
| `NO_COLOR` | no colour, on terminals too |

## Shell completion

Commands, options and the names of deployed functions are completed. Once per shell:

```sh
eval "$(_TRIMTAB_COMPLETE=bash_source trimtab)"     # in ~/.bashrc
eval "$(_TRIMTAB_COMPLETE=zsh_source trimtab)"      # in ~/.zshrc
_TRIMTAB_COMPLETE=fish_source trimtab | source      # in ~/.config/fish/config.fish
```
"""


def reference() -> str:
    """Give the page."""
    context = click.Context(app, info_name="trimtab")
    parts = [_INTRODUCTION, _exits(), _ENVIRONMENT]
    for title, names in app.sections.items():
        parts.append(f"## {title}\n")
        for name in names:
            command = app.get_command(context, name)
            assert command is not None
            parts.extend(_pages(command, context, name))
    return "\n".join(parts)


def _exits() -> str:
    rows = [f"| {code.value} | {code.meaning} |" for code in Exit]
    return "\n".join(["## Exit codes\n", "| code | meaning |", "|---|---|", *rows, ""])


def _pages(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    """Write a command's page, and those of the commands below it."""
    context = click.Context(command, info_name=name, parent=parent)
    yield f"### `{context.command_path}`\n"
    for text, literal in _paragraphs(command.help or ""):
        yield f"```sh\n{text}\n```\n" if literal else f"{text}\n"
    if not isinstance(command, click.Group):
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"Usage: `{context.command_path} {usage}`\n"
    elif command.invoke_without_command:
        yield f"Usage: `{context.command_path} [OPTIONS]`\n"
    rows = [_row(record) for option in _options(command) if (record := option.get_help_record(context))]
    if rows:
        yield "\n".join(["| option | |", "|---|---|", *rows, ""])
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            child = command.get_command(context, below)
            assert child is not None
            yield from _pages(child, context, below)


def _options(command: click.Command) -> list[click.Option]:
    return [param for param in command.params if isinstance(param, click.Option)]


def _paragraphs(text: str) -> Iterator[tuple[str, bool]]:
    """Split a docstring at its blank lines; a paragraph that click must not rewrap is literal."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        literal = paragraph.startswith("\b\n")
        yield (paragraph[2:], True) if literal else (" ".join(paragraph.split()), False)


def _row(record: tuple[str, str]) -> str:
    names, text = (cell.replace("|", "\\|") for cell in record)
    return f"| `{names}` | {text} |"


if __name__ == "__main__":
    click.echo(reference().rstrip("\n"))
