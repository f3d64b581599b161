"""Settings of this machine, read from the environment once, at the edge."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from trimtab.errors import SpecError


class Settings(Struct, frozen=True, kw_only=True):
    """What the command line, the Python front and the daemon agree on."""

    home: Path
    """`TRIMTAB_HOME`: all state of the local target. Default `~/.trimtab`."""
    max_replicas: int = 16
    """`TRIMTAB_MAX_REPLICAS`: where a function without `scale.max` stops on this machine."""
    broker_port: int = 0
    """`TRIMTAB_BROKER_PORT`: 0 = a free port, kept for as long as the home lives."""
    cache_size: int = 10 * 1024
    """`TRIMTAB_CACHE_SIZE`: MiB that the layers of images may take up under the home."""
    registry: str = ""
    """`TRIMTAB_REGISTRY`: where images go that are given no name, such as `registry.example.com/team`."""
    base_image: str = ""
    """`TRIMTAB_BASE_IMAGE`: what functions sit on that name no base image. Default: `python:X.Y-slim`."""

    artifacts: str = ""
    """`TRIMTAB_ARTIFACTS`: the URL of the artifact store. Default: the folder `artifacts` of the home."""

    @property
    def artifact_store(self) -> str:
        """Where models, datasets and other artifacts are: a URL."""
        if "://" in self.artifacts:
            return self.artifacts
        return f"file://{Path(self.artifacts).expanduser().absolute() if self.artifacts else self.home / 'artifacts'}"

    @property
    def run(self) -> Path:
        """Sockets, locks and pid files; worthless after a reboot."""
        return self.home / "run"

    @property
    def control_socket(self) -> Path:
        """Where the daemon listens for the command line; mode 0600."""
        return self.run / "control.sock"

    @property
    def logs(self) -> Path:
        """One folder per function."""
        return self.home / "logs"

    def run_files(self, function: str, run: str) -> Path:
        """Where a run of a job puts its files, unless it is told where."""
        return self.home / "artifacts" / "runs" / function / run


def settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Errors: SpecError naming the variable."""
    home = Path(environ.get("TRIMTAB_HOME") or Path.home() / ".trimtab").expanduser().absolute()
    return Settings(
        home=home,
        max_replicas=_number(environ, "TRIMTAB_MAX_REPLICAS", 16, low=1, high=1000),
        broker_port=_number(environ, "TRIMTAB_BROKER_PORT", 0, low=0, high=65535),
        artifacts=environ.get("TRIMTAB_ARTIFACTS", "").strip(),
        cache_size=_number(environ, "TRIMTAB_CACHE_SIZE", 10 * 1024, low=1, high=2**30),
        registry=environ.get("TRIMTAB_REGISTRY", "").strip("/ "),
        base_image=environ.get("TRIMTAB_BASE_IMAGE", "").strip(),
    )


def _number(environ: Mapping[str, str], name: str, default: int, *, low: int, high: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or not low <= int(text) <= high:
        raise SpecError(f"environment variable {name}", text, f"a whole number from {low} to {high}")
    return int(text)
