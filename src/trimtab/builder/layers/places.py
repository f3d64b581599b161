"""Where things are in an image. A change here changes every layer."""

from __future__ import annotations

ROOT = "opt/trimtab"
"""A virtual environment on the base's Python: the runtime and the dependencies share its site-packages."""
FUNCTION = "function"
"""The function's own files; the working directory."""
RUNTIME = f"{ROOT}/runtime"
"""Trimtab and what it needs. It comes after site-packages on sys.path, so that a function may have other versions."""
BIN = f"{ROOT}/bin"
PYTHON = f"/{BIN}/python"
LOCK = f"{ROOT}/requirements.lock"
"""All that the function requires, with versions and hashes, wherever in the image it lies."""
RUNTIME_LOCK = f"{ROOT}/runtime.lock"
"""The same of what Trimtab itself requires."""
USER = 65532
"""A user that no base image gives any rights to; distroless images call it nonroot."""


def site_packages(python: str) -> str:
    """Where the dependencies are for Python `python` ("3.12")."""
    return f"{ROOT}/lib/python{python}/site-packages"
