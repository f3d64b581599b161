"""Where a function's image comes from: its own, or one that the builder makes and pushes."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from trimtab.deploy.named import ClusterSettings
from trimtab.deploy.stages import Stages
from trimtab.errors import SpecError
from trimtab.spec import Function, StreamTrigger
from trimtab.spec.stream import parse

_PLACES = {"s3": "s3", "gs": "gs", "redis": "redis", "rediss": "redis"}
"""Which extra of Trimtab a place for artifacts or state needs, by its URL's scheme."""


class Image(Struct, frozen=True, kw_only=True):
    """An image that holds a function's code."""

    reference: str
    """By digest, where it was built here."""
    commit: str = ""
    """The git commit that it was built from; empty where its source was not fetched by git."""
    notes: list[str] = []
    """What the builder has to say of it."""


def image_of(function: Function, cluster: ClusterSettings, stages: Stages) -> Image:
    """Give the image, a new one where the function names none. Errors: SpecError without image and registry, BuildError."""
    registry = cluster.registry
    if function.spec.build.image:
        return Image(reference=function.spec.build.image)
    if not registry:
        hint = "TRIMTAB_REGISTRY or `registry` in targets.yaml names where images are pushed"
        raise SpecError("spec.build.image", None, "an image, or a registry to push a built one to", hint=hint)
    from trimtab.builder.build import build
    from trimtab.builder.request import BuildRequest

    name = f"{registry.strip('/')}/{function.metadata.name}"
    built = build(BuildRequest(function=equipped(function, cluster), image=name))
    for step in built.steps:
        stages.took(step.name, step.ms or 0.0, step.detail)
    return Image(reference=built.reference, commit=built.commit, notes=built.notes)


def no_files(function: Function) -> None:
    """Refuse models that are files of this machine, for an image that is built does not hold them. Errors: SpecError."""
    for number, model in enumerate(function.spec.models):
        if model.path and "://" not in model.path.removeprefix("file://"):
            raise SpecError(
                f"spec.models[{number}].path",
                model.path,
                "an address that the cluster reaches (store://, https://, s3://): files of this machine are not in its images",
                hint="`project.log_model` puts a file into the store",
            )


def equipped(function: Function, cluster: ClusterSettings) -> Function:
    """Require what the image needs besides the function's own: the clients of its streams, and of where the target keeps
    artifacts and state."""
    urls = [trigger.url for trigger in function.spec.triggers if isinstance(trigger, StreamTrigger)]
    extras = {parse(url).kind for url in urls}
    schemes = {place.partition(":")[0] for place in (cluster.artifacts, cluster.state)}
    extras |= {_PLACES[scheme] for scheme in schemes if scheme in _PLACES}
    if not extras:
        return function
    wanted = function.spec.build
    more = replace(wanted, requirements=[*wanted.requirements, f"trimtab[{','.join(sorted(extras))}]"])
    return replace(function, spec=replace(function.spec, build=more))
