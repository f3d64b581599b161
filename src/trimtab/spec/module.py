"""What the module is called that a file becomes: the same for whoever describes a function and whoever reads its source."""

from __future__ import annotations

import re
from pathlib import Path


def module_of(path: Path) -> str:
    """Name the module of a Python file, or of a notebook: `_` stands for what cannot stand in a module's name."""
    if path.suffix != ".ipynb":
        return path.stem
    return re.sub(r"\W", "_", path.name.removesuffix(".ipynb"))
