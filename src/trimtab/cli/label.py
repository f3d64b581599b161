"""DNS labels out of file names and event types."""

from __future__ import annotations

import re


def label(text: str, *, limit: int = 63) -> str:
    """Turn any text into a DNS-1035 label (RFC 1035 2.3.1): `My_Func v2` is `my-func-v2`, `2nd` is `fn-2nd`."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not words:
        return "fn"
    whole = words if words[0].isalpha() else f"fn-{words}"
    return whole[:limit].rstrip("-")
