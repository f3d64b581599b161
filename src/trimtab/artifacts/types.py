"""What is written down about a version of an artifact: one JSON document, which is what makes the version exist."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from trimtab.artifacts.files import File
from trimtab.artifacts.uri import Kind
from trimtab.sketches.schema import Column, Schema


class Stored(Struct, kw_only=True, omit_defaults=True):
    """Common settings: keys that a newer version wrote are passed over, defaults are not written."""


class Producer(Stored, kw_only=True):
    """Who made a version: a run of a job, by its id and the job's name; nobody in particular elsewhere."""

    uid: str
    name: str
    inputs: dict[str, str] = {}
    """What the run read, by the inputs' names; artifacts with their version."""


class Metadata(Stored, kw_only=True):
    """Which version it is. `created` is in seconds since the epoch."""

    project: str
    key: str
    tree: str
    created: float
    iter: int = 0
    labels: dict[str, str] = {}
    producer: Producer | None = None


class Environment(Stored, kw_only=True):
    """What a model was made with: Python's version, and those of the packages that its file may depend on."""

    python: str
    packages: dict[str, str] = {}


class ModelSpec(Stored, kw_only=True, tag="model"):
    """A model: its file, what it was trained on, and how good it was then."""

    file: str
    """The file (for a folder: the one that names the model) among the version's files."""
    format: str
    """How the file is read: pickle, joblib, onnx, mlflow; empty where nothing here reads it."""
    framework: str = ""
    """The library that made it, such as sklearn."""
    algorithm: str = ""
    """The model's class, such as LogisticRegression."""
    schema: Schema | None = None
    """The features, in the order in which the model takes them; None where no training set was given."""
    label_column: str | None = None
    label: Column | None = None
    """The label's type, where the training set held it."""
    metrics: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    environment: Environment | None = None
    training_set: str = ""
    """The digest of the training set's values, names and types: the same rows in the same order have the same one."""
    training_rows: int = 0
    reference: str | None = None
    """The file that holds the statistics of the training set (`trimtab.sketches.Reference`)."""
    extra_data: dict[str, str] = {}
    """Other files that belong to the model: what they are called, and the file."""


class DatasetSpec(Stored, kw_only=True, tag="dataset"):
    """A table."""

    file: str
    format: str
    """csv or parquet."""
    schema: Schema | None = None
    rows: int = 0
    label_column: str | None = None
    digest: str = ""
    """As `ModelSpec.training_set`: a model's training set is found again by it."""


class FileSpec(Stored, kw_only=True, tag="file"):
    """Any other file or folder; `file` is empty for a folder of several."""

    file: str = ""


Spec = ModelSpec | DatasetSpec | FileSpec


class Document(Stored, kw_only=True):
    """The whole document. Every file of the version stands in `files`, by its name, with its hash."""

    format: Literal[1] = 1
    kind: Kind
    metadata: Metadata
    spec: Spec
    files: dict[str, File]
