"""Reading lists page by page while rows come, go and move."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

Row = dict[str, Any]

MAX_PAGES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page: `count` rows as sent, those of them that are objects, and `total`, how many the vendor says it has.

    `began` is `time.monotonic()` before it was asked for; `reply` is all of the vendor's answer. `keys` tells the rows
    apart, once a Listing has read them.
    """

    rows: tuple[Row, ...]
    count: int
    total: int | None
    requested_at: float
    reply: Row
    keys: tuple[str, ...] = ()

    @property
    def meta(self) -> Row:
        """The vendor's `meta`, {} where there is none."""
        meta = self.reply.get("meta")
        return meta if isinstance(meta, dict) else {}

    def last(self, offset: int, limit: int) -> bool:
        """Whether nothing comes after it, `offset` being the rows read with it."""
        if self.count == 0:
            return True
        return self.count < limit if self.total is None else offset >= self.total


@dataclass(slots=True)
class _Pass:
    """One reading of a list from its start."""

    key: Callable[[Row], str | None]
    offset: int = 0
    total: int | None = None
    nameless: int = 0
    seen: set[str] = field(default_factory=set)

    def add(self, page: Page) -> Page:
        """The page with only those rows that were not on an earlier one, and their keys."""
        if page.total is not None:
            self.total = max(page.total, self.total or 0)
        self.offset += page.count
        self.nameless += page.count - len(page.rows)
        rows: dict[str, Row] = {}
        for row in page.rows:
            name = self.key(row)
            if name is None:
                self.nameless += 1
            elif name not in self.seen:
                rows.setdefault(name, row)
        self.seen.update(rows)
        return replace(page, rows=tuple(rows.values()), keys=tuple(rows))

    @property
    def complete(self) -> bool:
        """Whether each row came exactly once, and as many as the vendor says there are."""
        return self.total is not None and len(self.seen) == self.offset >= self.total


@dataclass(slots=True, kw_only=True)
class Listing:
    """A list read once, and once more where rows moved meanwhile.

    `fetch(offset, limit)` gives a page, `key(row)` what tells a row from others (None: nothing does). After the last
    page `complete` says whether `seen` holds the keys of all rows; `nameless` counts those without one.
    """

    fetch: Callable[[int, int], Awaitable[Page]]
    key: Callable[[Row], str | None]
    limit: int
    again: bool = True
    complete: bool = False
    nameless: int = 0
    seen: set[str] = field(default_factory=set)

    async def pages(self) -> AsyncIterator[Page]:
        """The pages, of each reading a row once. Raises what `fetch` raises."""
        for _ in range(1 + self.again):
            reading = _Pass(self.key)
            for _ in range(MAX_PAGES):
                page = reading.add(await self.fetch(reading.offset, self.limit))
                yield page
                # Without a total only a page with nothing new is the last: the server may send fewer than asked for.
                if not page.rows or (page.total is not None and page.last(reading.offset, self.limit)):
                    break
            self.complete, self.seen, self.nameless = reading.complete, reading.seen, reading.nameless
            if reading.complete or reading.total is None:
                return

    async def rows(self) -> list[Row]:
        """The rows of the last reading. Raises what `fetch` raises."""
        found: dict[str, Row] = {}
        async for page in self.pages():
            found.update(zip(page.keys, page.rows, strict=True))
        return [row for name, row in found.items() if name in self.seen]
