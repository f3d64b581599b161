"""`trimtab serve`: one replica in the foreground."""

from __future__ import annotations

import os

import click

from trimtab.cli.options import pair


@click.command()
@click.argument("source", metavar="[FILE[:NAME]]", required=False, envvar="TRIMTAB_HANDLER")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), envvar="PORT", default=8080, show_default=True, show_envvar=True)
@click.option("--kind", type=click.Choice(["http", "serving"]), help="What kind of function it is.")
@click.option("--concurrency", type=click.IntRange(min=0), help="Requests worked on at a time; 0 = no limit.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that share the socket.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds a request may take; 0 = no limit.")
@click.option(
    "--model",
    multiple=True,
    type=pair,
    metavar="KEY[:VERSION]=PATH",
    help="A model to serve (default: TRIMTAB_MODELS). Repeatable.",
)
@click.option("--track", is_flag=True, help="Record what models are asked and answer (default: TRIMTAB_TRACKING).")
@click.option("--sink", metavar="URL", help="Where context.emit sends events (default: K_SINK).")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Least level that is logged."
)
def serve(
    source: str | None,
    host: str,
    port: int,
    kind: str | None,
    concurrency: int | None,
    workers: int | None,
    timeout: float | None,
    model: tuple[tuple[str, str], ...],
    track: bool,
    sink: str | None,
    log_level: str | None,
) -> None:
    """Run one replica in the foreground.

    Without a daemon, until Ctrl-C or SIGTERM. PORT, K_SERVICE, K_REVISION, K_CONFIGURATION, K_SINK and K_CE_OVERRIDES
    are honoured as in Knative's runtime contract; options win. `--host 0.0.0.0` opens it to the network. In place of a
    file, MODULE[:NAME] is looked for in TRIMTAB_DIRECTORY (the working directory); TRIMTAB_HANDLER says either.

    With TRIMTAB_KIND=job the handler is called once, with TRIMTAB_PARAMETERS, TRIMTAB_INPUTS (JSON) and the event in
    K_EVENT_PATH; the last line of the log holds the results.

    \b
    trimtab serve hello.py
    trimtab serve hello.py:greet --port 9000 --concurrency 1
    trimtab serve --model rf=model.pkl
    """
    from msgspec.structs import replace

    from trimtab.runtime.config import from_environ
    from trimtab.runtime.replica import serve as run

    given = {
        "kind": kind or ("serving" if model else None),
        "models": _models(model),
        "tracking": "{}" if track else None,
        "concurrency": concurrency,
        "workers": workers,
        "request_timeout": timeout,
        "sink": sink,
        "log_level": log_level,
    }
    config = from_environ(os.environ)
    config = replace(
        config,
        **_handler(source, model, config.directory),
        **{option: value for option, value in given.items() if value is not None},
    )
    if config.kind == "job":
        from trimtab.runtime.once import run as run_once

        raise click.exceptions.Exit(run_once(config))
    raise click.exceptions.Exit(run(config, host, port))


def _handler(source: str | None, models: tuple[tuple[str, str], ...], directory: str) -> dict[str, str]:
    """Say where the code is, as the runtime takes it; a model server needs none."""
    from trimtab.cli.source import CODE, split

    if source is None:
        if models or os.environ.get("TRIMTAB_MODELS"):
            return {}
        raise click.UsageError("name FILE.py[:NAME], or models: --model KEY=PATH")
    module = source.partition(":")[0]
    if not module.endswith((".py", ".ipynb")) and all(part.isidentifier() for part in module.split(".")):
        return {"handler": source, "directory": directory}
    path, name = split(source)
    if path.suffix not in CODE:
        raise click.BadParameter(f"{source!r} is neither FILE.py[:NAME] nor MODULE[:NAME]", param_hint="SOURCE")
    return {"handler": f"{path.name}:{name}" if name else path.name, "directory": str(path.parent)}


def _models(given: tuple[tuple[str, str], ...]) -> str | None:
    if not given:
        return None
    import msgspec

    from trimtab.cli.changes import Changes

    return msgspec.json.encode(Changes(model=given).models([])).decode()
