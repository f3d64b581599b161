"""Events on disk: nothing that was written whole is lost, whoever dies when."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from trimtab.events import Envelope
from trimtab.runtime.spool import Segment, Spool, leftovers

MOST = 1 << 30


def event(number: int, size: int = 10) -> Envelope:
    return Envelope({"specversion": "1.0", "id": str(number), "source": "/s", "type": "t"}, b"x" * size)


def ids(taken: list[tuple[Envelope, Segment]]) -> list[int]:
    return [int(envelope.id) for envelope, _ in taken]


def drain(spool: Spool) -> list[int]:
    """Take and settle everything."""
    found: list[int] = []
    while taken := spool.take(7, MOST):
        found += ids(taken)
        for _, segment in taken:
            spool.settle(segment)
    return found


def abandon(spool: Spool) -> None:
    """Be a process that was killed: the kernel closes its files and gives up its lock."""
    for descriptor in (spool._file, spool._lock):
        if descriptor >= 0:
            os.close(descriptor)


def segments(root: Path) -> list[Path]:
    return sorted(root.glob("*/*.seg"))


def test_events_come_back_in_order_and_the_disk_is_empty_after(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", segment=500)
    assert spool.append([event(n) for n in range(20)]) == 20
    assert spool.count == 20
    assert len(segments(tmp_path / "spool")) > 1
    assert drain(spool) == list(range(20))
    assert (spool.count, spool.size, spool.waiting) == (0, 0, False)
    assert segments(tmp_path / "spool") == []
    spool.close()
    assert list((tmp_path / "spool").iterdir()) == [tmp_path / "spool" / "lock"]


def test_nothing_is_made_before_the_first_event(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    assert spool.adopt() == 0
    assert spool.take(1, MOST) == []
    spool.close()
    assert not (tmp_path / "spool").exists()


def test_files_are_private(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.append([event(1)])
    for path in (tmp_path / "spool").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    spool.close()


def test_the_limit_bounds_the_bytes_on_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit=1000, segment=300)
    written = spool.append([event(n) for n in range(100)])
    assert 0 < written < 100
    assert sum(path.stat().st_size for path in segments(tmp_path)) == spool.size <= 1000
    assert drain(spool) == list(range(written))
    assert spool.append([event(1)]) == 1
    spool.close()


def test_take_minds_the_bytes(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([event(n, 1000) for n in range(10)])
    assert ids(spool.take(100, 2500)) == [0, 1, 2]
    assert ids(spool.take(100, 1)) == [3]
    spool.close()


def test_the_next_process_adopts_what_a_dead_one_left(tmp_path: Path) -> None:
    dead = Spool(tmp_path, segment=200)
    dead.append([event(n) for n in range(10)])
    abandon(dead)
    assert leftovers(tmp_path)
    spool = Spool(tmp_path)
    spool.append([event(10)])
    assert spool.adopt() == 10
    assert spool.count == 11
    assert drain(spool) == list(range(11))
    spool.close()
    assert not leftovers(tmp_path)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_what_a_living_process_has_is_left_alone(tmp_path: Path) -> None:
    living, other = Spool(tmp_path), Spool(tmp_path)
    living.append([event(1)])
    other.append([event(2)])
    assert other.adopt() == 0
    assert drain(other) == [2]
    assert drain(living) == [1]
    living.close()
    other.close()


def test_closing_keeps_what_is_unsettled_and_forgets_what_is_settled(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([event(n) for n in range(10)])
    for _, segment in spool.take(4, MOST):
        spool.settle(segment)
    spool.close()
    again = Spool(tmp_path)
    assert again.adopt() == 6
    assert drain(again) == [4, 5, 6, 7, 8, 9]
    again.close()


def test_what_was_taken_and_never_settled_comes_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([event(n) for n in range(3)])
    spool.take(3, MOST)
    spool.close()
    again = Spool(tmp_path)
    again.adopt()
    assert drain(again) == [0, 1, 2]
    again.close()


@settings(deadline=None, max_examples=60)
@given(cut=st.integers(0, 10**6), flip=st.booleans())
def test_a_torn_or_damaged_file_gives_its_whole_events_up_to_there(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: bool
) -> None:
    root = tmp_path_factory.mktemp("spool")
    dead = Spool(root)
    dead.append([event(n) for n in range(10)])
    abandon(dead)
    path = segments(root)[0]
    content = bytearray(path.read_bytes())
    frame = len(content) // 10
    cut %= len(content)
    if flip:
        content[cut] ^= 0xFF
    else:
        del content[cut:]
    path.write_bytes(content)
    spool = Spool(root)
    whole = cut // frame
    assert spool.adopt() == whole
    assert drain(spool) == list(range(whole))
    spool.close()


def test_a_file_damaged_under_our_hands_costs_its_events_and_no_more(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment=200)
    spool.append([event(n) for n in range(6)])
    first = segments(tmp_path)[0]
    lost = Segment.recover(first).count
    first.write_bytes(b"rubbish")
    spool.take(1, MOST)
    assert drain(spool) == list(range(lost, 6))
    assert (spool.count, spool.size) == (0, 0)
    spool.close()


def test_a_full_disk_is_said_and_leaves_whole_events_behind(tmp_path: Path) -> None:
    """A limit on the size of files makes a write fall short, as a full disk does."""
    code = """
import sys, resource, signal
from pathlib import Path
from trimtab.events import Envelope
from trimtab.runtime.spool import Spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
spool = Spool(Path(sys.argv[1]))
events = [Envelope({"specversion": "1.0", "id": str(n), "source": "/s", "type": "t"}, b"x" * 70) for n in range(20)]
first = spool.append(events)
second = spool.append(events[first:])
assert first and second, (first, second)
taken = []
while found := spool.take(100, 1 << 30):
    taken += [int(e.id) for e, _ in found]
    for _, segment in found: spool.settle(segment)
assert taken == list(range(first + second)), taken
spool.close()
print("well")
"""
    out = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert out.stdout == "well\n", out.stderr


def test_processes_do_not_adopt_at_the_same_time(tmp_path: Path) -> None:
    dead = Spool(tmp_path, segment=100)
    dead.append([event(n) for n in range(50)])
    abandon(dead)
    code = """
import sys
from pathlib import Path
from trimtab.runtime.spool import Spool
sys.stdin.read()
spool = Spool(Path(sys.argv[1]))
spool.adopt()
while found := spool.take(100, 1 << 30):
    for event, segment in found:
        print(event.id)
        spool.settle(segment)
spool.close()
"""
    others = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for other in others:
        assert other.stdin
        other.stdin.close()
        other.stdin = None
    found = [line for other in others for line in other.communicate()[0].split()]
    assert sorted(found, key=int) == [str(n) for n in range(50)]
    assert not leftovers(tmp_path)


class AtLeastOnce(RuleBasedStateMachine):
    """Whatever is appended, taken, settled, closed or killed in whatever order: nothing unsettled is ever lost."""

    root: Path

    def __init__(self) -> None:
        super().__init__()
        self.home = tempfile.TemporaryDirectory(dir=self.root)
        self.spool = Spool(Path(self.home.name), segment=300)
        self.next = 0
        self.owed: set[int] = set()
        self.taken: list[tuple[int, Segment]] = []
        self.seen: Counter[int] = Counter()

    @rule(count=st.integers(1, 10))
    def append(self, count: int) -> None:
        assert self.spool.append([event(self.next + n) for n in range(count)]) == count
        self.owed |= set(range(self.next, self.next + count))
        self.next += count

    @rule(count=st.integers(1, 10))
    def take(self, count: int) -> None:
        for envelope, segment in self.spool.take(count, MOST):
            self.taken.append((int(envelope.id), segment))

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        if self.taken:
            number, segment = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
            self.spool.settle(segment)
            self.owed.discard(number)

    @rule(killed=st.booleans())
    def restart(self, killed: bool) -> None:
        if killed:
            abandon(self.spool)
        else:
            self.spool.close()
        self.taken = []
        self.spool = Spool(Path(self.home.name), segment=300)
        self.spool.adopt()

    @invariant()
    def counted(self) -> None:
        assert self.spool.count >= len(self.owed)

    def teardown(self) -> None:
        self.restart(killed=True)
        assert self.owed <= set(drain(self.spool))
        self.spool.close()
        self.home.cleanup()


def test_at_least_once_in_any_order_of_things(tmp_path: Path) -> None:
    AtLeastOnce.root = tmp_path
    run_state_machine_as_test(AtLeastOnce, settings=settings(deadline=None, max_examples=40, stateful_step_count=30))


def test_the_lock_is_the_kernels(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([event(1)])
    assert spool._folder
    with (spool._folder / "lock").open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    spool.close()
