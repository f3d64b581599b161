"""`trimtab consume`: a stream's consumer in the foreground."""

from __future__ import annotations

import os
from typing import Any

import click

from trimtab.cli.options import stream_options


@click.command()
@click.argument("stream", metavar="URL")
@click.option("--to", metavar="URL", envvar="K_SINK", show_envvar=True, help="Where the function takes events.")
@click.option("--name", default="consume", show_default=True, help="What it is called in metrics and as a group.")
@click.option(
    "--consumer", envvar="HOSTNAME", default="trimtab", help="Its own name in the group (default: the host's)."
)
@click.option("--timeout", metavar="DURATION", default="5m", show_default=True, help="Of one call.")
@click.option("--reply", metavar="URL", help="Where events go that the function answers with (default: nowhere).")
@click.option("--port", type=click.IntRange(0, 65535), help="Serve /metrics, /lag, /healthz and /readyz here.")
@click.option("--host", default="0.0.0.0", show_default=True, help="The address of that port.")  # noqa: S104
@click.option("--redrive", is_flag=True, help="Put the stream's dead letters back into it, and end.")
@stream_options
def consume(
    stream: str,
    to: str | None,
    name: str,
    consumer: str,
    timeout: str,
    reply: str | None,
    port: int | None,
    host: str,
    redrive: bool,
    settings: dict[str, Any],
) -> None:
    """Call a function with a stream's messages, without a daemon, until Ctrl-C or SIGTERM.

    This is what an image runs on Knative, in a ContainerSource or a Deployment. $(NAME) in the URL is
    the environment's variable. At most --concurrency calls at a time (default: 10). What cannot be delivered goes to a
    stream of the same broker, <stream>-dead unless --dead-letter says otherwise; --redrive puts it back.

    \b
    trimtab consume 'redis://host/0?stream=orders&group=g' --to http://127.0.0.1:8080/
    trimtab consume 'nats://$(TOKEN)@host?stream=ORDERS' --batch 100 --port 9090
    trimtab consume 'redis://host/0?stream=orders' --redrive
    """
    import logging

    from trimtab.config import settings as of_machine
    from trimtab.spec import StreamTrigger
    from trimtab.spec.quantity import seconds
    from trimtab.triggers.streams.plan import plan

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    work = plan(name, StreamTrigger(name="stream", url=stream, **settings), os.environ, seconds(timeout), consumer)
    home = of_machine().home
    if redrive:
        from trimtab.triggers.streams.redrive import redrive_all

        count = redrive_all(work, home)
        click.echo(f"{count} {'message' if count == 1 else 'messages'} put back into {work.url}")
        return
    if to is None:
        raise click.UsageError("say where the function is: --to URL, or K_SINK")
    from trimtab.triggers.streams.standalone import Job, run

    job = Job(plan=work, url=to.rstrip("/"), slots=work.concurrency or 10, home=home, reply=reply, port=port, host=host)
    run(job)
