"""The bill of materials of an image, in CycloneDX 1.6: every distribution with its wheels' hashes, and the base."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec

from trimtab._version import __version__
from trimtab.builder.abc import Package
from trimtab.builder.image.base import Base
from trimtab.builder.image.documents import Document

MEDIA_TYPE = "application/vnd.cyclonedx+json"


def sbom(name: str, image: Document, base: Base, packages: Sequence[Package], created: str) -> bytes:
    """Write the document about `image`, a platform's manifest; the same image has the same one."""
    unique = sorted({(each.name, each.version): each for each in packages}.values(), key=lambda each: each.name)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, f'oci:{image.digest}')}",
        "version": 1,
        "metadata": {
            "timestamp": created,
            "tools": {"components": [{"type": "application", "name": "trimtab", "version": __version__}]},
            "component": {"type": "container", "bom-ref": image.digest, "name": name, "version": image.digest},
        },
        "components": [_base(base), _itself(), *map(_component, unique)],
    }
    return msgspec.json.encode(document)


def _component(package: Package) -> dict[str, Any]:
    name = re.sub(r"[-_.]+", "-", package.name).lower()
    purl = f"pkg:pypi/{name}@{package.version}"
    component: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": package.name, "version": package.version}
    hashes = [{"alg": "SHA-256", "content": each.removeprefix("sha256:")} for each in package.hashes]
    return {**component, "purl": purl, **({"hashes": hashes} if len(hashes) == 1 else {})}


def _itself() -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": f"pkg:pypi/trimtab@{__version__}",
        "name": "trimtab",
        "version": __version__,
        "purl": f"pkg:pypi/trimtab@{__version__}",
    }


def _base(base: Base) -> dict[str, Any]:
    return {
        "type": "container",
        "bom-ref": base.digest,
        "name": base.name,
        "version": base.digest,
        "properties": [{"name": "dev.trimtab.python", "value": base.python.version}],
    }
