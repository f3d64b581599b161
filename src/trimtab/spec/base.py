"""What all parts of the document have in common."""

from __future__ import annotations

from msgspec import Struct


class Base(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, rename="camel"):
    """Common settings: unknown keys are refused, defaults are not written out, names are camelCase outside Python."""
