from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from trimtab import drift
from trimtab.errors import DataError, NotFound, TargetUnreachable
from trimtab.handlers.drift import text
from trimtab.handlers.drift.files import read_reports, read_table, select
from trimtab.handlers.drift.page import page
from trimtab.handlers.drift.report import DriftReport, report
from trimtab.handlers.drift.rule import check
from trimtab.sketches import Reference, Sketch

CHOICE = np.random.default_rng(0)


def table(rows: int, shift: float = 0.0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "size": CHOICE.normal(10 + shift, 2, size=rows),
            "kind <b>": CHOICE.choice(["x & y", "z"], size=rows),
            "flat": np.ones(rows),
        }
    )


BEFORE, NOW = table(2000), table(400, shift=4.0)


def reports() -> list[DriftReport]:
    reference, found = Reference.fit(BEFORE), []
    for hour, shift in enumerate((0.0, 0.0, 4.0)):
        window = Sketch.of(reference, table(300, shift), sample=0)
        verdict = check(reference, [window])
        about = {"endpoint": "scorer/m", "model": "store://models/p/m#0:latest", "start": 3600.0 * hour}
        found.append(report(reference, window, verdict.result, **about, end=3600.0 * (hour + 1)))
    return found


def test_a_report_holds_what_was_expected_and_seen_of_every_feature_the_worst_first() -> None:
    found = report(BEFORE, NOW, drift.detect("default", BEFORE, NOW))
    assert [feature.name for feature in found.features] == ["size", "kind <b>", "flat"]
    size = found.features[0]
    assert (size.state, found.severity, found.drifted) == ("detected", "detected", True)
    assert size.expected.mean == pytest.approx(BEFORE["size"].mean())
    assert size.seen.std == pytest.approx(NOW["size"].std())
    assert (size.seen.min, size.seen.max) == (NOW["size"].min(), NOW["size"].max())
    assert sorted(size.distances) == ["hellinger", "js", "kld", "psi", "tvd", "wasserstein"]
    assert size.distances["psi"] == drift.detect("psi", BEFORE, NOW).per_feature["size"].statistic
    for feature in found.features:
        assert sum(feature.histogram.expected) == pytest.approx(1, abs=1e-4)
        assert sum(feature.histogram.seen) == pytest.approx(1, abs=1e-4)


def test_a_histogram_in_even_bins_is_near_the_true_one() -> None:
    shown = report(BEFORE, NOW, drift.detect("ks", BEFORE, NOW, columns=["size"])).features[0].histogram
    counts, _ = np.histogram(np.clip(NOW["size"], shown.edges[0], shown.edges[-1]), bins=shown.edges)
    assert np.abs(np.array(shown.seen) - counts / 400).max() < 0.05


def test_sketches_give_the_same_report_as_tables_but_for_the_bins() -> None:
    reference = Reference.fit(BEFORE)
    window = Sketch.of(reference, NOW)
    sketched = report(reference, window, drift.detect("default", reference, window)).features[0]
    exact = report(BEFORE, NOW, drift.detect("default", BEFORE, NOW)).features[0]
    assert sketched.seen.mean == pytest.approx(exact.seen.mean)
    assert sketched.distances["tvd"] == pytest.approx(exact.distances["tvd"], abs=0.02)
    assert sketched.distances["wasserstein"] == pytest.approx(exact.distances["wasserstein"], rel=0.05)


def test_a_report_survives_json_with_nothing_that_is_not_json() -> None:
    current = NOW.assign(size=np.nan)
    found = report(BEFORE, current, drift.detect("default", BEFORE, current))
    assert DriftReport.from_json(found.to_json()) == found
    assert json.loads(found.to_json())["features"][0]["seen"] == {"n": 0, "missing": 400}
    with pytest.raises(DataError, match=r"^this is no drift report: "):
        DriftReport.from_json(b'{"method": 3}')


def test_the_events_extensions_are_what_filters_see() -> None:
    expected = {
        "drifted": True,
        "severity": "detected",
        "endpoint": "scorer/m",
        "model": "store://models/p/m#0:latest",
    }
    assert reports()[-1].extensions == expected


def test_the_page_is_whole_by_itself_and_escapes_names() -> None:
    written = page(reports())
    assert "http" not in written.replace("http-equiv", "")
    assert "<script" not in written
    assert "kind <b>" not in written
    assert "kind &lt;b&gt;" in written
    assert "x &amp; y" in written
    for part in written.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + part.split("</svg>")[0] + "</svg>")
    assert written.count("<svg") == 1 + 3
    assert "Over time" in written
    assert "Over time" not in page(reports()[:1])


def test_the_verdict_is_said_in_words() -> None:
    found = reports()
    assert text.headline(found[-1]).startswith(
        "scorer/m store://models/p/m#0:latest 1970-01-01 02:00 to 1970-01-01 03:00 UTC: drift (p "
    )
    assert text.headline(found[0]).splitlines()[1] == "300 rows against 2000 by 'default'"
    few = report(BEFORE, NOW[:3], drift.detect("default", BEFORE, NOW[:3]))
    assert text.headline(few).startswith("not enough data for a verdict\n3 rows against 2000")


def test_small_histograms_show_what_is_there_at_all() -> None:
    assert text.bars([0.0, 0.001, 0.5, 1.0], 1.0) == " ▁▄█"
    assert text.bars([0.0, 0.001, 0.5, 1.0], 1.0, plain=True) == " .=@"
    assert text.bars([0.0], 0.0) == ""


@pytest.mark.parametrize("name", ["a b ü.csv", "t.parquet"])
def test_tables_are_read_from_csv_and_parquet(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    BEFORE.to_csv(path, index=False) if name.endswith("csv") else BEFORE.to_parquet(path)
    assert drift.detect("default", BEFORE, read_table(path)).p_value == 1.0


@pytest.mark.parametrize(
    ("name", "content", "text_"),
    [
        ("t.xlsx", b"", r"t\.xlsx: found a file of type '\.xlsx', allowed: \.csv, \.parquet$"),
        ("t.csv", b"", r"t\.csv: this cannot be read as csv: No columns to parse from file$"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", r"t\.csv: this cannot be read as csv: .*Expected 2 fields in line 3, saw 3"),
        ("t.parquet", b"garbage", r"t\.parquet: this cannot be read as parquet: "),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, name: str, content: bytes, text_: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=text_):
        read_table(tmp_path / name)
    with pytest.raises(DataError, match=r"no\.csv: there is no such file$"):
        read_table(tmp_path / "no.csv")


def _event(one: DriftReport) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "type": "dev.trimtab.drift",
        "id": "1",
        "source": "/",
        "data": json.loads(one.to_json()),
    }


def test_reports_are_read_alone_in_lists_in_lines_and_in_events(tmp_path: Path) -> None:
    found = reports()
    path = tmp_path / "r.json"
    for content in (
        b"[" + b",".join(one.to_json() for one in found) + b"]",
        b"\n".join(one.to_json() for one in found) + b"\n\n",
        "\n".join(json.dumps(_event(one)) for one in found).encode(),
    ):
        path.write_bytes(content)
        assert read_reports(str(path)) == found
    path.write_bytes(found[0].to_json())
    assert read_reports(str(path)) == found[:1]


def test_reports_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for content, text_ in (
        (b"[]", r"there is no report in it$"),
        (b"{}\nx\n", r"line 2 is not JSON: |there is something that is no drift report: "),
        (b'{"a": 1}', r"there is something that is no drift report: Object missing required field"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=text_):
            read_reports(str(path))
    with pytest.raises(DataError, match=r"this cannot be read: No such file"):
        read_reports(str(tmp_path / "none"))
    with pytest.raises(TargetUnreachable, match=r"^http://127\.0\.0\.1:9/ does not answer: "):
        read_reports("http://127.0.0.1:9/")
    with pytest.raises(NotFound, match=r"^there is no report of endpoint 'x'; there are reports of 'scorer/m'$"):
        select(reports(), "x")


def test_reports_are_read_from_a_url() -> None:
    found = reports()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"\n".join(one.to_json() for one in found))

        def log_message(self, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        assert read_reports(f"http://127.0.0.1:{server.server_port}/") == found
        thread.join(10)
