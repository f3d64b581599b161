"""Tables and reports as files and URLs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import msgspec

from trimtab.errors import DataError, NotFound, TargetUnreachable
from trimtab.handlers.drift.report import DriftReport

__all__ = ["read_reports", "read_table", "select"]

_WAIT = 10.0  # seconds for a URL to answer


def read_table(path: Path) -> Any:
    """Read a CSV or Parquet file as a DataFrame. Errors: DataError."""
    import pandas as pd

    kind = path.suffix.lower()
    if kind not in {".csv", ".parquet", ".pq"}:
        raise DataError(f"{path}: found a file of type {kind or 'unknown'!r}, allowed: .csv, .parquet")
    try:
        return pd.read_csv(path) if kind == ".csv" else pd.read_parquet(path)
    except FileNotFoundError as exc:
        raise DataError(f"{path}: there is no such file") from exc
    except ImportError as exc:
        raise DataError(f"{path}: reading Parquet needs pyarrow; install trimtab[ml]") from exc
    except (ValueError, OSError) as exc:
        raise DataError(f"{path}: this cannot be read as {kind[1:]}: {exc}") from exc


def read_reports(source: str) -> list[DriftReport]:
    """Read reports from a file or an http(s) URL, in the order in which they stand there.

    A report, a list of them, or one on each line; each by itself or inside a CloudEvent. Errors: DataError, and
    TargetUnreachable for a URL that does not answer.
    """
    found = [_report(value, source) for value in _values(_fetched(source), source)]
    if not found:
        raise DataError(f"{source}: there is no report in it")
    return found


def select(reports: list[DriftReport], endpoint: str) -> list[DriftReport]:
    """Give the reports of an endpoint, the oldest first. Errors: NotFound, with the endpoints that there are."""
    own = [report for report in reports if report.endpoint == endpoint]
    if not own:
        known = ", ".join(sorted({repr(report.endpoint) for report in reports}))
        raise NotFound(f"there is no report of endpoint {endpoint!r}; there are reports of {known}")
    return sorted(own, key=lambda report: report.end or 0.0)


def _fetched(source: str) -> bytes:
    if not source.startswith(("http://", "https://")):
        try:
            return Path(source).read_bytes()
        except OSError as exc:
            raise DataError(f"{source}: this cannot be read: {exc.strerror}") from exc
    try:
        with urlopen(Request(source, headers={"Accept": "application/json"}), timeout=_WAIT) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content
    except URLError as exc:
        raise TargetUnreachable(f"{source} does not answer: {exc.reason}") from exc


def _values(data: bytes, source: str) -> Iterator[Any]:
    """Give each JSON value: of a document, of a list, or of lines."""
    try:
        value = msgspec.json.decode(data)
    except msgspec.DecodeError:
        for number, line in enumerate(data.splitlines(), 1):
            if line.strip():
                try:
                    yield msgspec.json.decode(line)
                except msgspec.DecodeError as exc:
                    raise DataError(f"{source}: line {number} is not JSON: {exc}") from exc
    else:
        yield from value if isinstance(value, list) else [value]


def _report(value: Any, source: str) -> DriftReport:
    if isinstance(value, dict) and "specversion" in value:
        value = value.get("data")
    try:
        return msgspec.convert(value, DriftReport)
    except msgspec.ValidationError as exc:
        raise DataError(f"{source}: there is something that is no drift report: {exc}") from exc
