from __future__ import annotations

from importlib.metadata import version

from trimtab.builder.requirements.imports import missing
from trimtab.runtime.cells import Cells, Span, footer

CODE = """\
import json, os.path
import yaml
import sklearn.linear_model as lm
from PIL import Image
import helper
from . import sibling
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
try:
    import ujson
except ImportError:
    ujson = None

def later():
    import zmq

class A:
    import nowhere_known
"""


def test_imports_that_nothing_brings_are_proposed_with_their_reason() -> None:
    files = {"main.py": CODE.encode(), "helper.py": b"import pandas\n", "unused.py": b"import flask\n"}
    found = missing(files, "main:handler", ["Pillow"])
    assert [str(each) for each in found if not each.optional] == [
        f"main.py, line 2, imports 'yaml': require pyyaml=={version('pyyaml')} (it brings the module here)".replace("pyyaml==", "PyYAML=="),
        f"main.py, line 3, imports 'sklearn.linear_model': require scikit-learn=={version('scikit-learn')} (it brings the module here)",
        "main.py, line 19, imports 'nowhere_known': require nowhere-known (a guess by the module's name: look it up before you take it)",
        f"helper.py, line 1, imports 'pandas': require pandas=={version('pandas')} (it brings the module here)",
    ]  # fmt: skip
    assert [(each.module, each.distribution) for each in found if each.optional] == [
        ("ujson", "ujson"),
        ("zmq", f"pyzmq=={version('pyzmq')}"),
    ]


def test_what_is_provided_is_not_proposed_whatever_its_name() -> None:
    files = {"main.py": b"import yaml, sklearn, cv2, google.cloud.storage\n"}
    assert missing(files, "main", ["PyYAML", "scikit_learn", "opencv-python-headless", "google.cloud.storage"]) == []


def test_an_import_of_a_notebook_is_named_by_its_cell() -> None:
    text = "# Exported\n\nimport yaml\n" + footer(Cells("a.ipynb", [Span(3, 1, 4, 2)]))
    assert str(missing({"a.py": text.encode()}, "a", [])[0]).startswith("a.ipynb, cell 4, line 2, imports 'yaml'")


def test_code_that_cannot_be_parsed_is_left_to_whoever_loads_it() -> None:
    assert missing({"main.py": b"def f(:"}, "main", []) == []
    assert missing({}, "main", []) == []
