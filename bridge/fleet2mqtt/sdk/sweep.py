"""Sweeps: polls that ask for many items one after another, where a failing item costs the others nothing.

A sweep skips the item that fails and goes on. The next sweep begins where the last one ended, so that a vendor that is
slow or goes away half-way does not starve the same items each time. It gives up only when several different items and
the primary source fail: then the system is at fault, not an item.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from fleet2mqtt.errors import AuthenticationError, BackendError, RateLimited, Rejected, Unreachable
from fleet2mqtt.sdk.poll_figures import current_figures

ResultT = TypeVar("ResultT")

MISSED_SWEEPS = 3
"""Sweeps in a row that may miss an item before its entities are unavailable."""
DIFFERENT_ITEMS = 3
"""Different items that fail one after another before a sweep looks at the primary source."""


@dataclass(slots=True, kw_only=True)
class Sweep:
    """The state of one source's sweeps, from one to the next. Items are named by vendor ids.

    `primary_fails` is True if the backend's primary source fails (`Context.primary_fails`).
    """

    primary_fails: Callable[[], bool] = field(default=lambda: False)
    missed_sweeps: int = MISSED_SWEEPS
    _last: str | None = None
    _misses: Counter[str] = field(default_factory=Counter)
    _failing: dict[str, BackendError] = field(default_factory=dict)
    _answered: int = 0

    def order(self, items: Iterable[str]) -> list[str]:
        """Begin a sweep: return the items, beginning after the one that the sweep before ended with."""
        self._failing, self._answered = {}, 0
        listed = list(items)
        if figures := current_figures():
            figures.add_listed(listed)
        for gone in self._misses.keys() - set(listed):
            del self._misses[gone]
        if self._last not in listed:
            return listed
        start = listed.index(self._last) + 1
        return listed[start:] + listed[:start]

    async def run(
        self,
        items: Iterable[str],
        read: Callable[[str], Awaitable[ResultT]],
        *,
        concurrency: int = 1,
        first: Callable[[], Iterable[str]] = tuple,
    ) -> AsyncIterator[tuple[str, ResultT | BackendError]]:
        """Ask for one item after another; yield each with what `read` returned, or with the error that was skipped.

        At most `concurrency` items are asked for at once. `first` returns the items that come before the others; it is
        called before each is chosen, so that an item may move forward while the sweep runs. Raises the last
        BackendError when it gives up, and after a sweep in which every item failed.
        """
        waiting = dict.fromkeys(reversed(self.order(items)))
        reading: dict[asyncio.Future[ResultT], tuple[str, bool]] = {}
        try:
            while waiting or reading:
                while waiting and len(reading) < concurrency:
                    chosen = next((item for item in first() if item in waiting), None)
                    item = next(reversed(waiting)) if chosen is None else chosen
                    del waiting[item]
                    reading[asyncio.ensure_future(read(item))] = item, chosen is not None
                done, _ = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
                for each in [each for each in reading if each in done]:
                    item, came_first = reading.pop(each)
                    outcome = self._record(item, each, came_first=came_first)
                    yield item, outcome
        finally:
            for each in reading:
                each.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
        self.close()

    def _record(self, item: str, reading: asyncio.Future[ResultT], *, came_first: bool) -> ResultT | BackendError:
        """Record how the reading of an item ended. The next sweep does not begin after an item that came first."""
        last = self._last
        try:
            result: ResultT | BackendError = reading.result()
            self.record_success(item)
        except BackendError as error:
            self.record_failure(item, error)
            result = error
        if came_first:
            self._last = last
        return result

    def record_success(self, *items: str) -> None:
        """Record that an item was read, or the items of a batch; of an empty one that nothing failed."""
        self._last = items[-1] if items else self._last
        self._answered += 1
        if figures := current_figures():
            figures.add_read(items)
        for item in items:
            self._misses.pop(item, None)
        self._failing.clear()

    def record_failure(self, item: str, error: BackendError, others: Iterable[str] = ()) -> None:
        """Record that an item could not be read, nor the others of its batch, which fails as one.

        Raises `error` when the sweep has to give up.
        """
        self._last = item
        self._misses.update((item, *others))
        self._failing[item] = error
        if len(self._failing) >= DIFFERENT_ITEMS and self._is_system_wide(error) and self.primary_fails():
            raise error

    def record_missing(self, *items: str) -> None:
        """Record that a response left items out: they are missed, but nothing failed."""
        self._misses.update(items)

    def close(self) -> None:
        """End a sweep. Raises the last error if no item was read."""
        if self._failing and not self._answered:
            raise next(reversed(self._failing.values()))

    def is_missed(self, item: str) -> bool:
        """Return True when so many sweeps in a row missed an item that its entities are unavailable."""
        return self._misses[item] >= self.missed_sweeps

    def _is_system_wide(self, error: BackendError) -> bool:
        """Return True for an error that says nothing about the item: the vendor's own refusal of an item does."""
        return isinstance(error, RateLimited | AuthenticationError | Unreachable) or not isinstance(error, Rejected)


async def read_in_halves(
    batch: Sequence[str],
    read: Callable[[Sequence[str]], Awaitable[ResultT]],
    is_batch_error: Callable[[BackendError], bool],
) -> AsyncIterator[tuple[Sequence[str], ResultT | BackendError]]:
    """Ask for a batch; halve a rejected one until the items that it is rejected for are found.

    Yield each part that was read with what `read` returned, and each single item that is refused with its error.
    `is_batch_error` is True if an error may be about one item of the batch. Raises any other BackendError.
    """
    waiting = [batch]
    while waiting:
        part = waiting.pop()
        try:
            result = await read(part)
        except BackendError as error:
            if not is_batch_error(error):
                raise
            if len(part) == 1:
                yield part, error
            else:
                half = len(part) // 2
                waiting += [part[half:], part[:half]]
        else:
            yield part, result
