"""Alarm history of one gateway, the UMS document 3.3, read page by page from the end at which new alarms appear.

The document does not say how a history is ordered. The order is detected from the times on its first page, and a
history that is listed oldest first is read from its last page, so that a new alarm costs few calls in either order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.platforms.ums.alarms import AlarmRecord

_MOSTLY = 4
"""A list is ordered if so many times more neighbours are in order than not: single alarms may be back-dated."""


class Order(StrEnum):
    """Order of a history by time."""

    NEWEST_FIRST = "newest_first"
    OLDEST_FIRST = "oldest_first"
    UNORDERED = "unordered"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """Alarms from an offset on; `count` items were sent, `total` is the vendor's count of all, None if it has none."""

    records: tuple[AlarmRecord, ...]
    count: int
    total: int | None


Fetch = Callable[[int, int], Awaitable[HistoryPage]]


@dataclass(slots=True, kw_only=True)
class History:
    """A history that is read from its new end until `read_page` has nothing more, or the caller has enough.

    `fetch(offset, limit)` returns a page. `records` are the alarms read so far by id, the new end first. `total` is how
    many there are, as far as it is known; `is_complete` is True if all of them were read.
    """

    fetch: Fetch
    limit: int
    order: Order | None = None
    """Detected order; None until two alarms with different times were read."""
    records: dict[str, AlarmRecord] = field(default_factory=dict)
    total: int | None = None
    is_complete: bool = False
    _start: int | None = None
    """Offset of the page read last when reading from the last page to the first; None in the other direction."""
    _end: int = 0
    """Items read, counted from the first, when reading from the first page to the last."""
    _first: HistoryPage | None = None
    """The first page, read to detect the order; it comes last."""
    _begun: bool = False

    async def read_page(self, expected_total: int | None = None) -> tuple[AlarmRecord, ...] | None:
        """Read on; return the alarms of one more page, the new end first, or None where there are no more.

        With a known order, oldest first, and `expected_total` the first page to be read is the last one of so many.
        Raises BackendError; InvalidResponse for pages that repeat without end.
        """
        if self.is_complete:
            return None
        if not self._begun:
            self._begun = True
            return await self._begin(expected_total)
        if self._start is not None:
            return await self._read_backward()
        return await self._read_forward()

    async def _begin(self, expected_total: int | None) -> tuple[AlarmRecord, ...]:
        if self.order is Order.OLDEST_FIRST and expected_total:
            records = await self._read_tail(max(expected_total - self.limit, 0))
            if records and _detect(records[::-1]) in {None, Order.OLDEST_FIRST}:
                return self._add(records)
            self.order, self._start = None, None
        page = await self._fetch(0, self.limit)
        self.order = _detect(page.records)
        self._end = page.count
        self.is_complete = _is_last(page, page.count)
        if self.order is not Order.OLDEST_FIRST:
            return self._add(page.records)
        if self.is_complete:
            return self._add(page.records[::-1])
        if page.total is None:  # where the end is can only be found out by reading up to there
            return self._add(await self._read_all(page))
        self._first = page
        return self._add(await self._read_tail(max(page.total - self.limit, page.count)))

    async def _read_forward(self) -> tuple[AlarmRecord, ...]:
        page = await self._fetch(self._end, self.limit)
        self._end += page.count
        has_new = any(record.id not in self.records for record in page.records)
        if not has_new and page.total is not None and self._end < page.total:
            raise InvalidResponse(
                "alarm_history: the pages repeat without end", endpoint="alarm_history", code="endless"
            )
        self.is_complete = not has_new or _is_last(page, self._end)
        if self.order is None:
            self.order = _detect([*self.records.values(), *page.records])
            if self.order is Order.OLDEST_FIRST:  # found out too late: what was read is the old end
                old = [*self.records.values(), *page.records]
                self.records.clear()
                self.is_complete = True
                return self._add((*await self._read_range(self._end, None), *old[::-1]))
        return self._add(page.records)

    async def _read_backward(self) -> tuple[AlarmRecord, ...]:
        start, first = self._start or 0, 0 if self._first is None else self._first.count
        if start <= first:
            self.is_complete = True
            return self._add(self._first.records[::-1] if self._first else ())
        self._start = max(start - self.limit, first)
        return self._add(await self._read_range(self._start, start))

    async def _read_tail(self, start: int) -> tuple[AlarmRecord, ...]:
        """Return the alarms from an offset to the end, the new end first."""
        self._start = start
        self.is_complete = start == 0
        return await self._read_range(start, None)

    async def _read_range(self, start: int, end: int | None) -> tuple[AlarmRecord, ...]:
        """Return the alarms from an offset up to another one or the end, the new end first: pages may be short."""
        found: dict[str, AlarmRecord] = {}
        while end is None or start < end:
            page = await self._fetch(start, self.limit if end is None else end - start)
            start += page.count
            known = len(found)
            found |= {record.id: record for record in page.records}
            if page.count == 0 or len(found) == known or (end is None and _is_last(page, start)):
                break
        if end is None and self.total is None:
            self.total = start
        return tuple(reversed(found.values()))

    async def _read_all(self, page: HistoryPage) -> tuple[AlarmRecord, ...]:
        self.is_complete = True
        return (*await self._read_range(page.count, None), *page.records[::-1])

    async def _fetch(self, offset: int, limit: int) -> HistoryPage:
        page = await self.fetch(offset, limit)
        if page.total is not None:
            self.total = page.total
        return page

    def _add(self, records: Iterable[AlarmRecord]) -> tuple[AlarmRecord, ...]:
        added = tuple(records)
        for record in added:
            self.records.setdefault(record.id, record)
        if self.is_complete and self.total is None:
            self.total = len(self.records)
        return added


def _is_last(page: HistoryPage, offset: int) -> bool:
    """Return True if nothing comes after a page, `offset` being the number of items read with it.

    Without a total only a page without items is the last: a server may send fewer than were requested.
    """
    return page.count == 0 or (page.total is not None and offset >= page.total)


def _detect(records: Iterable[AlarmRecord]) -> Order | None:
    times = [record.at for record in records if record.at is not None]
    later = sum(second > first for first, second in pairwise(times))
    earlier = sum(second < first for first, second in pairwise(times))
    if later == earlier == 0:
        return None
    if earlier >= _MOSTLY * later:
        return Order.NEWEST_FIRST
    return Order.OLDEST_FIRST if later >= _MOSTLY * earlier else Order.UNORDERED
