"""`trimtab serve`: one replica in the foreground."""

from __future__ import annotations

import os

import click


@click.command()
@click.argument("source", metavar="FILE[:NAME]", envvar="TRIMTAB_HANDLER")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), envvar="PORT", default=8080, show_default=True, show_envvar=True)
@click.option("--kind", type=click.Choice(["http", "serving"]), help="What kind of function it is.")
@click.option("--concurrency", type=click.IntRange(min=0), help="Requests worked on at a time; 0 = no limit.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that share the socket.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds a request may take; 0 = no limit.")
@click.option("--sink", metavar="URL", help="Where context.emit sends events (default: K_SINK).")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Least level that is logged."
)
def serve(
    source: str,
    host: str,
    port: int,
    kind: str | None,
    concurrency: int | None,
    workers: int | None,
    timeout: float | None,
    sink: str | None,
    log_level: str | None,
) -> None:
    """Run one replica in the foreground.

    Without a daemon, until Ctrl-C or SIGTERM. PORT, K_SERVICE, K_REVISION, K_CONFIGURATION, K_SINK and K_CE_OVERRIDES
    are honoured as in Knative's runtime contract; options win. `--host 0.0.0.0` opens it to the network. In place of a
    file, MODULE[:NAME] is looked for in TRIMTAB_DIRECTORY (the working directory); TRIMTAB_HANDLER says either.

    \b
    trimtab serve hello.py
    trimtab serve hello.py:greet --port 9000 --concurrency 1
    """
    from msgspec.structs import replace

    from trimtab.runtime.config import from_environ
    from trimtab.runtime.replica import serve as run

    given = {
        "kind": kind,
        "concurrency": concurrency,
        "workers": workers,
        "request_timeout": timeout,
        "sink": sink,
        "log_level": log_level,
    }
    config = from_environ(os.environ)
    handler, directory = _located(source, config.directory)
    config = replace(
        config,
        handler=handler,
        directory=directory,
        **{option: value for option, value in given.items() if value is not None},
    )
    raise click.exceptions.Exit(run(config, host, port))


def _located(source: str, directory: str) -> tuple[str, str]:
    """Give handler and folder as the runtime takes them."""
    module = source.partition(":")[0]
    if not module.endswith((".py", ".ipynb")) and all(part.isidentifier() for part in module.split(".")):
        return source, directory
    from trimtab.cli.source import CODE, split

    path, name = split(source)
    if path.suffix not in CODE:
        raise click.BadParameter(f"{source!r} is neither FILE.py[:NAME] nor MODULE[:NAME]", param_hint="SOURCE")
    return f"{path.name}:{name}" if name else path.name, str(path.parent)
