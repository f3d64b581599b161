"""Which offset may be committed, when messages of a partition are done with in another order than they came."""

from __future__ import annotations

from collections import deque


class Offsets:
    """One partition. `commit` is the offset before which everything is done; None while nothing is."""

    def __init__(self) -> None:
        self.commit: int | None = None
        self._given: deque[int] = deque()
        self._done: set[int] = set()

    @property
    def open(self) -> int:
        """How many were given and are not done."""
        return len(self._given) - len(self._done)

    def give(self, offset: int) -> None:
        """A message was lent; offsets rise, with gaps where the log was compacted."""
        self._given.append(offset)

    def finish(self, offset: int) -> bool:
        """A message is done with. Says whether there is more to commit than before."""
        self._done.add(offset)
        before = self.commit
        while self._given and self._given[0] in self._done:
            first = self._given.popleft()
            self._done.discard(first)
            self.commit = first + 1
        return self.commit != before
