"""The port of model formats: an object becomes files, and files become the object again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from trimtab.artifacts.artifact import Artifact


class Framework(ABC):
    """One format. The library behind it is imported in `dump` and `load` alone: they raise its ImportError."""

    name: ClassVar[str]
    """What `ModelSpec.format` says."""
    default: ClassVar[str]
    """The main file's name where none is given."""
    suffixes: ClassVar[tuple[str, ...]]

    def reads(self, file: str) -> bool:
        """Tell whether a main file of that name is of this format."""
        return file.lower().endswith(self.suffixes)

    @abstractmethod
    def takes(self, model: object) -> bool:
        """Tell whether `dump` can write an object."""

    def chosen(self, model: object) -> bool:
        """Tell whether an object is written in this format unless somebody asks for another."""
        return self.takes(model)

    @abstractmethod
    def dump(self, model: Any, path: Path) -> None:
        """Write an object to its main file; files beside it belong to it."""

    @abstractmethod
    def load(self, artifact: Artifact) -> Any:
        """Read the object of a version, from files whose hashes were checked."""

    def peek(self, path: Path) -> tuple[str, str]:
        """Tell framework and algorithm from a file without running what is in it; empty where it does not show."""
        return self.name, ""
