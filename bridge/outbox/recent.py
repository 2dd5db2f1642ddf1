"""The newest events as they were just written, so that publishing them need not read them back from disk."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.outbox.records import Event

ROWS = 1_000


class Recent:
    """All events from one number on that are not published."""

    def __init__(self) -> None:
        self._events: dict[int, Event] = {}
        self._first = 0
        self._next = 0

    def add(self, events: Sequence[Event]) -> None:
        """Take in events just written; what is before a gap, and beyond ROWS, is left to the disk."""
        if events[0].seq != self._next:
            self._events.clear()
            self._first = events[0].seq
        self._next = events[-1].seq + 1
        self._events.update((event.seq, event) for event in events)
        for seq in tuple(islice(self._events, max(0, len(self._events) - ROWS))):
            del self._events[seq]
            self._first = seq + 1

    def after(self, seq: int, limit: int) -> list[Event] | None:
        """The first events after this number; None where the disk may know of one before them."""
        if not self._next or seq + 1 < self._first:
            return None
        return list(islice((event for number, event in self._events.items() if number > seq), limit))

    def drop(self, seqs: Iterable[int]) -> None:
        """These have been published."""
        for seq in seqs:
            self._events.pop(seq, None)
