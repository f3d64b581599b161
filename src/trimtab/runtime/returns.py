"""What a job's handler returns, kept under names: a data set, a model, a file or a result each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from trimtab.errors import SpecError
from trimtab.runtime.run_context import RunContext

RETURNS = "TRIMTAB_RETURNS"
"""The variable with a run's names, parted by commas; it comes before what the handler itself was decorated with."""
_MARK = "__trimtab_returns__"
_KINDS = ("dataset", "model", "file", "result")
F = TypeVar("F", bound=Callable[..., Any])


def handler(*, outputs: Sequence[str] | None = None) -> Callable[[F], F]:
    """Decorate a job's handler: what it returns is kept as `outputs`, as `fn.run(returns=...)` has it. MLRun's name."""

    def marked(function: F) -> F:
        setattr(function, _MARK, checked(outputs or ()))
        return function

    return marked


def checked(names: Sequence[str]) -> list[str]:
    """Give the names as they are; each may have a kind behind it, as in `rows:dataset`. Errors: SpecError."""
    for name in names:
        key, _, kind = (part.strip() for part in name.partition(":"))
        if not key or "," in key or (kind and kind not in _KINDS):
            raise SpecError("returns", name, f"a name, or NAME:KIND with a kind of {', '.join(_KINDS)}")
    return list(names)


def wanted(function: Any) -> list[str]:
    """Give the names of what a handler returns; none where nobody gave any."""
    text = os.environ.get(RETURNS, "")
    return text.split(",") if text else list(getattr(function, _MARK, ()))


def keep(context: RunContext, value: Any, names: Sequence[str]) -> None:
    """Keep a returned value, or each of a tuple's values, under its name. Errors: SpecError when they do not match."""
    values = value if isinstance(value, tuple) and len(names) != 1 else (value,)
    if len(values) != len(names):
        raise SpecError("what the handler returned", f"{len(values)} values", f"{len(names)}: {', '.join(names)}")
    for name, each in zip(names, values, strict=True):
        key, _, kind = (part.strip() for part in name.partition(":"))
        _keep(context, key, each, kind or _kind(each))


def _keep(context: RunContext, key: str, value: Any, kind: str) -> None:
    if kind == "dataset":
        context.log_dataset(key, value)
    elif kind == "model":
        context.log_model(key, model=value)
    elif kind == "file":
        context.log_artifact(key, local_path=value)
    else:
        context.log_result(key, value)


def _kind(value: Any) -> str:
    if type(value).__name__ == "DataFrame":
        return "dataset"
    if callable(getattr(value, "predict", None)):
        return "model"
    return "file" if isinstance(value, Path) else "result"
