"""An image's configuration: the base's, with the runtime as what is started."""

from __future__ import annotations

from typing import Any

import msgspec

from trimtab.builder.abc import Layer
from trimtab.builder.image.base import Base
from trimtab.builder.image.python import PATH
from trimtab.builder.layers import places

PORT = 8080
ENTRYPOINT = (f"/{places.BIN}/trimtab", "serve", "--host", "0.0.0.0")  # noqa: S104  (the container's network)


def config(base: Base, layers: list[Layer], handler: str, labels: dict[str, str], created: str) -> bytes:
    """Write the configuration. `layers` are those above the base's; PORT and all else comes from whoever runs it."""
    document: dict[str, Any] = {
        "created": created,
        "architecture": base.config.architecture,
        "os": base.config.os,
        "config": _process(base, handler, labels),
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in (*base.layers, *layers)]},
        "history": [*(base.config.history or _unknown(base)), *(_step(layer, created) for layer in layers)],
    }
    if base.config.variant:
        document["variant"] = base.config.variant
    return msgspec.json.encode(document)


def _process(base: Base, handler: str, labels: dict[str, str]) -> dict[str, Any]:
    kept = {name: value for name, value in (base.config.config or {}).items() if name not in ("Healthcheck", "OnBuild")}
    env = {**base.config.env}
    env["PATH"] = f"/{places.BIN}:{env.get('PATH', PATH)}"
    return {
        **kept,
        "User": f"{places.USER}:{places.USER}",
        "WorkingDir": f"/{places.FUNCTION}",
        "Entrypoint": list(ENTRYPOINT),
        "Cmd": [handler],
        "ExposedPorts": {**(kept.get("ExposedPorts") or {}), f"{PORT}/tcp": {}},
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Labels": {**(kept.get("Labels") or {}), **labels},
        "StopSignal": "SIGTERM",
    }


def _step(layer: Layer, created: str) -> dict[str, str]:
    return {"created": created, "created_by": f"trimtab build: {layer.name}"}


def _unknown(base: Base) -> list[dict[str, str]]:
    """Give a history to a base that has none: tools pair its entries with the layers."""
    return [{"created_by": f"layer of {base.digest}"} for _ in base.layers]
