"""Reading lists page by page while rows come, go and move."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

from fleet2mqtt.platforms.thingscloud.models import Row
from fleet2mqtt.sdk import vendor_json

MAX_PAGES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page: `count` rows as sent, those of them that are objects, and how many rows and pages there are in all.

    `began` is `time.monotonic()` before it was asked for; `info` is all of the vendor's answer.
    """

    rows: tuple[Row, ...]
    count: int
    total: int | None
    pages: int | None
    requested_at: float
    info: Row


@dataclass(slots=True)
class _Pass:
    """One reading of a list from its start."""

    totals: set[int | None] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    doubled: bool = False

    def add(self, page: Page) -> Page:
        """The page with only those rows that were not on an earlier one."""
        if page.count:
            self.totals.add(page.total)
        return replace(page, rows=tuple(row for row in page.rows if self._new(row)))

    def _new(self, row: Row) -> bool:
        name = vendor_json.text(row.get("id"))
        self.doubled |= name in self.seen
        if name is None or name in self.seen:
            return False
        self.seen.add(name)
        return True

    @property
    def complete(self) -> bool:
        """Whether each row came exactly once, and as many as the vendor said all along."""
        return self.totals == {len(self.seen)} and not self.doubled


@dataclass(slots=True, kw_only=True)
class Listing:
    """A list read once, and once more where rows moved meanwhile.

    `fetch(page)` gives a page, counted from 1. After the last one `complete` says whether `seen` holds the ids of all,
    and `empty` that the vendor counts none, which for a list of everything is more likely a fault than the truth.
    """

    fetch: Callable[[int], Awaitable[Page]]
    complete: bool = False
    empty: bool = False
    seen: set[str] = field(default_factory=set)

    async def pages(self) -> AsyncIterator[Page]:
        """The pages, of each reading a row once. Raises what `fetch` raises."""
        for _ in range(2):
            reading = _Pass()
            for number in range(1, MAX_PAGES):
                page = await self.fetch(number)
                fresh = reading.add(page)
                self.empty = number == 1 and not page.count and page.total == 0
                yield fresh
                if not page.count or _last(number, page, fresh):
                    break
            self.complete, self.seen = reading.complete, reading.seen
            if reading.complete or reading.totals <= {None}:
                return


def _last(number: int, page: Page, fresh: Page) -> bool:
    """Whether nothing comes after a page; where the vendor does not say how many there are, once nothing is new."""
    return not fresh.rows if page.pages is None else number >= page.pages
