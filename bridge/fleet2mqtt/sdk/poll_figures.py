"""Figures of a source's polls: items, calls, duration, and the age of the item that was read longest ago."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class PollFigures:
    """Figures of the last complete poll of one source, and of the one that runs.

    Without a sweep a poll reads all items at once: then `items` are the devices and alarms that it reported, as old as
    the poll. With one they are the items of the sweep; one that was never read is as old as its first place in a list.
    """

    items: int | None = None
    calls: int | None = None
    duration: float | None = None
    clock: Callable[[], float] = time.monotonic
    _started: float | None = None
    _read_at: dict[str, float] = field(default_factory=dict)
    _listed: set[str] | None = None
    _calls: int = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the calls and the swept items of a poll that is made inside; `complete` ends it."""
        self._calls, self._listed, self._started = 0, None, self.clock()
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def complete(self, reported: int) -> None:
        """Record that a poll succeeded, which reported so many devices and alarms."""
        started = self.clock() if self._started is None else self._started
        self.calls, self.duration = self._calls, self.clock() - started
        if self._listed is None:
            self.items, self._read_at = reported, {"": started}
        else:
            self.items = len(self._listed)
            self._read_at = {item: at for item, at in self._read_at.items() if item in self._listed}

    @property
    def oldest_age(self) -> float | None:
        """Seconds since the item was read that was read longest ago; None before a poll, and for a sweep of nothing."""
        return self.clock() - min(self._read_at.values()) if self._read_at else None

    def add_call(self) -> None:
        """Count a call."""
        self._calls += 1

    def add_listed(self, items: Iterable[str]) -> None:
        """Add the items that a sweep begins with."""
        if self._listed is None:
            self._listed = set()
        now = self.clock()
        for item in items:
            self._listed.add(item)
            self._read_at.setdefault(item, now)

    def add_read(self, items: Iterable[str]) -> None:
        """Record that these items were read now."""
        self._read_at.update(dict.fromkeys(items, self.clock()))


_current: ContextVar[PollFigures | None] = ContextVar("poll_figures", default=None)


def current_figures() -> PollFigures | None:
    """Return the figures of the poll that is being made, None outside of one."""
    return _current.get()
