from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import SpecError
from trimtab.spec import Function, from_dict
from trimtab.spec.document import parse
from trimtab.spec.foreign import split_commands

DOCUMENTS = Path(__file__).parent / "documents"
JUNK: list[Any] = [None, 0, -1, 1.5, True, "", "x", [], ["x"], [1], [[]], {}, {"a": 1}, {"name": []}]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


@pytest.mark.parametrize("name", ["nuclio", "mlrun-job", "mlrun-remote"])
@given(data=st.data())
def test_any_damaged_foreign_document_is_read_or_refused(name: str, data: st.DataObject) -> None:
    document = parse((DOCUMENTS / f"{name}.yaml").read_text())
    *parents, last = data.draw(st.sampled_from(places(document)[1:]))
    place = document
    for key in parents:
        place = place[key]
    place[last] = copy.deepcopy(data.draw(st.sampled_from(JUNK)))
    with contextlib.suppress(SpecError):
        assert isinstance(from_dict(document, leftovers=[]), Function)


@pytest.mark.parametrize(
    ("command", "requirements"),
    [
        ("pip install pandas", ["pandas"]),
        ("python -m pip install 'a>=1' b[x]==2", ["a>=1", "b[x]==2"]),
        ("pip3 install x", ["x"]),
        ("pip install -r requirements.txt", None),
        ("pip install x && echo y", None),
        ("pip install x; echo y", None),
        ("pip install x > /dev/null", None),
        ("pip install x 2>/dev/null", None),
        ("pip install git+https://host/x", None),
        ("pip install $NAME", None),
        ("apt-get install pip", None),
    ],
)
def test_plain_pip_commands_become_requirements(command: str, requirements: list[str] | None) -> None:
    assert split_commands([command]) == ((requirements, []) if requirements else ([], [command]))
