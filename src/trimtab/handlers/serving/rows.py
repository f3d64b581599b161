"""MLRun's protocol: `{"inputs": [[...]]}` in, `{"id", "model_name", "outputs"}` out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.errors import PermanentError


class Rows(Struct):
    """A request whose inputs are nothing but numbers: what most are, read without a detour."""

    inputs: list[list[float]]
    id: str | None = None
    ids: list[str] | None = None
    columns: list[str] | None = None


read_numbers = msgspec.json.Decoder(Rows).decode


def check_body(body: Any) -> dict[str, Any]:
    """Accept a body that is a mapping. Errors: PermanentError (400)."""
    if isinstance(body, dict):
        return body
    found = "nothing" if body in (b"", None) else f"a {type(body).__name__}"
    raise PermanentError(f'body: found {found}, allowed: JSON or msgpack such as {{"inputs": [[1, 2]]}}')


def check_ids(body: dict[str, Any], rows: int) -> list[str] | None:
    """Give the rows' own ids, if the request has any. Errors: PermanentError (400)."""
    ids = body.get("ids")
    if ids is None:
        return None
    if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids) or len(ids) != rows:
        raise PermanentError(f"ids: found {str(ids)[:80]}, allowed: a list of {rows} texts, one for each row")
    return ids


def response(identity: str, name: str, version: str, outputs: Any) -> dict[str, Any]:
    """Make the answer."""
    said = {
        "id": identity,
        "model_name": name,
        "outputs": outputs,
        "timestamp": datetime.now(UTC).isoformat(" "),
    }
    if version:
        said["model_version"] = version
    return said
