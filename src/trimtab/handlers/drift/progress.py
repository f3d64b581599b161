"""How far the drift check has come with each endpoint, and its reports: what a restart goes on from.

A report is written, then the endpoint's progress says so, then its event is posted, then the progress says that. Whoever is
killed in between does the last thing again: the same report, the same event.
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec
from msgspec import Struct

from trimtab.errors import NotFound
from trimtab.handlers.documents import Documents
from trimtab.handlers.drift.report import DriftReport

KEPT = 200
"""Reports of each endpoint: eight days of hours."""


class Progress(Struct, kw_only=True):
    """One endpoint's."""

    closing: int = 0
    """The last window that was judged, as the monitor counts closings."""
    kept: list[int] = []
    """The windows whose reports are there, in the order of closing."""
    unposted: list[int] = []
    """Those of them whose events are still to be posted."""


class Reports:
    """All endpoints' progress and reports."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def progress(self, endpoint: str) -> Progress:
        """Give an endpoint's progress."""
        return _progress(self._documents.get(_name(endpoint)).text)

    def add(self, endpoint: str, number: int, closing: int, report: DriftReport) -> None:
        """Keep the report of a window; its event is to be posted."""
        name = _name(endpoint, number)
        self._documents.change(name, lambda _: report.to_json())

        def change(text: bytes) -> bytes:
            progress = _progress(text)
            if closing <= progress.closing:
                return text
            kept = [*progress.kept, number]
            unposted = [*progress.unposted, number]
            return msgspec.json.encode(Progress(closing=closing, kept=kept, unposted=unposted))

        self._documents.change(_name(endpoint), change)

    def posted(self, endpoint: str, number: int) -> None:
        """Remember that a report's event was taken, and forget the oldest reports."""
        gone: list[int] = []

        def change(text: bytes) -> bytes:
            progress = _progress(text)
            unposted = [each for each in progress.unposted if each != number]
            gone[:] = [each for each in progress.kept[:-KEPT] if each not in unposted]
            kept = [each for each in progress.kept if each not in gone]
            return msgspec.json.encode(Progress(closing=progress.closing, kept=kept, unposted=unposted))

        self._documents.change(_name(endpoint), change)
        for each in gone:
            self._documents.delete(_name(endpoint, each))

    def report(self, endpoint: str, number: int) -> DriftReport:
        """Give one report. Errors: NotFound."""
        text = self._documents.get(_name(endpoint, number)).text
        if not text:
            kept = self.progress(endpoint).kept
            shown = f"{kept[0]} to {kept[-1]}" if kept else "none"
            raise NotFound(f"there is no report of window {number} of {endpoint!r}; there are {shown}")
        return DriftReport.from_json(text)

    def latest(self, endpoint: str, most: int) -> list[DriftReport]:
        """Give an endpoint's last reports, oldest first."""
        return [self.report(endpoint, number) for number in self.progress(endpoint).kept[-most:]]


def _progress(text: bytes) -> Progress:
    return msgspec.json.decode(text, type=Progress) if text else Progress()


def _name(endpoint: str, number: int | None = None) -> str:
    place = f"drift/{quote(endpoint, safe='')}"
    return place if number is None else f"{place}/{number:010d}"
