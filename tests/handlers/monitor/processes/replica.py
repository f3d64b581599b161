"""One monitor replica, to be killed: it takes in the events of its share from a number on, and says when each is safe.

python replica.py STORE LOG FIRST LAST STEP OFFSET
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from tests.handlers.monitor.world import NOON, World

from trimtab.handlers.monitor import work
from trimtab.handlers.monitor.settings import Settings
from trimtab.handlers.monitor.stores import open_store

work.LEASE = 0.2

SETTINGS = Settings(window_rows=100, flush_rows=30, flush_seconds=0.1, lateness=3600.0, keep_windows=1000)


def main() -> None:
    url, folder, first, last, step, offset = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:7])
    world = World(lambda limits: open_store(url, limits), folder)
    monitor = world.monitor(window_rows=100, flush_rows=30, flush_seconds=0.1, lateness=3600.0, keep_windows=1000)
    world.now = NOON + 60
    ended = threading.Event()

    def tick() -> None:
        while not ended.is_set():
            world.now += 0.01
            monitor.tick()
            time.sleep(0.002)
        world.now += 1.0
        monitor.tick(flush=True)
        monitor.compact()

    thread = threading.Thread(target=tick)
    thread.start()
    for number in range(first, last):
        if number % step == offset:
            ids = [f"{number}-{row}" for row in range(3)]
            x = [float(number), 0.5, -0.5]
            monitor.accept(world.event(x=x, ids=ids, id=f"inference-{number}", at=NOON + 3600 * (number % 3) - 7200))
            monitor.accept(world.label(ids, [1, 1, 0], id=f"label-{number}"))
            print(number, flush=True)
    ended.set()
    thread.join()
    monitor.close()
    print("end", flush=True)


if __name__ == "__main__":
    main()
