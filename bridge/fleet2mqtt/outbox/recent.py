"""The newest events that are not published, in memory, so that they need not be read back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice, takewhile

from fleet2mqtt.outbox.models import AlarmEvent

ROWS = 1_000


class RecentEvents:
    """The newest events that are not published, in memory, so that they need not be read back from disk."""

    def __init__(self) -> None:
        self._events: dict[int, AlarmEvent] = {}
        self._first = 0
        self._next = 0

    def add(self, events: Sequence[AlarmEvent], *, announce_backlog: bool) -> None:
        """Add events that were just written; what is before a gap, and beyond ROWS, is left to the disk."""
        if events[0].seq != self._next:
            self._events.clear()
            self._first = events[0].seq
        self._next = events[-1].seq + 1
        self._events.update((event.seq, event) for event in events if announce_backlog or not event.backlog)
        for seq in tuple(islice(self._events, max(0, len(self._events) - ROWS))):
            del self._events[seq]
            self._first = seq + 1

    def replace(self, events: Iterable[AlarmEvent]) -> None:
        """Replace events that were completed and are not published yet."""
        self._events.update((event.seq, event) for event in events if event.seq in self._events)

    def after(self, seq: int, limit: int) -> list[AlarmEvent] | None:
        """Return the first events after a number; None if the disk may have one before them."""
        if not self._next or seq + 1 < self._first:
            return None
        # From the newest on: those before stay until their acknowledgement is on disk, and are many under load.
        newer = [self._events[number] for number in takewhile(lambda number: number > seq, reversed(self._events))]
        newer.reverse()
        return newer[:limit]

    def reaches(self, seq: int) -> bool:
        """Return True if no event up to a number was added elsewhere since the last one that was added here."""
        return self._next > seq

    def clear(self) -> None:
        """Forget all events: somebody else has published some of them."""
        self._events.clear()
        self._first = self._next

    def drop(self, seqs: Iterable[int]) -> None:
        """Drop events that were published."""
        for seq in seqs:
            self._events.pop(seq, None)
