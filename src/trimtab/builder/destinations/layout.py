"""An OCI layout on the disk, and the same in one archive that Docker, podman and containerd load."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from trimtab.builder.abc import Progress, Step
from trimtab.builder.cache import Cache, digest_of, translated
from trimtab.builder.destinations.abc import Destination, bytes_of, silent
from trimtab.builder.image.bundle import Blob, Bundle
from trimtab.builder.image.documents import CONFIG, INDEX, Descriptor, Index, Manifest, encode
from trimtab.builder.image.sbom import MEDIA_TYPE
from trimtab.builder.layers.tar import MTIME
from trimtab.errors import StoreError

_NAME = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"


class LayoutDestination(Destination):
    """A folder in OCI's image layout; images that are there already stay."""

    def __init__(self, folder: Path, image: str, *, lists_bills: bool = True) -> None:
        self.folder, self.image, self._lists_bills = folder, image, lists_bills

    def missing(self, bundle: Bundle) -> list[Blob]:
        """Name the blobs whose files are not there."""
        return [blob for blob in bundle.blobs.values() if not self._place(blob.digest).is_file()]

    def send(self, bundle: Bundle, cache: Cache, progress: Progress = silent) -> int:
        """Write blobs and manifests, each whole or not at all, and the index at last."""
        with translated(self.folder):
            written = sum(self._blob(blob, cache, progress) for blob in bundle.blobs.values())
            documents = [*bundle.children, bundle.root, *(made.referrer for made in bundle.images)]
            for document in documents:
                self._write(self._place(document.digest), document.content)
            self._write(self.folder / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            self._write(self.folder / "index.json", encode(self._index(bundle)))
        return written

    def _blob(self, blob: Blob, cache: Cache, progress: Progress) -> int:
        place = self._place(blob.digest)
        if place.is_file() and digest_of(place) == blob.digest:
            progress(Step(name=f"write {blob.name}", total=blob.size, ms=0, detail="there already"))
            return 0
        self._write(place, bytes_of(blob, cache))
        progress(Step(name=f"write {blob.name}", done=blob.size, total=blob.size, ms=0, detail="written"))
        return blob.size

    def _index(self, bundle: Bundle) -> Index:
        tag = self.image.rpartition("/")[2].partition(":")[2].partition("@")[0] or "latest"
        root = bundle.root.descriptor()
        root.annotations = {_FULL_NAME: self.image, _NAME: tag}
        bills = bundle.images if self._lists_bills else []
        referrers = [made.referrer.descriptor(artifact_type=MEDIA_TYPE) for made in bills]
        ours = {root.digest, *(each.digest for each in referrers)}
        others = [each for each in self._before() if each.digest not in ours and each.annotations.get(_NAME) != tag]
        return Index(manifests=[*others, root, *referrers], media_type=INDEX)

    def _before(self) -> list[Descriptor]:
        path = self.folder / "index.json"
        if not path.exists():
            return []
        try:
            return msgspec.json.decode(path.read_bytes(), type=Index).manifests
        except msgspec.MsgspecError as exc:
            raise StoreError(f"{path} is not the index of an OCI layout ({exc}): name another folder") from exc

    def _place(self, digest: str) -> Path:
        return self.folder / "blobs" / digest.replace(":", "/")

    def _write(self, place: Path, content: bytes | Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            if isinstance(content, Path):
                shutil.copyfile(content, scratch)
            else:
                scratch.write_bytes(content)
            scratch.replace(place)
        finally:
            scratch.unlink(missing_ok=True)


class ArchiveDestination(Destination):
    """A tar of an OCI layout with Docker's manifest.json beside it, as `docker save` writes it: every engine loads it."""

    platforms = 1

    def __init__(self, path: Path, image: str) -> None:
        self.path, self.image = path, image

    def missing(self, bundle: Bundle) -> list[Blob]:
        """Name all blobs: an archive is written anew."""
        return list(bundle.blobs.values())

    def send(self, bundle: Bundle, cache: Cache, progress: Progress = silent) -> int:
        """Write the archive, which appears whole or not at all."""
        with (
            translated(self.path.parent),
            TemporaryDirectory(prefix=f".{self.path.name}-", dir=self.path.parent) as scratch,
        ):
            folder = Path(scratch, "layout")
            # Engines want an archive to hold one image, and would take an SBOM for another.
            written = LayoutDestination(folder, self.image, lists_bills=False).send(bundle, cache, progress)
            (folder / "manifest.json").write_bytes(self._docker(bundle))
            archive = Path(scratch, "archive.tar")
            with tarfile.open(archive, "w") as tar:
                for path in sorted(folder.rglob("*")):
                    tar.add(path, path.relative_to(folder).as_posix(), recursive=False, filter=_plain)
            archive.replace(self.path)
        return written

    def _docker(self, bundle: Bundle) -> bytes:
        manifest = msgspec.json.decode(bundle.root.content, type=Manifest)
        assert manifest.config.media_type == CONFIG
        layers = [f"blobs/{layer.digest.replace(':', '/')}" for layer in manifest.layers]
        entry = {
            "Config": f"blobs/{manifest.config.digest.replace(':', '/')}",
            "RepoTags": [self.image],
            "Layers": layers,
        }
        return msgspec.json.encode([entry])


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime, info.mode = MTIME, 0o755 if info.isdir() else 0o644
    return info
