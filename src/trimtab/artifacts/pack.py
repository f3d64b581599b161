"""From what `log_model` is given to the files and the description that are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from trimtab.artifacts import datasets, environment, frameworks
from trimtab.artifacts.log import files_below
from trimtab.artifacts.models import main_file
from trimtab.artifacts.types import ModelSpec
from trimtab.artifacts.uri import check_file
from trimtab.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd

REFERENCE = "reference.json"
"""The file of the training set's statistics."""
_GIVE = "one of model=OBJECT, model_file=PATH, model_dir=FOLDER, or body=BYTES with model_file=NAME"
_Sources = dict[str, Path | bytes]


class Given(Struct, kw_only=True):
    """The arguments of `log_model`. `name` is what the main file is called, where that was said."""

    model: Any
    body: Any
    file: Path | None
    folder: Path | None
    name: str
    framework: str
    algorithm: str
    metrics: dict[str, Any]
    parameters: dict[str, Any]
    training_set: Any
    label_column: str | None
    extra_data: dict[str, Path | bytes]


def pack(given: Given, scratch: Path) -> tuple[_Sources, ModelSpec]:
    """Collect the files (some are written to `scratch`) and describe them. Errors: SpecError, DataError."""
    files, main = _sources(given, scratch)
    adapter = frameworks.by_file(main)
    framework, algorithm = _named(given, files[main], adapter)
    spec = ModelSpec(
        file=main,
        format=adapter.name if adapter else "",
        framework=given.framework or framework,
        algorithm=given.algorithm or algorithm,
        label_column=given.label_column,
        metrics=_plain(given.metrics),
        parameters=_plain(given.parameters),
    )
    spec.environment = environment.record(spec.framework)
    for name, content in given.extra_data.items():
        spec.extra_data[name] = _add(files, name, content)
    if given.training_set is not None:
        _describe(given, spec, files)
    elif given.label_column is not None:
        raise SpecError("label_column", given.label_column, "nothing, without a training_set that has the column")
    return files, spec


def _sources(given: Given, scratch: Path) -> tuple[_Sources, str]:
    """Find the model's files, and which of them is the main one. Errors: SpecError."""
    model, body = given.model, given.body
    if model is None and body is not None and not isinstance(body, bytes | str):
        model, body = body, None
    if sum(each is not None for each in (model, body, given.folder)) > 1:
        raise SpecError("log_model", "several models", _GIVE)
    if model is not None:
        return _dumped(model, given.name, scratch)
    if body is not None and given.name:
        return {given.name: body.encode() if isinstance(body, str) else body}, given.name
    if given.folder is not None:
        return _in_folder(given.folder, given.name)
    if given.file is None or not given.file.is_file():
        raise SpecError("model_file" if given.file else "log_model", str(given.file) if given.file else None, _GIVE)
    return {given.name: given.file}, given.name


def _dumped(model: Any, name: str, scratch: Path) -> tuple[_Sources, str]:
    adapter = frameworks.by_object(model, name)
    main = name or adapter.default
    try:
        adapter.dump(model, scratch / main)
    except ImportError as exc:
        raise SpecError("model", frameworks.framework_of(model), f"a model whose library is here: {exc}") from exc
    return files_below(scratch), main


def _in_folder(folder: Path, name: str) -> tuple[_Sources, str]:
    files = files_below(folder) if folder.is_dir() else {}
    if not files:
        raise SpecError("model_dir", str(folder), "a folder that holds the model's files")
    main = main_file(folder, name)
    if main not in files:
        raise SpecError("model_file", main, f"a file of {folder}: {', '.join(files)}")
    return files, main


def _named(given: Given, main: Path | bytes, adapter: frameworks.Framework | None) -> tuple[str, str]:
    """Tell framework and algorithm: by the object's class, or by what the file shows."""
    model = given.model if given.model is not None else given.body
    if adapter is not None and isinstance(main, Path) and isinstance(model, bytes | str | None):
        return adapter.peek(main)
    if model is None or isinstance(model, bytes | str):
        return (adapter.name if adapter else ""), ""
    return frameworks.framework_of(model), type(model).__name__


def _describe(given: Given, spec: ModelSpec, files: _Sources) -> None:
    """Keep what the training set looked like: columns, statistics, digest. Errors: SpecError, DataError."""
    from trimtab.sketches.reference import Reference
    from trimtab.sketches.schema import Schema

    table, label = _table(given.training_set), None
    if given.label_column is not None:
        if given.label_column not in table.columns:
            names = ", ".join(map(str, table.columns))
            raise SpecError("label_column", given.label_column, f"a column of the training set: {names}")
        label = table[given.label_column]
        spec.label = Schema.of(table[[given.label_column]]).columns[0]
    features = table if label is None else table.drop(columns=[given.label_column])
    spec.schema = Schema.of(features)
    spec.training_rows, spec.training_set = len(table), datasets.digest(table)
    spec.reference = REFERENCE
    reference = Reference.fit(features, schema=spec.schema, labels=label)
    files[REFERENCE] = msgspec.json.encode(reference)


def _table(training_set: Any) -> pd.DataFrame:
    """Make a DataFrame of whatever else a schema can be made of. Errors: DataError."""
    import pandas as pd

    from trimtab.sketches.schema import Schema

    if isinstance(training_set, pd.DataFrame):
        return training_set
    return pd.DataFrame(training_set, columns=Schema.of(training_set).names)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Make plain data of metrics and parameters: numpy's numbers are numbers, objects their text."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(values, enc_hook=_told))
    return plain


def _told(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def _add(files: _Sources, name: str, content: Path | bytes) -> str:
    """Add a file of `extra_data`; give its name among the files. Errors: SpecError."""
    if isinstance(content, Path) and not content.is_file():
        raise SpecError(f"extra_data {name}", str(content), "bytes, or the path of a file that is there")
    suffix = content.suffix if isinstance(content, Path) and not Path(name).suffix else ""
    file = check_file(f"{name}{suffix}")
    if file in files:
        raise SpecError(f"extra_data {name}", file, f"a name that no other file has: {', '.join(files)}")
    files[file] = content
    return file
