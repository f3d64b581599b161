"""Data items: a path, a URL and an artifact are used alike."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

import trimtab
from trimtab.artifacts import DataItem, get_dataitem
from trimtab.artifacts.dataitem import located
from trimtab.artifacts.files import open_files
from trimtab.errors import NotFound, SpecError, StoreError

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "ü"]})


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server over `tmp_path`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_path_is_itself(home: Path, tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "daten.csv", index=False)
    item = get_dataitem(tmp_path / "daten.csv", key="data")
    assert (item.key, item.suffix, item.local(), str(item)) == ("data", ".csv", item.url, item.url)
    assert item.as_df().equals(FRAME)
    assert item.as_df(columns=["b"]).columns.tolist() == ["b"]
    assert item.get(encoding="utf-8") == item.read_text() == (tmp_path / "daten.csv").read_text()
    assert item.get() == item.read_bytes()


def test_an_item_goes_wherever_a_path_does(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("rows")
    item = trimtab.get_dataitem(str(tmp_path / "a.txt"))
    assert isinstance(item, os.PathLike)
    assert Path(item).name == item.name == "a.txt"
    assert item.exists()
    assert item.parent == tmp_path
    with open(item) as opened, item.open() as raw, item.open("r") as text:  # noqa: PTH123
        assert (opened.read(), raw.read(), text.read()) == ("rows", b"rows", "rows")
    assert trimtab.get_dataitem(tmp_path) / "a.txt" == tmp_path / "a.txt"
    item.download(tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "rows"
    with pytest.raises(
        AttributeError, match=r"^a DataItem has no 'as_frame'; it has get, local, as_df, open, download"
    ):
        item.as_frame  # noqa: B018


def test_a_store_uri_means_the_version_that_it_led_to(home: Path) -> None:
    project = trimtab.get_or_create_project("p")
    first = project.log_dataset("rows", df=FRAME, format="csv")
    item = get_dataitem("store://datasets/p/rows")
    project.log_dataset("rows", df=FRAME[:1], format="csv")
    assert repr(item) == f"DataItem({first.version_uri!r})"
    assert str(item) == item.url == first.version_uri
    assert item.suffix == ".csv"
    assert item.as_df().equals(FRAME)
    assert item.artifact is not None
    assert item.artifact.dataset.rows == 2
    with pytest.raises(NotFound, match=r"project 'p' has no dataset 'row'; its datasets: rows$"):
        get_dataitem("store://datasets/p/row")


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_dataset_comes_back_as_it_was(home: Path, format: str) -> None:
    project = trimtab.get_or_create_project("p")
    frame = pd.DataFrame({"n": [1.5, None], "when": pd.to_datetime(["2026-01-01", "2026-01-02"]), "t": ["a", "ß"]})
    logged = project.log_dataset("rows", df=frame, format=format, label_column="n")
    back = get_dataitem(logged.uri).as_df()
    if format == "csv":
        back["when"] = pd.to_datetime(back["when"]).astype(frame["when"].dtype)
    pd.testing.assert_frame_equal(back, frame)
    assert (logged.dataset.rows, logged.dataset.format, logged.dataset.file) == (2, format, f"rows.{format}")
    assert logged.dataset.label_column == "n"
    assert logged.dataset.schema is not None
    assert logged.dataset.schema.names == ["n", "when", "t"]


def test_parquet_is_the_default_and_keeps_types(home: Path) -> None:
    frame = pd.DataFrame({"c": pd.Categorical(["x", "y"])})
    logged = trimtab.get_or_create_project("p").log_dataset("rows", frame)
    assert get_dataitem(logged.uri).as_df()["c"].dtype == "category"


def test_what_is_no_table_is_refused(home: Path, tmp_path: Path) -> None:
    project = trimtab.get_or_create_project("p")
    with pytest.raises(SpecError, match=r"^df: found 'list', allowed: a pandas DataFrame$"):
        project.log_dataset("rows", [1, 2])
    with pytest.raises(SpecError, match=r"^format: found 'xlsx', allowed: 'csv' or 'parquet'$"):
        project.log_dataset("rows", FRAME, format="xlsx")
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(
        SpecError, match=r"^format: found nothing, allowed: csv, parquet, json or jsonl\. Say which: as_df"
    ):
        get_dataitem(tmp_path / "a.bin").as_df()


def test_json_is_read_too(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"a": 1, "b": "x"}, {"a": 2, "b": "ü"}]))
    (tmp_path / "a.jsonl").write_text('{"a": 1, "b": "x"}\n{"a": 2, "b": "ü"}\n')
    assert get_dataitem(tmp_path / "a.json").as_df().equals(FRAME)
    assert get_dataitem(tmp_path / "a.jsonl").as_df(columns=["a"])["a"].tolist() == [1, 2]


def test_the_digest_of_a_table_tells_values_names_types_and_order(home: Path) -> None:
    from trimtab.artifacts.datasets import digest

    same = [FRAME, FRAME.copy(), FRAME.set_index(pd.Index([7, 8]))]
    assert len({digest(frame) for frame in same}) == 1
    others = [FRAME[::-1], FRAME[["b", "a"]], FRAME.rename(columns={"a": "c"}), FRAME.astype({"a": float}), FRAME[:1]]
    assert len({digest(frame) for frame in [FRAME, *others]}) == 6
    assert digest(pd.DataFrame({"l": [[1], [2]]})) != digest(pd.DataFrame({"l": [[1], [3]]}))


def test_urls_are_fetched_when_they_are_read(home: Path, tmp_path: Path, web: str, s3: str) -> None:
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    content = (tmp_path / "a.csv").read_bytes()
    open_files(s3).write("a.csv", content)
    open_files("memory://").write("a.csv", content)
    for url in (f"{web}/a.csv", f"{s3}/a.csv", "memory://a.csv", f"file://{tmp_path}/a.csv"):
        item = DataItem("data", url)
        assert item.as_df().equals(FRAME), url
        assert (item.name, str(item)) == ("a.csv", url)
    for url in (f"{web}/b.csv", f"{s3}/b.csv"):
        with pytest.raises(NotFound, match=rf"^input 'data': there is nothing at {url}$"):
            DataItem("data", url).local()


def test_a_fetched_copy_goes_with_its_item(home: Path) -> None:
    open_files("memory://").write("c.txt", b"c")
    item = DataItem("data", "memory://c.txt")
    path = Path(item.local())
    assert path.read_text() == "c"
    del item
    assert not path.exists()


def test_places_do_not_depend_on_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert located("a.csv") == str(tmp_path / "a.csv")
    assert located("s3://b/a.csv") == "s3://b/a.csv"
    assert located("store://models/p/m") == "store://models/p/m"


def test_parquet_says_what_it_needs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = trimtab.get_or_create_project("p")
    logged = project.log_dataset("rows", FRAME)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for use in (lambda: project.log_dataset("rows", FRAME), get_dataitem(logged.uri).as_df):
        with pytest.raises(
            SpecError, match=r"^format: found 'parquet', allowed: 'csv', or install pyarrow: pip install"
        ):
            use()


def test_what_is_no_dataset_has_no_dataset(home: Path) -> None:
    logged = trimtab.get_or_create_project("p").log_artifact("a", "x")
    with pytest.raises(
        StoreError, match=r"^store://artifacts/p/a#0:latest is no dataset; datasets are below store://da"
    ):
        logged.dataset  # noqa: B018
