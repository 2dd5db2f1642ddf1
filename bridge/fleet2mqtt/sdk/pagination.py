"""Pagination: reading lists page by page while items come, go and move."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

MAX_PAGES = 10_000
SINGLE_PAGES = 2
"""Pages that are requested one after the other: they tell how long the list is, and how the vendor counts pages."""

Item = dict[str, Any]


class Position(NamedTuple):
    """The position of a page: items before it, and its number counted from 1."""

    offset: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list.

    `items` are the objects on it, `count` is how many items were sent, objects or not. `total` is how many items the
    vendor says the list has, `pages` how many pages; None where it does not say. `requested_at` is `time.monotonic()`
    before the page was asked for, `response` the vendor's whole response. `keys` identify the items, once a `Listing`
    has read the page.
    """

    items: tuple[Item, ...]
    count: int
    total: int | None
    pages: int | None = None
    requested_at: float
    response: Item = field(default_factory=dict)
    keys: tuple[str, ...] = ()


@dataclass(slots=True)
class _Reading:
    """One reading of a list from its start."""

    key: Callable[[Item], str | None]
    offset: int = 0
    total: int | None = None
    nameless: int = 0
    seen: set[str] = field(default_factory=set)

    def add(self, page: Page) -> Page:
        """Return the page with only those items that were not on an earlier one, and their keys."""
        if page.total is not None:
            self.total = max(page.total, self.total or 0)
        self.offset += page.count
        self.nameless += page.count - len(page.items)
        items: dict[str, Item] = {}
        for item in page.items:
            key = self.key(item)
            if key is None:
                self.nameless += 1
            elif key not in self.seen:
                items.setdefault(key, item)
        self.seen.update(items)
        return replace(page, items=tuple(items.values()), keys=tuple(items))

    @property
    def complete(self) -> bool:
        """True if each item came exactly once, and their number is the total that the vendor reports."""
        return self.total is not None and len(self.seen) == self.offset >= self.total

    def ends_with(self, page: Page, number: int) -> bool:
        """Return True if nothing comes after a page that was added.

        Without a total only a page with nothing new is the last: a server may send fewer items than were asked for.
        """
        if page.count == 0 or (not page.items and page.pages is None):
            return True
        if page.pages is not None:
            return number >= page.pages
        total = self.total if page.total is None else page.total  # which may have shrunk since the first page
        return total is not None and self.offset >= total


@dataclass(slots=True, kw_only=True)
class Listing:
    """A list that is read once, and once more where items moved meanwhile (drift).

    `fetch(position)` returns a page, `key(item)` what identifies an item (None: nothing does). `concurrency()` is the
    number of pages that may be requested at once now; the offset of a page that is requested before the page ahead of
    it came assumes pages of one size. After the last page `complete` is True if `seen` holds the keys of all items;
    `nameless` counts the items without a key; `empty` says that the vendor counts none.
    """

    fetch: Callable[[Position], Awaitable[Page]]
    key: Callable[[Item], str | None]
    again: bool = True
    concurrency: Callable[[], int] = lambda: 1
    complete: bool = False
    empty: bool = False
    nameless: int = 0
    seen: set[str] = field(default_factory=set)

    async def pages(self) -> AsyncIterator[Page]:
        """Yield the pages, each item once in a reading. Raises what `fetch` raises."""
        for _ in range(1 + self.again):
            reading = _Reading(self.key)
            async with aclosing(self._read(reading)) as pages:  # type: ignore[type-var]
                async for page in pages:
                    yield page
            self.complete, self.seen, self.nameless = reading.complete, reading.seen, reading.nameless
            self.empty = reading.total == 0 and not reading.offset
            if reading.complete or reading.total is None:
                return

    async def _read(self, reading: _Reading) -> AsyncIterator[Page]:
        """Yield the pages of one reading in order."""
        requested: deque[asyncio.Future[Page]] = deque()
        last: Page | None = None
        try:
            for number in range(1, MAX_PAGES):
                limit = self.concurrency() if number > SINGLE_PAGES else 1
                size = last.count if last else 0
                for ahead in range(number + len(requested), _last_ahead(reading, last, number, limit) + 1):
                    position = Position(reading.offset + (ahead - number) * size, ahead)
                    requested.append(asyncio.ensure_future(self.fetch(position)))
                last = reading.add(await requested.popleft())
                yield last
                if reading.ends_with(last, number):
                    break
        finally:
            for task in requested:
                task.cancel()
            await asyncio.gather(*requested, return_exceptions=True)

    async def items(self) -> list[Item]:
        """Return the items of the last reading. Raises what `fetch` raises."""
        found: dict[str, Item] = {}
        async for page in self.pages():
            found.update(zip(page.keys, page.items, strict=True))
        return [item for key, item in found.items() if key in self.seen]


def _last_ahead(reading: _Reading, last: Page | None, number: int, limit: int) -> int:
    """Return the number of the last page to request now: at least `number`, and no page after the end of the list."""
    if limit == 1 or last is None or not last.count:
        return number
    rest = last.pages if last.pages is not None else number - 1 - (reading.offset - (reading.total or 0)) // last.count
    return max(number, min(number + limit - 1, rest))
