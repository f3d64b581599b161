"""`trimtab models`: what the artifact store holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli import output as out
from trimtab.cli.commands.loop import history
from trimtab.cli.options import output_option

if TYPE_CHECKING:
    from trimtab.artifacts import Artifact, ArtifactStore


@click.group(invoke_without_command=True)
@click.option("--project", help="Only models of this project.")
@click.option("--all", "every", is_flag=True, help="Every version, not only those that have a tag.")
@output_option()
@click.pass_context
def models(ctx: click.Context, project: str | None, every: bool, output: str) -> None:
    """List models: their versions that have a tag, newest first.

    They are in the artifact store: `TRIMTAB_ARTIFACTS`, or the folder `artifacts` of the home.

    \b
    trimtab models
    trimtab models --project flowers --all -o json
    trimtab models get store://models/flowers/iris:latest
    trimtab models history shop/iris
    """
    if ctx.invoked_subcommand is not None:
        return
    from trimtab.artifacts import absent, open_store

    store = open_store()
    projects = store.projects()
    if project is not None:
        if project not in projects:
            raise absent.project(store, project)
        projects = [project]
    found = [each for name in projects for each in _found(store, name, every)]
    if output == "json":
        out.json([_plain(each, tags) for each, tags in found])
        return
    out.table(
        ("MODEL", "VERSION", "TAGS", "METRICS", "CREATED"),
        [
            (f"{m.project}/{m.key}", m.version, ",".join(tags), _metrics(m), out.ago(m.metadata.created))
            for m, tags in found
        ],
        empty=f"No models in {store.url}. `project.log_model` and `context.log_model` keep one.",
    )


@models.command()
@click.argument("uri")
@output_option()
def get(uri: str, output: str) -> None:
    """Show one version of a model: what it was made of and with, and how good it was.

    URI is `store://models/PROJECT/NAME`, with `:TAG` or `@VERSION`; without the beginning it may be PROJECT/NAME.

    \b
    trimtab models get flowers/iris
    trimtab models get store://models/flowers/iris:champion -o json | jq .spec.metrics
    """
    from trimtab.artifacts import is_store_uri, open_store

    store = open_store()
    found = store.get(uri if is_store_uri(uri) else f"store://models/{uri}")
    tags = store.tags(found.uri).get(found.version, [])
    if output == "json":
        out.json(_plain(found, tags))
    else:
        out.facts(_facts(found, tags))


models.add_command(history)


def _found(store: ArtifactStore, project: str, every: bool) -> Iterator[tuple[Artifact, list[str]]]:
    """Give a project's models with their tags; documents of versions that are not shown are not read."""
    for key in store.keys("models", project):
        place = f"store://models/{project}/{key}"
        tags = store.tags(place)
        for version in sorted(store.versions(place) if every else tags, reverse=True):
            names = tags.get(version, [])
            yield store.get(f"{place}@{version}").under(next(iter(names), "")), names


def _plain(found: Artifact, tags: list[str]) -> dict[str, Any]:
    shown = {"uri": found.version_uri, "tags": tags, "metadata": found.metadata, "spec": found.spec}
    return {**shown, "files": found.files}


def _metrics(found: Artifact) -> str:
    return " ".join(f"{name}={_number(value)}" for name, value in found.model.metrics.items())


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else out.compact(value)


def _facts(found: Artifact, tags: list[str]) -> list[tuple[str, Any]]:
    spec, metadata = found.model, found.metadata
    made = spec.environment
    producer = metadata.producer
    return [
        ("uri", found.version_uri),
        ("tags", ", ".join(tags)),
        ("created", out.ago(metadata.created)),
        ("made by", f"run {producer.uid} of {producer.name}" if producer else None),
        *((f"input {name}", url) for name, url in (producer.inputs.items() if producer else ())),
        ("framework", " ".join(filter(None, (spec.framework, spec.algorithm)))),
        ("made with", ", ".join([f"Python {made.python}", *map(" ".join, made.packages.items())]) if made else None),
        *((f"metric {name}", value) for name, value in spec.metrics.items()),
        *((f"parameter {name}", value) for name, value in spec.parameters.items()),
        *((f"label {name}", value) for name, value in metadata.labels.items()),
        ("columns", ", ".join(f"{each.name} ({each.dtype})" for each in spec.schema.columns) if spec.schema else None),
        ("label column", spec.label_column),
        ("training set", f"{spec.training_rows} rows, {spec.training_set}" if spec.training_set else None),
        *((f"file {name}", f"{file.size} bytes, sha256 {file.sha256}") for name, file in found.files.items()),
    ]
