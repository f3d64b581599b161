"""Where a function's image comes from: its own, or one that the builder makes and pushes."""

from __future__ import annotations

from trimtab.deploy.stages import Stages
from trimtab.errors import SpecError
from trimtab.spec import Function


def image_of(function: Function, registry: str, stages: Stages) -> str:
    """Give the image, by digest where we built it. Errors: SpecError without image and registry, BuildError."""
    if function.spec.build.image:
        return function.spec.build.image
    if not registry:
        hint = "TRIMTAB_REGISTRY or `registry` in targets.yaml names where images are pushed"
        raise SpecError("spec.build.image", None, "an image, or a registry to push a built one to", hint=hint)
    from trimtab.builder.build import build
    from trimtab.builder.request import BuildRequest

    built = build(BuildRequest(function=function, image=f"{registry.strip('/')}/{function.metadata.name}"))
    for step in built.steps:
        stages.took(step.name, step.ms or 0.0, step.detail)
    return built.reference
