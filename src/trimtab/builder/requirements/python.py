"""Whether a Python is one that the code says it runs on."""

from __future__ import annotations

from trimtab.builder.abc import Declared
from trimtab.errors import SpecError


def check_python(declared: Declared, version: str) -> None:
    """Refuse Python `version` ("3.12") where the declaration's `requires-python` does. Errors: SpecError."""
    if not declared.python:
        return
    try:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet
    except ImportError:  # it comes with the extra `build`, as uv does, which is then missed with what to install
        return
    try:
        suits = SpecifierSet(declared.python).contains(f"{version}.99")
    except InvalidSpecifier as error:
        raise SpecError(f"requires-python of {declared.where}", declared.python, "such as '>=3.12'") from error
    if not suits:
        raise SpecError(
            "spec.build.python",
            version,
            f"{declared.python}, as {declared.where} requires",
            hint="Name the version (spec.build.python), or a base image that has it",
        )
