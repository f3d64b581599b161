"""The notebook whose kernel this process is: what a function is made of where no file is named, as with MLRun."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from trimtab.builder.source.notebook.document import read
from trimtab.errors import SpecError


def current() -> Path | None:
    """Give the saved file of the notebook that runs here; None where there is none, or nobody says which.

    Jupyter's server names it in JPY_SESSION_NAME, VS Code in a variable of the session. Errors: SpecError when the file
    does not have the cell that runs, because it was changed since it was saved.
    """
    shell = _kernel()
    if shell is None:
        return None
    path = Path(shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME", ""))
    if path.suffix != ".ipynb" or not path.is_file():
        return None
    running = shell.history_manager.input_hist_raw[-1].split()
    if not any(" ".join(cell.lines).split() == running for cell in read(path)):
        raise SpecError(
            str(path), "no cell such as the one that runs", "the notebook as it is now", hint="Save it first"
        )
    return path


def _kernel() -> Any:
    """Give IPython's shell when it is a kernel's."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if hasattr(shell, "kernel") else None
