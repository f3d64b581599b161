from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from tests.handlers.monitor.world import REFERENCE

import trimtab
from trimtab.errors import SpecError
from trimtab.handlers.monitor.references import lookup
from trimtab.handlers.monitor.settings import from_environ
from trimtab.sketches import CategoricalReference, NumericReference


def test_state_and_log_are_below_the_home_unless_told_otherwise(tmp_path: Path) -> None:
    home = tmp_path / "Haus & Hof ö"
    found = from_environ({"TRIMTAB_HOME": str(home)})
    assert found.store.startswith("sqlite:///")
    assert found.log == str(home / "monitor" / "log")
    told = from_environ(
        {
            "TRIMTAB_HOME": str(home),
            "TRIMTAB_MONITOR_STORE": "redis://localhost/1",
            "TRIMTAB_MONITOR_WINDOW_ROWS": "500",
            "TRIMTAB_MONITOR_LATENESS": "0",
            "TRIMTAB_MONITOR_WINDOW_SECONDS": "90.5",
        }
    )
    assert (told.store, told.window_rows, told.lateness, told.window_seconds) == ("redis://localhost/1", 500, 0.0, 90.5)
    assert told.limits.rows == told.label_rows


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("WINDOW_ROWS", "many", "a whole number, above 0"),
        ("WINDOW_ROWS", "0", "a whole number, above 0"),
        ("WINDOW_ROWS", "1.5", "a whole number, above 0"),
        ("WINDOW_SECONDS", "-1", "a number of seconds, above 0"),
        ("WINDOW_SECONDS", "nan", "a number of seconds, above 0"),
        ("LATENESS", "inf", "a number of seconds, from 0"),
        ("LOG_DAYS", "x", "a number of days, from 0"),
    ],
)
def test_an_impossible_setting_is_named(name: str, value: str, allowed: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_environ({f"TRIMTAB_MONITOR_{name}": value})
    assert str(caught.value) == f"environment variable TRIMTAB_MONITOR_{name}: found '{value}', allowed: {allowed}"


def test_the_reference_of_a_logged_model_is_found_by_its_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=200), "y": rng.normal(size=200)})
    frame["kind"] = (frame.x > 0).astype(int)
    project: Any = trimtab.get_or_create_project("churn", context=str(tmp_path))
    model = LogisticRegression().fit(frame[["x", "y"]], frame["kind"])
    logged = project.log_model("rf", model=model, training_set=frame, label_column="kind")
    found, reason = lookup(logged.uri)
    assert found is not None
    assert reason == ""
    assert isinstance(found["x"], NumericReference)
    assert isinstance(found["label"], CategoricalReference)
    assert (found["label"].levels, found.rows) == (["0", "1"], 200)
    bare = project.log_model("bare", model=model)
    assert lookup(bare.uri)[1].endswith("was logged without a training set; log it with training_set=")
    assert "has no model 'none'" in lookup("store://models/churn/none#0:latest")[1]
    assert lookup("store://nonsense")[0] is None


def test_the_reference_beside_a_file_is_found(tmp_path: Path) -> None:
    model = str(tmp_path / "mödel.pkl")
    assert lookup(model) == (
        None,
        f"there is no file '{model}.reference.json'; log the model, or write Reference.fit(...).to_json() there",
    )
    Path(f"{model}.reference.json").write_bytes(REFERENCE.to_json())
    assert lookup(model) == (REFERENCE, "")
    Path(f"{model}.reference.json").write_bytes(b"{}")
    assert lookup(model)[1].startswith("this is no reference of a model: ")


def test_every_public_name_of_the_monitor_is_there_and_is_no_module() -> None:
    import types

    import trimtab.handlers.monitor as package

    for name in package.__all__:
        getattr(package, name)
    for name in package.__all__:
        assert not isinstance(getattr(package, name), types.ModuleType), name
    with pytest.raises(AttributeError, match=r"^module 'trimtab.handlers.monitor' has no attribute 'Moniter'$"):
        package.Moniter  # noqa: B018


def test_naming_the_monitor_loads_nothing_heavy() -> None:
    code = (
        "import sys, trimtab.handlers.monitor, trimtab.sketches, trimtab.handlers.monitor.stores, trimtab.handlers.monitor.shift; "
        "print([name for name in ('numpy', 'pandas', 'pyarrow', 'redis', 'scipy') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_the_store_is_the_shared_redis_if_there_is_one() -> None:
    assert from_environ({"TRIMTAB_HOME": "/h", "TRIMTAB_STATE": "redis://r:1/0"}).store == "redis://r:1/0"
    assert (
        from_environ({"TRIMTAB_HOME": "/h", "TRIMTAB_STATE": "sqlite:///h/state.db"}).store
        == "sqlite:///h/monitor/monitor.db"
    )
