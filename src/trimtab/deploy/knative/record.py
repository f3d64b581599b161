"""What a function was deployed as, kept on the cluster beside it: one ConfigMap, without source and without secrets.

Knative's objects do not hold all of a description, and a job without triggers has no object at all.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from trimtab.deploy.knative.manifests.abc import Manifest, Rendering
from trimtab.deploy.knative.manifests.names import FUNCTION, SPEC_HASH, child, labelled
from trimtab.errors import SpecError
from trimtab.spec import Function, Source, from_dict
from trimtab.spec.plain import plain

KEY = "function.json"
"""The part of the ConfigMap that holds the description."""
_IMAGE = "image"


class Record(Struct, frozen=True):
    """A description without its source, and the image that holds the code."""

    function: Function
    image: str
    revision: str = ""
    """What a job's description is called: its name with the beginning of its hash."""


def name_of(function: str) -> str:
    """Name a function's record."""
    return child(function, "trimtab")


def written(rendering: Rendering) -> Manifest:
    """Give the record of what is deployed."""
    function = rendering.function
    kept = replace(function, spec=replace(function.spec, source=Source()))
    document = msgspec.json.encode(plain(kept, defaults=False)).decode()
    data = {KEY: document, _IMAGE: rendering.image}
    return labelled(rendering, "v1", "ConfigMap", name_of(rendering.name), {"data": data})


def read(config_map: Manifest) -> Record:
    """Read a record. Errors: SpecError, naming the ConfigMap: a version of Trimtab that knew more fields wrote it, or a person."""
    where = f"ConfigMap {config_map['metadata']['name']}, data"
    text, image = (config_map.get("data") or {}).get(KEY), image_of(config_map)
    if not image:
        raise SpecError(f"{where}.{_IMAGE}", None, "the image that was deployed")
    try:
        function = from_dict(msgspec.json.decode(text or ""))
    except msgspec.DecodeError as exc:
        raise SpecError(f"{where}.{KEY}", text, "what `trimtab deploy` wrote there") from exc
    except SpecError as exc:
        hint = "Another version of Trimtab wrote it: use that one, or deploy again"
        raise SpecError(f"{where}.{KEY}, {exc.path}", exc.found, exc.allowed, hint=hint) from exc
    return Record(function, image, revision_of(config_map))


def image_of(config_map: Manifest) -> str:
    """Give the image that a record names; empty where it names none."""
    return str((config_map.get("data") or {}).get(_IMAGE) or "")


def kind(config_map: Manifest) -> str:
    """Give the kind of a function whose record cannot be read for the rest; empty where that is unknown, too."""
    try:
        return str(msgspec.json.decode((config_map.get("data") or {})[KEY])["spec"]["kind"])
    except (msgspec.DecodeError, LookupError, TypeError):
        return ""


def revision_of(config_map: Manifest) -> str:
    """Name what a job was deployed as, which has no revisions: the hash of its description says which one it is."""
    metadata = config_map["metadata"]
    digest = (metadata.get("annotations") or {}).get(SPEC_HASH, "")
    return f"{(metadata.get('labels') or {}).get(FUNCTION, '')}-{digest[:8]}" if digest else ""
