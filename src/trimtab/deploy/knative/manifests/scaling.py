"""`spec.scale` as Knative's autoscaling annotations, which belong on the revision's template."""

from __future__ import annotations

from trimtab.spec import Scale

_PREFIX = "autoscaling.knative.dev/"


def autoscaling(scale: Scale) -> dict[str, str]:
    """Give the annotations. All are written, defaults too: a cluster may have defaults of its own."""
    found = {
        "class": "kpa.autoscaling.knative.dev",
        "metric": scale.metric,
        "min-scale": str(scale.min),
        "initial-scale": str(scale.initial),
        "target-utilization-percentage": f"{scale.utilization:g}",
        "window": _text(scale.window),
        "panic-window-percentage": f"{scale.panic_window:g}",
        "panic-threshold-percentage": f"{scale.panic_threshold:g}",
        "scale-down-delay": _text(scale.delay),
        "scale-to-zero-pod-retention-period": _text(scale.retention),
    }
    if scale.max:
        found["max-scale"] = str(scale.max)
    if scale.target is not None:
        found["target"] = f"{scale.target:g}"
    if scale.activation > 1:
        found["activation-scale"] = str(scale.activation)
    return {_PREFIX + name: value for name, value in sorted(found.items())}


def _text(duration: object) -> str:
    return str(duration)
