"""The newest events in memory, so that those who publish and notify them need not read them back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice

from fleet2mqtt.outbox.models import AlarmEvent

ROWS = 1_000
READ_ROWS = 128
"""Events that are kept once they were read, for other readers."""


class RecentEvents:
    """The newest events that are not published, and those that readers of the history have not read, in memory.

    `history_rows` is how many of the latter are kept at most. What is kept without need is cold when its memory is used
    again, which shows in the time of every push.
    """

    def __init__(self, history_rows: int = 0) -> None:
        self._events: dict[int, AlarmEvent] = {}
        self._history: deque[AlarmEvent] = deque(maxlen=min(history_rows, ROWS))
        """Events with consecutive numbers, once there was a reader."""
        self._has_reader = False
        self._first = 0
        self._next = 0

    def add(self, events: Sequence[AlarmEvent], *, announce_backlog: bool) -> None:
        """Add events that were just written; what is before a gap, and beyond ROWS, is left to the disk."""
        if events[0].seq != self._next:
            self._events.clear()
            self._history.clear()
            self._first = events[0].seq
        self._next = events[-1].seq + 1
        if self._has_reader:
            self._history.extend(events)
        for event in events:
            if announce_backlog or not event.backlog:
                self._events[event.seq] = event
        for seq in tuple(islice(self._events, max(0, len(self._events) - ROWS))):
            del self._events[seq]
            self._first = seq + 1

    def replace(self, events: Iterable[AlarmEvent]) -> None:
        """Replace events that were completed."""
        for event in events:
            if event.seq in self._events:
                self._events[event.seq] = event
            if self._history and 0 <= (place := event.seq - self._history[0].seq) < len(self._history):
                self._history[place] = event

    def after(self, seq: int, limit: int) -> list[AlarmEvent] | None:
        """Return the first events after a number; None if the disk may have one before them."""
        if not self._next or seq + 1 < self._first:
            return None
        # From the newest on: those before stay until their acknowledgement is on disk, and are many under load.
        newer: list[AlarmEvent] = []
        for number, event in reversed(self._events.items()):
            if number <= seq:
                break
            newer.append(event)
        newer.reverse()
        return newer[:limit]

    def history(self, after: int, limit: int) -> list[AlarmEvent]:
        """Return the first events after a number, published or not; none if the disk may have one before them.

        Those up to READ_ROWS before that number are no longer kept: who has read them goes on from there.
        """
        self._has_reader = True
        while self._history and self._history[0].seq <= after - READ_ROWS:
            self._history.popleft()
        if not self._history or not 0 <= (start := after + 1 - self._history[0].seq) < len(self._history):
            return []
        return list(islice(self._history, start, start + limit))

    def reaches(self, seq: int) -> bool:
        """Return True if no event up to a number was added elsewhere since the last one that was added here."""
        return self._next > seq

    def clear(self) -> None:
        """Forget all events: somebody else has published some of them."""
        self._events.clear()
        self._history.clear()
        self._first = self._next

    def drop(self, seqs: Iterable[int]) -> None:
        """Drop events that were published."""
        for seq in seqs:
            self._events.pop(seq, None)
