"""From an edited handler to a revision, stage by stage, with `trimtab deploy --target knative` started from the command line.

Where KUBECONFIG, TRIMTAB_TEST_REGISTRY and TRIMTAB_TEST_BASE_IMAGE are set this is a cluster's own time, and 6 s must be
reached. Elsewhere it is our side of it alone: a real registry on this machine, and a Kubernetes API over HTTP whose pods
are ready at once (`tests/deploy/knative/fake`); then nothing is asked of `pods`, `route` and the whole.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import yaml
from tests.builder.image import debian
from tests.builder.image.servers import registry
from tests.deploy.knative.fake.knative import Knative
from tests.deploy.knative.fake.server import FakeCluster, Running

from benchmarks.rounds import Effort, say
from benchmarks.row import Row

NEEDED = ("KUBECONFIG", "TRIMTAB_TEST_REGISTRY", "TRIMTAB_TEST_BASE_IMAGE")
_CODE = "def handler(context, event):\n    return {!r}\n"
_STAGES = {"build": ("source", "base", "code", "lock", "runtime", "dependencies"), "push": ("send",)}


def rows(effort: Effort) -> list[Row]:
    """Measure."""
    found: dict[str, list[float]] = {}
    real = all(os.environ.get(name) for name in NEEDED)
    with tempfile.TemporaryDirectory() as folder, _place(Path(folder), real) as environ:
        edits = count()
        _deploy(Path(folder), environ, next(edits))
        for _ in range(max(2, effort.rounds)):
            for name, seconds in _deploy(Path(folder), environ, next(edits)).items():
                found.setdefault(name, []).append(seconds)
    where = "on the cluster" if real else "without a cluster"
    whole = found.pop("whole")
    return [
        Row(
            what=f"edited handler to new revision, {where}",
            unit="s",
            ours=whole,
            must=6.0 if real else None,
            bound="at most",
        ),
        *(
            Row(what=f"... {name}", unit="ms", ours=[value * 1000 for value in values])
            for name, values in found.items()
        ),
    ]


def _deploy(folder: Path, environ: dict[str, str], edit: int) -> dict[str, float]:
    """Edit, deploy, and give the seconds of each stage."""
    (folder / "edited.py").write_text(_CODE.format(f"edit {edit}"))
    command = [
        sys.executable,
        "-m",
        "trimtab",
        "deploy",
        str(folder / "function.yaml"),
        "--target",
        "knative",
        "-o",
        "json",
    ]
    started = time.perf_counter()
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    took = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(done.stderr)
    stages = {stage["name"]: stage["ms"] / 1000 for stage in json.loads(done.stdout)["stages"]}
    found = {name: sum(stages.pop(part, 0.0) for part in parts) for name, parts in _STAGES.items()}
    found |= {**stages, "interpreter and imports": took - sum(stages.values()) - sum(found.values()), "whole": took}
    say(", ".join(f"{name} {seconds:.2f} s" for name, seconds in found.items()))
    return found


@contextmanager
def _place(folder: Path, real: bool) -> Iterator[dict[str, str]]:
    """Give the environment of a client; the function's description is in the folder."""
    environ = {**os.environ, "TRIMTAB_HOME": str(folder / "home")}
    if real:
        _write(folder, os.environ["TRIMTAB_TEST_BASE_IMAGE"])
        yield {**environ, "TRIMTAB_REGISTRY": os.environ["TRIMTAB_TEST_REGISTRY"]}
        return
    cluster = FakeCluster()
    cluster.controllers.append(Knative())
    cluster.add("v1", "namespaces", "default", "")
    with registry(folder / "registry") as server, Running(cluster):
        base = f"{server.host}/debian/python:{debian.PYTHON}"
        copy = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{debian.layout()}", f"docker://{base}"]
        subprocess.run(copy, check=True)
        _write(folder, base)
        (folder / "kubeconfig").write_text(yaml.safe_dump(_config(cluster.url)))
        yield {**environ, "KUBECONFIG": str(folder / "kubeconfig"), "TRIMTAB_REGISTRY": f"{server.host}/bench"}


def _write(folder: Path, base: str) -> None:
    spec = {"handler": "edited", "source": {"path": "edited.py"}, "build": {"baseImage": base}, "scale": {"min": 1}}
    head = {"apiVersion": "trimtab.dev/v1", "kind": "Function", "metadata": {"name": "edited"}}
    (folder / "function.yaml").write_text(yaml.safe_dump({**head, "spec": spec}))


def _config(url: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": url}}],
        "users": [{"name": "x", "user": {}}],
    }
