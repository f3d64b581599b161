"""Options that several commands share, so that one word means one thing everywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trimtab.cli.session import Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from trimtab.cli.changes import Changes

Command = TypeVar("Command", bound=Callable[..., Any])


def pair(text: str) -> tuple[str, str]:
    """Split `KEY=VALUE` at its first equals sign: the type of options and arguments that set something."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise click.BadParameter(f"{text!r} is not KEY=VALUE")
    return key, value


def output_option(*formats: str) -> Callable[[Command], Command]:
    """`-o FORMAT` as parameter `output`; the first format is the default."""
    formats = formats or ("text", "json")
    return click.option(
        "-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True, help="How to print."
    )


def known_target(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Take the name of a target that is known; which there are is in a file that is read when another is named."""
    if value in (None, "local", "knative"):
        return value
    from trimtab.deploy.named import FILE, names

    if value not in (known := names()):
        message = f"{value!r} is not one of {', '.join(known)}; $TRIMTAB_HOME/{FILE} names more"
        raise click.BadParameter(message, ctx, param)
    return value


def complete_targets(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a target's name; silent while the file cannot be read."""
    from click.shell_completion import CompletionItem

    from trimtab.deploy.named import names
    from trimtab.errors import TrimtabError

    try:
        return [CompletionItem(name) for name in names() if name.startswith(incomplete)]
    except TrimtabError:
        return []


def named_target(default: str | None, text: str) -> Callable[[Command], Command]:
    """`--target NAME` with a default and a help text of its own."""
    return click.option(
        "--target",
        metavar="NAME",
        default=default,
        show_default=default is not None,
        callback=known_target,
        shell_complete=complete_targets,
        help=text,
    )


def target_option(command: Command) -> Command:
    """`--target NAME` as parameter `target`."""
    return named_target("local", "Where functions run: local, knative, or a cluster of targets.yaml.")(command)


def follow_option(command: Command) -> Command:
    """`-f` as parameter `follow`."""
    return click.option("-f", "--follow", is_flag=True, help="Go on printing as lines come; Ctrl-C ends it.")(command)


def complete_functions(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a function's name; silent while the target does not answer."""
    from click.shell_completion import CompletionItem

    from trimtab.errors import TrimtabError

    session: Session = ctx.find_object(Session) or Session()
    try:
        functions = session.local().functions()
    except TrimtabError:
        return []
    return [CompletionItem(f.name, help=f.kind) for f in functions if f.name.startswith(incomplete)]


def function_argument(name: str = "name", **options: Any) -> Callable[[Command], Command]:
    """The name of a deployed function, completed by the shell."""
    return click.argument(name, shell_complete=complete_functions, **options)


def add_options(command: Callable[..., Any], options: Iterable[Callable[[Any], Any]]) -> Callable[..., Any]:
    """Decorate with several options; help shows them in this order."""
    for option in reversed(list(options)):
        command = option(command)
    return command


def gather(
    command: Callable[..., Any], name: str, make: Callable[..., Any], parts: Iterable[str]
) -> Callable[..., Any]:
    """Call `command` with `name=make(**parts)` in the place of the parameters named in `parts`."""
    names = tuple(parts)

    @functools.wraps(command)
    def gathered(*args: Any, **values: Any) -> Any:
        return command(*args, **{name: make(**{part: values.pop(part) for part in names})}, **values)

    return gathered


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a deployment to a cluster goes about it; those that were given arrive as one dict, `how`."""

    def given(**values: Any) -> dict[str, Any]:
        from trimtab.spec.quantity import seconds

        found: dict[str, Any] = {"wait": False} if values["no_wait"] else {}
        if values["wait_timeout"] is not None:
            found["timeout"] = seconds(values["wait_timeout"], "--wait-timeout")
        return {**found, **{name: True for name in ("force_conflicts", "hold") if values[name]}}

    return add_options(
        gather(command, "how", given, ("no_wait", "wait_timeout", "force_conflicts", "hold")),
        (
            click.option("--no-wait", is_flag=True, help="On a cluster: return when the objects are there."),
            click.option(
                "--wait-timeout",
                metavar="DURATION",
                help="On a cluster: wait at most so long (default: 5m + timeouts.start + rolloutDuration).",
            ),
            click.option("--force-conflicts", is_flag=True, help="On a cluster: take over fields that others own."),
            click.option("--hold", is_flag=True, help="On a cluster: leave the traffic where it is, for a canary."),
        ),
    )


_SCALE: tuple[tuple[str, Any, str], ...] = (
    ("min", click.IntRange(min=0), "Replicas that always run; 0 lets it scale to zero."),
    ("max", click.IntRange(min=0), "Replicas at most; 0 = the target's own limit."),
    ("initial", click.IntRange(min=0), "Replicas a new revision starts with."),
    ("activation", click.IntRange(min=1), "Replicas it wakes with from zero."),
    ("concurrency", click.IntRange(min=0), "Requests one replica works on at a time; 0 = no limit."),
    ("metric", click.Choice(["concurrency", "rps"]), "What is measured."),
    ("target", float, "What one replica should get of the metric: 100 in flight or 200 a second unless given."),
    ("utilization", click.FloatRange(1, 100), "Percent of the target that is aimed at."),
    ("window", str, "Time over which the metric is averaged, such as 6s or 1m30s."),
    ("panic_window", click.FloatRange(1, 100), "Percent of the window that a sudden rise is looked for in."),
    ("panic_threshold", click.FloatRange(110, 1000), "Percent of capacity at which a rise is a panic."),
    ("delay", str, "Time the load must stay low before replicas are taken away."),
    ("retention", str, "Time the last replica is kept after the last request."),
    ("workers", click.IntRange(min=1), "Processes inside one replica."),
)


def scale_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The fields of `spec.scale` as options; those that were given arrive as one dict, `scale`.

    The field `target` is `--scale-target`, as in Knative's `kn`, because `--target` says where a function runs.
    """

    def given(**values: Any) -> dict[str, Any]:
        return {name.removeprefix("scale_"): value for name, value in values.items() if value is not None}

    return add_options(
        gather(command, "scale", given, [f"scale_{name}" for name, _, _ in _SCALE]),
        (
            click.option(
                "--scale-target" if name == "target" else _flag(name),
                f"scale_{name}",
                type=kind,
                metavar=None if isinstance(kind, click.Choice) else "DURATION" if kind is str else "N",
                help=text,
            )
            for name, kind, text in _SCALE
        ),
    )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


_FUNCTION: tuple[Callable[[Any], Any], ...] = (
    click.option("--name", metavar="NAME", help="The function's name (default: the file's, as a DNS label)."),
    click.option("--project", metavar="NAME", help="The project that it belongs to."),
    click.option("--kind", type=click.Choice(["http", "serving", "job"]), help="What kind of function it is."),
    click.option("--handler", metavar="HANDLER", help="module:name, or the name alone in a file."),
    click.option(
        "--requirements",
        multiple=True,
        metavar="REQ|FILE",
        help="A requirement, or a .txt file of requirements. Repeatable.",
    ),
    click.option("--env", multiple=True, type=pair, metavar="KEY=VALUE", help="An environment variable. Repeatable."),
    click.option("--timeout", metavar="DURATION", help="Time a request, or a run of a job, may take, such as 30s."),
    click.option("--cron", multiple=True, metavar="SCHEDULE", help="Call it by the clock. Repeatable."),
    click.option("--timezone", metavar="ZONE", help="Time zone of the --cron schedules (default: UTC)."),
    click.option(
        "--on",
        multiple=True,
        metavar="ATTR=VALUE[,..]",
        help="Call it with the broker's events whose attributes are exactly these; '*' for all. Repeatable.",
    ),
    click.option(
        "--filter", multiple=True, metavar="CESQL", help="Call it with the events this expression selects. Repeatable."
    ),
    click.option(
        "--stream",
        multiple=True,
        metavar="URL",
        help="Call it with the messages of a stream, such as local:orders. Repeatable.",
    ),
    click.option(
        "--sink",
        metavar="BROKER|URL",
        help="Where context.emit and tracking send events: a broker, a URL, or a stream's.",
    ),
    click.option(
        "--model",
        multiple=True,
        type=pair,
        metavar="KEY[:VERSION]=PATH",
        help="A model of a model server: a file, a store:// URI or an https URL. Repeatable.",
    ),
    click.option("--track", is_flag=True, help="Record what models are asked and answer, as events to the sink."),
)


def function_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What `deploy`, `dev` and `export` can set on a function; arrives as one `Changes`, `changes`."""
    texts = ("name", "project", "kind", "handler", "timeout", "timezone", "sink")
    lists = ("requirements", "env", "cron", "on", "filter", "stream", "model", "track")
    return add_options(scale_options(gather(command, "changes", _changes, (*texts, *lists, "scale"))), _FUNCTION)


_STREAM = (
    click.option("--batch", type=click.IntRange(1, 10000), help="Messages in one call at most (default: 1)."),
    click.option("--wait", metavar="DURATION", help="How long a batch waits to become full (default: not at all)."),
    click.option(
        "--concurrency", type=click.IntRange(min=0), help="Calls at a time at most (default: as many as it takes)."
    ),
    click.option(
        "--order", type=click.Choice(["key", "partition", "none"]), help="What waits for what (default: key)."
    ),
    click.option("--start", metavar="WHERE", help="Where a new group begins: latest, earliest, a time, an offset."),
    click.option(
        "--lease", metavar="DURATION", help="Time after which a dead consumer's messages go on (default: 30s)."
    ),
    click.option("--path", metavar="PATH", help="The function's path (default: /)."),
    click.option("--attempts", type=click.IntRange(min=0), help="Retries after the first try (default: 10)."),
    click.option(
        "--backoff",
        type=click.Choice(["linear", "exponential"]),
        help="How waiting grows with them (default: exponential).",
    ),
    click.option("--delay", metavar="DURATION", help="The unit of that waiting (default: 200ms)."),
    click.option("--max-delay", metavar="DURATION", help="The longest wait (default: 5m)."),
    click.option("--dead-letter", metavar="STREAM|URL", help="Where what cannot be delivered goes."),
)


_RETRY = ("attempts", "backoff", "delay", "max_delay", "dead_letter")


def stream_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The settings of a stream trigger that were given, as fields of `StreamTrigger`; parameter `settings`."""
    names = ("batch", "wait", "concurrency", "order", "start", "lease", "path", *_RETRY)
    return add_options(gather(command, "settings", _stream, names), _STREAM)


def _stream(**values: Any) -> dict[str, Any]:
    from trimtab.spec import Retry

    given = {name: value for name, value in values.items() if value is not None}
    retry = {name: given.pop(name) for name in _RETRY if name in given}
    return {**given, "retry": Retry(**retry)}


def _changes(**values: Any) -> Changes:
    from trimtab.cli.changes import Changes

    return Changes(**values)
