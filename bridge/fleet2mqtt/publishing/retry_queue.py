"""The queue of messages that the broker refused for now: sent again after a back-off, a limited number at once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from fleet2mqtt.sdk.backoff import Backoff

T = TypeVar("T", bound=Hashable)

FIRST_DELAY = 2.0
LONGEST_DELAY = 300.0
"""Seconds between a refusal and the next attempt; the delay doubles with each refusal of the same message."""
BATCH = 50
BATCH_INTERVAL = 1.0
"""At most BATCH messages are due within BATCH_INTERVAL seconds: they may have been refused for being too many."""


class RetryQueue(Generic[T]):
    """A queue of what is to be published again; times are those of the event loop, in seconds."""

    def __init__(self) -> None:
        self._due: dict[T, float] = {}
        self._backoffs: dict[T, Backoff] = {}
        self._next_batch = 0.0

    def __bool__(self) -> bool:
        """Return True if any message was refused and not accepted since."""
        return bool(self._backoffs)

    def add(self, item: T, now: float, retry_after: float) -> int:
        """Append an item, due after its back-off and not before `retry_after`; return how often it was refused."""
        backoff = self._backoffs.setdefault(item, Backoff(first=FIRST_DELAY, longest=LONGEST_DELAY))
        self._due[item] = now + max(backoff.record_failure(), retry_after)
        return backoff.failures

    def dequeue(self, now: float) -> list[T]:
        """Return the items that are due, the first BATCH of them."""
        if now < self._next_batch:
            return []
        due = sorted((item for item, at in self._due.items() if at <= now), key=self._due.__getitem__)[:BATCH]
        for item in due:
            del self._due[item]
        if due:
            self._next_batch = now + BATCH_INTERVAL
        return due

    def next_due(self) -> float | None:
        """Return when the next items are due, None without any."""
        return max(min(self._due.values()), self._next_batch) if self._due else None

    def forget(self, item: T) -> None:
        """Remove an item: it was accepted, or is not to be published any more."""
        self._due.pop(item, None)
        self._backoffs.pop(item, None)

    def clear(self) -> None:
        """Remove all items: everything is published again anyway."""
        self._due.clear()
        self._backoffs.clear()
