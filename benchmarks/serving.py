"""The model server against MLServer and KServe: the same scikit-learn model, the same core, the Open Inference Protocol.

Each serves with one process on one core (`taskset`), asked over keep-alive connections from the other; the answers are
checked. MLServer's inference pool is off (`parallel_workers: 0`), which is its fastest with one core; KServe's model is
the code of its own scikit-learn image. The cost of tracking is measured between two of our servers, in CPU time too, for
that does not depend on who else uses the machine. Then tracked servers are asked while their sinks are dead in each way.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.emit import sink
from benchmarks.load import ask
from benchmarks.peers import PYTHON
from benchmarks.rounds import Effort, alternate, often
from benchmarks.row import Row
from benchmarks.server import APPS, Server, cpu, serving

CORE = ["taskset", "-c", "0"]
READY = "/v2/health/ready"
INFER = "/v2/models/m/infer"
ROW = [5.1, 3.5, 1.4, 0.2]
TENSOR = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": ROW}]}).encode()
ROWS = json.dumps({"inputs": [ROW]}).encode()
_TRAIN = """
import sys, joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
data = load_iris(return_X_y=True)
joblib.dump(LogisticRegression(max_iter=500).fit(*data), sys.argv[1] + "/linear.joblib")
joblib.dump(RandomForestClassifier(100, random_state=0).fit(*data), sys.argv[1] + "/forest.joblib")
"""


def rows(effort: Effort) -> list[Row]:
    """Measure. Errors: FileNotFoundError where the environment of the peers is missing."""
    if not PYTHON.exists():
        raise FileNotFoundError(f"{PYTHON} is missing: `make bench` makes it")
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder:
        subprocess.run([str(PYTHON), "-c", _TRAIN, folder], check=True)
        linear, forest = Path(folder, "linear.joblib"), Path(folder, "forest.joblib")
        return [
            *_beside("logistic regression", linear, effort, must=3.0),
            *_beside("random forest of 100 trees", forest, effort, must=None),
            *_tracking(linear, effort),
            *_dead_sinks(linear, effort),
        ]


def ours(model: Path, *more: str) -> list[str]:
    """Give the command that serves a model."""
    return [*CORE, sys.executable, "-m", "trimtab", "serve", "--model", f"m={model}", "--port", "{port}", *more]


def _mlserver(model: Path) -> list[str]:
    folder = model.parent / f"mlserver-{model.stem}"
    folder.mkdir()
    settings = {"debug": False, "parallel_workers": 0, "metrics_endpoint": None, "grpc_port": 0}
    (folder / "settings.json").write_text(json.dumps(settings))
    about = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": str(model)}}
    (folder / "model-settings.json").write_text(json.dumps(about))
    return [*CORE, str(PYTHON.parent / "mlserver"), "start", str(folder)]


def _beside(what: str, model: Path, effort: Effort, must: float | None) -> list[Row]:
    effort = Effort(seconds=max(effort.seconds / 3, 0.3), rounds=effort.rounds * 3, count=effort.count)
    with ExitStack() as stack:
        servers = {
            "trimtab": stack.enter_context(serving(ours(model), ready=READY)),
            "MLServer": stack.enter_context(serving(_mlserver(model), ready=READY, MLSERVER_HTTP_PORT="{port}")),
            "KServe": stack.enter_context(
                serving(
                    [*CORE, str(PYTHON), str(APPS / "kserve_sklearn.py")], ready=READY, PORT="{port}", MODEL=str(model)
                )
            ),
        }
        many = alternate({name: partial(_rate, s, effort.seconds, 32) for name, s in servers.items()}, effort.rounds)
        one = alternate({name: partial(_rate, s, effort.seconds, 1) for name, s in servers.items()}, effort.rounds)
    return [
        Row(
            what=f"{what}, {connections}",
            unit="req/s",
            ours=found["trimtab"],
            beside=peer,
            theirs=found[peer],
            must=must if found is many else None,
            of="ratio",
        )
        for connections, found in (("32 connections", many), ("1 connection", one))
        for peer in ("MLServer", "KServe")
    ]


def _tracking(model: Path, effort: Effort) -> list[Row]:
    effort = often(effort)
    with ExitStack() as stack:
        url = stack.enter_context(sink("well, takes batches"))
        tracked = ours(model, "--track", "--sink", url)
        servers = {
            "plain": stack.enter_context(serving(ours(model), ready=READY)),
            "tracked": stack.enter_context(serving(tracked, ready=READY)),
        }
        rate = alternate({name: partial(_rate, s, effort.seconds, 32) for name, s in servers.items()}, effort.rounds)
        spent = alternate({name: partial(_cpu, s, effort.seconds) for name, s in servers.items()}, effort.rounds)
    what = "logistic regression, every request tracked"
    return [
        Row(
            what=what,
            unit="req/s",
            ours=rate["tracked"],
            beside="untracked",
            theirs=rate["plain"],
            must=0.9,
            of="ratio",
        ),
        Row(what=f"{what}, CPU a request", unit="us", ours=spent["tracked"], beside="untracked", theirs=spent["plain"]),
    ]


def _dead_sinks(model: Path, effort: Effort) -> list[Row]:
    """Ask servers whose sinks are dead from the start; none of the answers may fail (the load generator raises)."""
    effort = often(effort)
    kinds = {"refusing": "that is gone", "silent": "that blocks", "failing": "that answers 500"}
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="trimtab-bench-") as spool:
        servers = {}
        for kind in ("well", *kinds):
            url = stack.enter_context(sink(kind))
            command = ours(model, "--track", "--sink", url)
            servers[kind] = stack.enter_context(serving(command, ready=READY, TRIMTAB_SPOOL=f"{spool}/{kind}"))
        p99 = alternate({kind: partial(_p99, s, effort.seconds) for kind, s in servers.items()}, effort.rounds)
        dropped = {kind: _dropped(s.port) for kind, s in servers.items()}
    return [
        row
        for kind, words in kinds.items()
        for row in (
            Row(
                what=f"p99 of a prediction, tracked to a sink {words}, no request failed",
                unit="ms",
                ours=p99[kind],
                beside="a sink that is well",
                theirs=p99["well"],
                must=1.1,
                of="ratio",
                bound="at most",
            ),
            Row(
                what=f"records lost with a sink {words}, below the disk bound",
                unit="records",
                ours=[dropped[kind]],
                must=0,
                bound="at most",
            ),
        )
    ]


def _rate(server: Server, seconds: float, connections: int) -> float:
    return ask(server.port, INFER, TENSOR, _right, seconds, connections).per_second


def _cpu(server: Server, seconds: float) -> float:
    before = cpu(server.pid)
    answered = ask(server.port, INFER, ROWS, _right_rows, seconds).answered
    return (cpu(server.pid) - before) / answered * 1e6


def _p99(server: Server, seconds: float) -> float:
    return ask(server.port, INFER, ROWS, _right_rows, seconds, 8).p99 * 1000


def _right(answer: Any) -> bool:
    return bool(answer["outputs"][0]["data"] == [0])


def _right_rows(answer: Any) -> bool:
    return bool(answer["outputs"] == [0])


def _dropped(port: int) -> float:
    """Count what was lost anywhere on its way."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return float(sum(int(found) for found in re.findall(r'state="dropped"} (\d+)$', text, re.MULTILINE)))
