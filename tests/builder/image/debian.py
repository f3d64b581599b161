"""The base image of the tests: Debian with its own Python, made once by debootstrap and kept as an OCI layout.

No registry can be assumed where the tests run, but Debian's packages can.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUITE, PYTHON = "bookworm", "3.11"
KEPT = Path(os.environ.get("TRIMTAB_TEST_CACHE") or Path.home() / ".cache" / "trimtab-tests")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LEFT_OUT = (
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
)


def layout() -> Path:
    """Give the layout's folder; its only image is Debian with `python3` (and `venv` and pip, for the peers)."""
    folder = KEPT / f"debian-{SUITE}"
    with _alone(folder):
        if not (folder / "index.json").exists():
            _make(folder)
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(folder: Path) -> None:
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    packages = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(
        ["debootstrap", "--variant=minbase", packages, SUITE, str(root)], check=True, stdout=subprocess.DEVNULL
    )
    plain = folder / "root.tar"
    exclude = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    options = ["--sort=name", "--numeric-owner", "--mtime=@0", "--one-file-system", *exclude]
    subprocess.run(["tar", *options, "-C", str(root), "-cf", str(plain), "."], check=True)
    shutil.rmtree(root)
    write(folder, [plain], "amd64", {"Env": [f"PATH={PATH}"], "Cmd": ["python3"]})
    plain.unlink()


def write(folder: Path, tars: list[Path], architecture: str, config: dict[str, object]) -> str:
    """Write an image of uncompressed tars as an OCI layout; give its manifest's digest."""
    layers, diff_ids = [], []
    for plain in tars:
        diff_ids.append(f"sha256:{hashlib.sha256(plain.read_bytes()).hexdigest()}")
        packed = gzip.compress(plain.read_bytes(), 1, mtime=0)
        layers.append(blob(folder, packed, "application/vnd.oci.image.layer.v1.tar+gzip"))
    document = {
        "architecture": architecture,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": plain.name} for plain in tars],
    }
    described = blob(folder, json.dumps(document).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described,
        "layers": layers,
    }
    root = blob(folder, json.dumps(manifest).encode(), manifest["mediaType"])
    index(folder, [root])
    return str(root["digest"])


def index(folder: Path, manifests: list[dict[str, object]]) -> None:
    """Write the layout's own documents."""
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))


def blob(folder: Path, content: bytes, media_type: object) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    place = folder / "blobs" / "sha256" / digest
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}
