"""A container engine on this machine: podman, Docker, containerd or a kind cluster takes the archive."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from trimtab.builder.abc import Progress
from trimtab.builder.cache import Cache
from trimtab.builder.destinations.abc import Destination, silent
from trimtab.builder.destinations.layout import ArchiveDestination
from trimtab.builder.image.bundle import Blob, Bundle
from trimtab.errors import BuildError

Engine = Literal["podman", "docker", "containerd", "kind"]

_COMMANDS: dict[str, tuple[str, ...]] = {
    "podman": ("podman", "load", "--quiet", "--input"),
    "docker": ("docker", "load", "--quiet", "--input"),
    "containerd": ("ctr", "--namespace", "k8s.io", "images", "import"),
    "kind": ("kind", "load", "image-archive"),
}
"""The archive's path follows. containerd's namespace is the one that Kubernetes' kubelet uses."""


class LoadDestination(Destination):
    """One engine's own store."""

    platforms = 1

    def __init__(self, engine: Engine, image: str) -> None:
        self.engine, self.image = engine, image
        self._program, *self._arguments = _COMMANDS[engine]
        if shutil.which(self._program) is None:
            raise BuildError(f"--load {engine} needs {self._program!r}, which is not on PATH")

    def missing(self, bundle: Bundle) -> list[Blob]:
        """Name all blobs: engines are given whole images."""
        return list(bundle.blobs.values())

    def send(self, bundle: Bundle, cache: Cache, progress: Progress = silent) -> int:
        """Load the image."""
        with TemporaryDirectory(prefix="trimtab-") as scratch:
            archive = Path(scratch, "image.tar")
            written = ArchiveDestination(archive, self.image).send(bundle, cache, progress)
            command = [self._program, *self._arguments, str(archive)]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            said = (run.stderr or run.stdout).strip() or f"exit code {run.returncode}"
            raise BuildError(f"{self.engine} did not take the image: {said}")
        return written
