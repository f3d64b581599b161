"""Whom a client believes over TLS, and the certificate it shows: the machine's authorities, and Docker's folders of a registry's own."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import certifi

from trimtab.errors import RegistryError

_FOLDERS = ("~/.config/containers/certs.d", "~/.docker/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d")
"""Below each, a folder named as the registry (`host:port`) holds `*.crt` of authorities, and `*.cert` with `*.key` of a client."""


def configured(host: str) -> bool:
    """Tell whether a registry has a folder of its own: it speaks TLS, then, also on this machine."""
    return any(folder.is_dir() for folder in _folders(host))


def context(host: str) -> ssl.SSLContext:
    """Give the TLS settings for a registry.

    Believed are the machine's store (or SSL_CERT_FILE and SSL_CERT_DIR), the public authorities, REQUESTS_CA_BUNDLE, and the
    registry's own folders, as Docker and podman read them. Errors: RegistryError naming a file that is no certificate.
    """
    made = ssl.create_default_context()
    made.load_verify_locations(certifi.where())
    if bundle := os.environ.get("REQUESTS_CA_BUNDLE"):
        _load(made, Path(bundle))
    for folder in _folders(host):
        for authority in sorted(folder.glob("*.crt")):
            _load(made, authority)
        for certificate in sorted(folder.glob("*.cert")):
            _show(made, certificate)
    return made


def _folders(host: str) -> list[Path]:
    return [Path(each).expanduser() / host for each in _FOLDERS]


def _load(made: ssl.SSLContext, path: Path) -> None:
    try:
        made.load_verify_locations(**{"capath" if path.is_dir() else "cafile": str(path)})
    except OSError as exc:  # ssl.SSLError is one
        raise RegistryError(f"{path} holds no certificates of an authority: {exc.strerror or exc}") from exc


def _show(made: ssl.SSLContext, path: Path) -> None:
    try:
        made.load_cert_chain(path, path.with_suffix(".key"))
    except OSError as exc:
        raise RegistryError(
            f"{path} and the .key beside it are no certificate of a client: {exc.strerror or exc}"
        ) from exc
