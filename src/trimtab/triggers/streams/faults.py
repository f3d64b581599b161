"""What a client library's error means, in the words of a stream's URL. No message has a password in it."""

from __future__ import annotations

from trimtab.triggers.streams.abc import StreamError


def fault(kind: str, exc: BaseException, *, refused: bool = False) -> StreamError:
    """Make our error of a library's; `refused`: the broker knows us not. To be raised `from exc`."""
    text = f"{type(exc).__name__}: {exc}"
    if refused:
        return StreamError(f"{kind}: the broker refuses user or password; look at those in the stream's URL ({text})")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        text += "; the broker's certificate is not of an authority that is trusted here: `tls_ca` in the URL names one"
    return StreamError(f"{kind}: {text}")
