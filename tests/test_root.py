from __future__ import annotations

import subprocess
import sys

import pytest

import trimtab
from trimtab import _HOME  # the table that the root is made of

HEAVY = ("msgspec", "cloudevents", "asyncio", "yaml", "numpy", "pandas", "trimtab.spec", "trimtab.errors")


@pytest.mark.parametrize("name", trimtab.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(trimtab, name) is not None
    assert name in dir(trimtab)


def test_all_is_what_there_is_and_in_order() -> None:
    assert set(trimtab.__all__) == {*_HOME, "__version__"}
    assert trimtab.__all__ == sorted(trimtab.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'trimtab' has no attribute 'deploi'$"):
        trimtab.deploi  # noqa: B018


def test_importing_the_root_loads_nothing_heavy() -> None:
    code = f"import sys, trimtab; print([name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_a_name_is_imported_when_it_is_used() -> None:
    code = (
        "import sys, trimtab; trimtab.PermanentError; print('trimtab.errors' in sys.modules, 'msgspec' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "True False\n"
