"""`trimtab export` and `schema`: descriptions of functions, written down."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from trimtab.cli import output as out
from trimtab.cli.options import function_options, named_target, output_option

if TYPE_CHECKING:
    from trimtab.cli.changes import Changes
    from trimtab.spec import Function


@click.command()
@click.argument("source")
@function_options
@named_target(None, "Print the objects of this cluster instead: knative, or one of targets.yaml.")
@click.option("--image", metavar="REF", help="With --target: the image, by digest (default: spec.build.image).")
@click.option("--keda", is_flag=True, help="With --target: the cluster has KEDA, which scales consumers of streams.")
@click.option("--no-jobsink", is_flag=True, help="With --target: the cluster has no JobSink; a Service starts jobs.")
@click.option("--nuclio-report", is_flag=True, help="Print only what of a Nuclio document is not carried over.")
@output_option("yaml", "json")
def export(
    source: str,
    changes: Changes,
    target: str | None,
    image: str | None,
    keda: bool,
    no_jobsink: bool,
    nuclio_report: bool,
    output: Literal["yaml", "json"],
) -> None:
    """Print a function's description.

    It is what `deploy` would use, checked and normalised. SOURCE and the options are those of `trimtab deploy`. A
    source below the working directory is written relative to it, so that the output can be kept beside the code. What
    a Nuclio or MLRun document says and cannot be carried over is listed on stderr.

    With `--target knative` these are the Kubernetes objects that the function becomes on a cluster, for git and for
    `kubectl apply`; what a cluster does otherwise than the description says is listed on stderr. No cluster is asked:
    --keda and --no-jobsink say what it has.

    \b
    trimtab export hello.py --min 1 > function.yaml
    trimtab export function.yaml -o json
    trimtab export nuclio/function.yaml --nuclio-report
    trimtab export hello.py --target knative --image registry.example.com/hello@sha256:... > hello.yaml
    """
    from trimtab.cli.source import read
    from trimtab.spec import check, dump

    leftovers: list[str] = []
    function = check(changes.apply(read(source, leftovers)))
    if nuclio_report:
        if output == "json":
            out.json(leftovers)
        else:
            click.echo("\n".join(leftovers) or "Everything is carried over.")
        return
    for leftover in leftovers:
        out.warn(f"not carried over: {leftover}")
    if target is not None:
        _objects(function, target, image, output, keda=keda, job_sink=not no_jobsink)
        return
    if image is not None or keda or no_jobsink:
        raise click.UsageError("--image, --keda and --no-jobsink go with --target")
    click.echo(dump(_relative(function), output).rstrip("\n"))


def _objects(
    function: Function, target: str, image: str | None, output: Literal["yaml", "json"], *, keda: bool, job_sink: bool
) -> None:
    from trimtab.deploy.knative import record
    from trimtab.deploy.knative.commit import commit_of
    from trimtab.deploy.knative.manifests import Rendering, render
    from trimtab.deploy.named import settings_of
    from trimtab.spec.document import to_yaml

    image = image or function.spec.build.image
    if image is None:
        raise click.UsageError("an image is needed: give --image, or set spec.build.image")
    cluster = settings_of(target)
    namespace = cluster.namespace or function.metadata.namespace
    rendering = Rendering(
        function=function,
        image=image,
        namespace=namespace,
        commit=commit_of(function),
        environ=cluster.environ,
        keda=keda,
        job_sink=job_sink,
    )
    found = render(rendering)
    objects = [record.written(rendering), *found.objects]
    for note in found.notes:
        out.warn(note)
    if output == "json":
        out.json({"apiVersion": "v1", "kind": "List", "items": objects})
    else:
        click.echo("---\n".join(map(to_yaml, objects)).rstrip("\n"))


@click.command()
def schema() -> None:
    """Print the JSON Schema of function.yaml, for editors and for CI.

    \b
    trimtab schema > function.schema.json
    """
    from trimtab.spec.schema import json_schema

    out.json(json_schema())


def _relative(function: Function) -> Function:
    from msgspec.structs import replace

    path = function.spec.source.path
    if path is None or not Path(path).is_relative_to(Path.cwd()):
        return function
    source = replace(function.spec.source, path=str(Path(path).relative_to(Path.cwd())))
    return replace(function, spec=replace(function.spec, source=source))
