"""The words that fields of the spec are made of: names, counts, durations, quantities, each with what is allowed there.

`extra` of each annotation is read by `trimtab.spec.explain` (what a refusal says) and `trimtab.spec.schema` (what the
reference calls the type).
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from msgspec import Meta

_END = r"$(?!\n)"  # Python's `$` alone lets a last newline pass; editors' patterns know no `\Z`
DURATION = rf"^(\d+(\.\d+)?|(\d+(\.\d+)?(h|ms|m|us|s))+){_END}"
QUANTITY = rf"^([+-]?(?:\d+(?:\.\d*)?|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d{{1,2}})?{_END}"
LABEL = rf"^[a-z]([-a-z0-9]*[a-z0-9])?{_END}"
_VARIABLE = rf"^[-._a-zA-Z][-._a-zA-Z0-9]*{_END}"


def as_label(text: Any, *, limit: int = 63) -> str:
    """Make the nearest DNS-1035 label of a text; empty when nothing of it can stay."""
    kept = re.sub(r"[^a-z0-9]+", "-", str(text).lower()).lstrip("-0123456789")
    return kept[:limit].rstrip("-")


def _try_label(found: Any) -> str:
    label = as_label(found) if isinstance(found, str) else ""
    return f"Try {label!r}" if label else ""


Label = Annotated[
    str,
    Meta(
        pattern=LABEL,
        max_length=63,
        extra={
            "type": "DNS label",
            "allowed": "a DNS-1035 label: lower-case letters, digits and '-', starting with a letter, ending with a "
            "letter or digit, at most 63 characters",
            "suggest": _try_label,
        },
    ),
]
VariableName = Annotated[
    str,
    Meta(
        pattern=_VARIABLE,
        extra={"type": "string", "allowed": "a variable's name: letters, digits, '_', '-' and '.', no digit first"},
    ),
]
Duration = Annotated[
    Annotated[str, Meta(pattern=DURATION)] | Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)],
    Meta(extra={"type": "duration", "allowed": "a duration such as '6s', '1m30s' or '500ms', or a number of seconds"}),
]
Quantity = Annotated[
    Annotated[str, Meta(pattern=QUANTITY)] | int | float,
    Meta(extra={"type": "quantity", "allowed": "a Kubernetes quantity such as '500m', '1G', '2Gi', 1 or 0.5"}),
]
ByteSize = Annotated[
    Annotated[str, Meta(pattern=QUANTITY)] | Annotated[int, Meta(ge=1)],
    Meta(extra={"type": "quantity", "allowed": "a number of bytes such as '32Mi', '1G' or 4096"}),
]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Percent = Annotated[float, Meta(ge=1, le=100)]
