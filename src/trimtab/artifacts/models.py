"""Models: what is kept of one when it is logged, and the way back to the object."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

from trimtab.artifacts import environment, frameworks
from trimtab.artifacts.artifact import Artifact
from trimtab.artifacts.environment import VersionWarning
from trimtab.artifacts.store import open_store
from trimtab.artifacts.uri import StoreURI
from trimtab.errors import SpecError, StoreError


def load_model(model: Artifact | StoreURI | str, *, versions: Literal["warn", "refuse", "ignore"] = "warn") -> Any:
    """Give a model's object. Its files are compared with their hashes before anything of them is run.

    `versions` says what happens to a model that was made with another Python minor version, another version of its
    framework or another major version of a package: a VersionWarning, a StoreError, or nothing. A hash tells that the
    file is the one that was logged, not that whoever logged it may be trusted: a pickle runs code when it is loaded.
    Errors: NotFound; StoreError for a file that is missing, changed, or cannot be loaded here, saying what differs.
    """
    artifact = model if isinstance(model, Artifact) else open_store().get(model)
    spec = artifact.model
    adapter = frameworks.by_name(spec.format)
    if adapter is None:
        raise StoreError(
            f"{artifact.version_uri}: nothing here reads {spec.file!r}; `artifact.local()` gives the file, "
            f"and a class with a `load` method reads it"
        )
    different = environment.differences(spec)
    made = f"{artifact.version_uri} was made with {', '.join(different)}" if different else ""
    if different and versions == "refuse":
        raise StoreError(f"{made}; it was not loaded. Load it where it was made, or train it again here")
    if different and versions == "warn":
        warnings.warn(f"{made}; what it computes may differ", VersionWarning, stacklevel=2)
    try:
        return adapter.load(artifact)
    except StoreError:
        raise
    except ImportError as exc:
        raise StoreError(f"{artifact.version_uri} needs {_module(exc)}. {made}".rstrip(". ")) from exc
    except Exception as exc:  # whatever its own code raises
        raise StoreError(
            f"{artifact.version_uri} cannot be loaded: {type(exc).__name__}: {exc}. {made}".rstrip(". ")
        ) from exc


def _module(error: ImportError) -> str:
    if error.name is None or not isinstance(error, ModuleNotFoundError):
        return f"what cannot be imported here: {error}"
    return f"the module {error.name!r}, which is not here: install it, or log the model with its code (cloudpickle)"


def main_file(folder: Path, model_file: str) -> str:
    """Find the file of a folder that names the model. Errors: SpecError."""
    if model_file:
        return model_file
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    known = [name for name in names if frameworks.by_file(name) is not None]
    if "MLmodel" in names:
        return "MLmodel"
    if len(known) != 1:
        raise SpecError("model_file", None, f"one of {', '.join(names) or '(the folder is empty)'}")
    return known[0]
