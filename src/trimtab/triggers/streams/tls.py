"""The TLS settings that a stream's URL has."""

from __future__ import annotations

import ssl

from trimtab.spec.stream import StreamUrl
from trimtab.triggers.streams.abc import StreamError


def context(url: StreamUrl) -> ssl.SSLContext | None:
    """Trust the system's authorities, or those of `tls_ca`; show `tls_cert` where it is given. None without TLS."""
    if not url.tls:
        return None
    try:
        made = ssl.create_default_context(cafile=url.options.get("tls_ca"))
        if "tls_cert" in url.options:
            made.load_cert_chain(url.options["tls_cert"], url.options.get("tls_key"))
    except (OSError, ssl.SSLError) as exc:
        raise StreamError(f"{url}: the TLS files cannot be used: {exc}") from exc
    return made
