"""Replicas are killed at random points, events come again, and in the end every row was counted once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import pytest
from tests.handlers.monitor.conftest import BACKENDS, Backend
from tests.handlers.monitor.world import NAME, NOON, World

from trimtab.handlers.monitor.stores import open_store
from trimtab.sketches.numeric import NumericSketch

ROOT = Path(__file__).parents[3]
EVENTS = 400
KILLS = 6


class Replica:
    """A process that works through its share of the events, and is started again from where it was when it is killed."""

    def __init__(self, url: str, log: Path, share: int, seed: int) -> None:
        self._arguments, self._share, self._random = [url, str(log)], share, random.Random(seed)
        self._next, self.ended = 0, False
        self._start()

    def _start(self) -> None:
        # What was not acknowledged comes again, and now and then what was.
        first = max(0, self._next - self._random.choice([0, 0, 1, 5]))
        command = [sys.executable, str(Path(__file__).parent / "processes" / "replica.py"), *self._arguments]
        self.process = subprocess.Popen(
            [*command, str(first), str(EVENTS), "2", str(self._share)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,))
        self._reader.start()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            if line.strip() == "end":
                self.ended = True
            elif line.endswith("\n"):
                self._next = int(line) + 1
        stream.close()

    def wait_for_progress(self, events: int) -> None:
        goal, deadline = self._next + events, time.monotonic() + 60
        while self._next < goal and not self.ended:
            assert time.monotonic() < deadline, f"a replica got stuck at {self._next}"
            time.sleep(0.001)

    def kill(self) -> None:
        self.process.kill()
        self.join()
        if not self.ended:
            self._start()

    def join(self) -> None:
        self.process.wait(60)
        self._reader.join()


@pytest.mark.chaos
@pytest.mark.parametrize("kind", BACKENDS)
def test_replicas_that_are_killed_at_random_points_lose_and_double_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    backend = Backend(kind, request, tmp_path)
    url, log = backend.url if kind == "sqlite" else backend.url.removesuffix("/0") + "/7", tmp_path / "lög"
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    replicas = [Replica(url, log, share, seed + share) for share in range(2)]
    for _ in range(KILLS):
        victim = chance.choice(replicas)
        victim.wait_for_progress(chance.randint(1, 120))
        time.sleep(chance.uniform(0.0, 0.05))  # the moment of the kill is what varies here, nothing is waited for
        victim.kill()
    for replica in replicas:
        replica.join()
        assert replica.ended, f"seed {seed}"
    world = World(lambda limits: open_store(url, limits), log)
    monitor = world.monitor(window_rows=100, lateness=3600.0, keep_windows=1000)
    world.now = NOON + 3600
    monitor.tick(flush=True)
    rows = [f"{number}-{row}" for number in range(EVENTS) for row in range(3)]
    windows = monitor.windows(NAME)
    assert sum(window.rows for window in windows) == len(rows), f"seed {seed}"
    column = monitor.merge(windows).columns["x"]
    assert isinstance(column, NumericSketch)
    assert (column.n, column.max) == (len(rows), EVENTS - 1)
    assert column.mean * column.n == pytest.approx(sum(range(EVENTS)))
    assert sum(monitor.performance(window).joined for window in windows) == len(rows)
    assert sum(monitor.performance(window).correct for window in windows) == len(rows) - (1)  # event 0 has x = 0
    for name in ("inference", "label"):
        table = monitor.log.read(name, NAME)
        assert sorted(map(str, table.column("_id").to_pylist())) == sorted(rows), f"seed {seed}"
    world.now = NOON + 7 * 3600
    monitor.compact()
    files = monitor.log.files("inference", NAME)
    assert len(files) == 3
    assert sorted(map(str, monitor.log.read("inference", NAME).column("_id").to_pylist())) == sorted(rows)
    assert not [path for path in log.rglob(".*") if path.is_file()], "nothing hidden is left"
    monitor.close()
