"""Pagination: totals, page counts, drift, items without a key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.errors import Rejected
from fleet2mqtt.sdk.pagination import Listing, Page, Position
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence


class Vendor:
    """Serves the readings of a list, each a sequence of pages of ids."""

    def __init__(self, *readings: Sequence[Sequence[Any]], total: int | None = None, pages: int | None = None) -> None:
        self.readings = list(readings)
        self.total = total
        self.pages = pages
        self.positions: list[Position] = []

    async def fetch(self, position: Position) -> Page:
        if position.number == 1 and self.positions:
            self.readings.pop(0)
        self.positions.append(position)
        reading = self.readings[0]
        ids = reading[position.number - 1] if position.number <= len(reading) else ()
        items = tuple({"id": id_} for id_ in ids)
        return Page(items=items, count=len(ids), total=self.total, pages=self.pages, requested_at=0.0)

    def listing(self, **options: Any) -> Listing:
        return Listing(fetch=self.fetch, key=lambda item: item["id"], **options)


async def test_listing_total_reached_is_complete() -> None:
    vendor = Vendor([("a", "b"), ("c",)], total=3)
    listing = vendor.listing()
    assert [item["id"] for item in await listing.items()] == ["a", "b", "c"]
    assert listing.complete
    assert listing.seen == {"a", "b", "c"}
    assert vendor.positions == [Position(0, 1), Position(2, 2)]


async def test_listing_drift_is_read_once_more() -> None:
    listing = Vendor([("a", "b"), ("b",)], [("a", "b"), ("c",)], total=3).listing()
    assert [item["id"] for item in await listing.items()] == ["a", "b", "c"]
    assert listing.complete


async def test_listing_drift_twice_is_incomplete() -> None:
    listing = Vendor([("a", "b"), ("b",)], [("a", "b"), ("a",)], total=3).listing()
    assert len(await listing.items()) == 2
    assert not listing.complete


async def test_listing_without_total_reads_until_nothing_is_new() -> None:
    vendor = Vendor([("a", "b"), ("c",), ()])
    listing = vendor.listing()
    assert len(await listing.items()) == 3
    assert not listing.complete
    assert len(vendor.positions) == 3


async def test_pages_after_the_second_are_requested_at_once_but_none_after_the_end() -> None:
    vendor = Vendor([("a", "b"), ("c", "d"), ("e", "f"), ("g", "h"), ("i",)], total=9)
    running, most = 0, 0
    together = asyncio.Event()

    async def fetch(position: Position) -> Page:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            together.set()
        if position.number > 2:
            await asyncio.wait_for(together.wait(), PATIENCE)
        running -= 1
        return await vendor.fetch(position)

    listing = Listing(fetch=fetch, key=lambda item: item["id"], concurrency=lambda: 3)
    assert "".join([item["id"] for item in await listing.items()]) == "abcdefghi"
    assert listing.complete
    assert (most, vendor.positions) == (3, [Position(2 * number, number + 1) for number in range(5)])


async def test_pages_that_are_requested_end_with_the_reading_that_fails() -> None:
    vendor = Vendor([(letter,) for letter in "abcdefghi"], total=9)
    ended = list[int]()

    async def fetch(position: Position) -> Page:
        if position.number == 3:
            raise Rejected("no")
        try:
            if position.number > 3:
                await asyncio.Event().wait()
        finally:
            ended.append(position.number)
        return await vendor.fetch(position)

    listing = Listing(fetch=fetch, key=str, concurrency=lambda: 3)
    with pytest.raises(Rejected):
        await listing.items()
    assert ended == [1, 2, 4, 5]


async def test_listing_page_count_ends_it() -> None:
    vendor = Vendor([("a",), ("b",), ("c",)], total=2, pages=2)
    listing = vendor.listing()
    assert len(await listing.items()) == 2
    assert listing.complete


async def test_listing_item_without_key_leaves_it_incomplete() -> None:
    listing = Vendor([("a", None)], total=2).listing(again=False)
    assert [item["id"] for item in await listing.items()] == ["a"]
    assert not listing.complete
    assert listing.nameless == 1


async def test_listing_total_of_zero_is_empty() -> None:
    listing = Vendor([()], total=0).listing()
    assert await listing.items() == []
    assert listing.complete
    assert listing.empty
