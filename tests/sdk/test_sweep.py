"""Sweeps: items that fail are skipped, the next sweep resumes, and a rejected batch is halved."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.errors import Ambiguous, BackendError, RateLimited, Rejected
from fleet2mqtt.sdk.sweep import MISSED_SWEEPS, Sweep, read_in_halves
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

ITEMS = tuple("abcdefgh")


def failing(*items: str, error: type[BackendError] = Ambiguous) -> Callable[[str], Awaitable[str]]:
    async def read(item: str) -> str:
        if item in items:
            raise error(f"{item} fails", code="timeout")
        return item.upper()

    return read


async def swept(sweep: Sweep, *items: str, error: type[BackendError] = Ambiguous) -> dict[str, str | BackendError]:
    read = failing(*items, error=error)
    return {item: result async for item, result in sweep.run(ITEMS, read)}


async def test_sweep_three_neighbours_hang_others_are_read() -> None:
    result = await swept(Sweep(), "c", "d", "e")
    assert {item for item, value in result.items() if value == item.upper()} == set("abfgh")


@pytest.mark.parametrize("error", [RateLimited, Ambiguous])
async def test_sweep_one_item_fails_others_are_read(error: type[BackendError]) -> None:
    result = await swept(Sweep(), "a", error=error)
    assert len(result) == len(ITEMS)
    assert isinstance(result["a"], error)


async def test_sweep_several_items_and_the_primary_source_fail_gives_up() -> None:
    sweep = Sweep(primary_fails=lambda: True)
    with pytest.raises(Ambiguous):
        await swept(sweep, "b", "c", "d", "e")
    assert sweep.order(ITEMS)[0] == "e"


async def test_sweep_primary_source_fails_vendor_refuses_items_goes_on() -> None:
    sweep = Sweep(primary_fails=lambda: True)
    assert len(await swept(sweep, "a", "b", "c", "d", error=Rejected)) == len(ITEMS)


async def test_sweep_every_item_fails_raises() -> None:
    with pytest.raises(Ambiguous):
        await swept(Sweep(), *ITEMS)


async def test_sweep_gave_up_next_one_resumes_after_the_last_item() -> None:
    sweep = Sweep(primary_fails=lambda: True)
    with pytest.raises(Ambiguous):
        await swept(sweep, "b", "c", "d")
    assert "".join(sweep.order(ITEMS)) == "efghabcd"


async def test_sweep_item_missed_often_counts_as_missed_until_it_is_read() -> None:
    sweep = Sweep()
    for _ in range(MISSED_SWEEPS):
        assert not sweep.is_missed("c")
        await swept(sweep, "c")
    assert sweep.is_missed("c")
    await swept(sweep)
    assert not sweep.is_missed("c")


async def test_sweep_item_no_longer_listed_is_forgotten() -> None:
    sweep = Sweep(missed_sweeps=1)
    await swept(sweep, "h")
    assert sweep.is_missed("h")
    sweep.order(ITEMS[:-1])
    assert not sweep.is_missed("h")


def refused(*items: str) -> Callable[[Sequence[str]], Awaitable[str]]:
    async def read(part: Sequence[str]) -> str:
        if set(items) & set(part):
            raise Rejected("one of them is offline", code=7006)
        return "".join(part)

    return read


async def test_batch_one_item_refused_all_others_are_read() -> None:
    parts = {
        "".join(part): result
        async for part, result in read_in_halves(ITEMS, refused("c"), lambda error: error.code == 7006)
    }
    assert {item for item, result in parts.items() if isinstance(result, str)} == {"ab", "d", "efgh"}
    assert isinstance(parts["c"], Rejected)


async def test_batch_other_error_is_raised() -> None:
    with pytest.raises(Rejected):
        async for _ in read_in_halves(ITEMS, refused("c"), lambda _: False):
            pass


async def test_sweep_batch_fails_as_one_item_and_misses_all() -> None:
    """Faults 2.1, 2.3: a batch is one failure, whatever its size, and each of its items is missed."""
    sweep = Sweep(primary_fails=lambda: True)
    for _ in range(MISSED_SWEEPS):
        sweep.order(ITEMS)
        sweep.record_failure("d", Ambiguous("no response", code="timeout"), ("a", "b", "c"))
        sweep.record_success(*"efgh")
        sweep.close()
    assert {item for item in ITEMS if sweep.is_missed(item)} == set("abcd")
    sweep.record_success(*"abcd")
    assert not any(map(sweep.is_missed, ITEMS))


async def test_sweep_items_left_out_are_missed_without_an_error() -> None:
    """Faults 2.3."""
    sweep = Sweep()
    for _ in range(MISSED_SWEEPS):
        sweep.order(ITEMS)
        sweep.record_success(*"abc")
        sweep.record_missing("d")
        sweep.close()
    assert [sweep.is_missed(item) for item in "abcd"] == [False, False, False, True]


class Vendor:
    """A vendor whose responses the test releases one by one."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.responses: dict[str, asyncio.Future[str]] = {}

    async def read(self, item: str) -> str:
        self.asked.append(item)
        response: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.responses[item] = response
        return await response

    async def next_asked(self, count: int) -> list[str]:
        await wait_until(lambda: len(self.asked) >= count, f"{count} items")
        return self.asked


async def test_sweep_asks_for_as_many_items_at_once_as_allowed() -> None:
    vendor, found = Vendor(), []

    async def sweep() -> None:
        found.extend([item async for item, _ in Sweep().run("abcd", vendor.read, concurrency=2)])

    task = asyncio.create_task(sweep())
    assert await vendor.next_asked(2) == ["a", "b"]
    vendor.responses["b"].set_result("B")
    assert await vendor.next_asked(3) == ["a", "b", "c"]
    for item in "ac":
        vendor.responses[item].set_result(item)
    assert await vendor.next_asked(4) == ["a", "b", "c", "d"]
    vendor.responses["d"].set_result("D")
    await asyncio.wait_for(task, PATIENCE)
    assert found[0] == "b"
    assert set(found) == set("abcd")


async def test_sweep_that_is_closed_early_cancels_what_it_asked_for() -> None:
    vendor = Vendor()
    async with aclosing(Sweep().run("abc", vendor.read, concurrency=3)) as results:  # type: ignore[type-var]
        taken = asyncio.ensure_future(anext(results))
        await vendor.next_asked(3)
        vendor.responses["a"].set_result("A")
        assert await taken == ("a", "A")
    assert [vendor.responses[item].cancelled() for item in "bc"] == [True, True]


async def test_sweep_item_that_comes_first_does_not_move_where_the_next_begins() -> None:
    sweep, urgent, asked = Sweep(primary_fails=lambda: True), ["g"], []

    async def read(item: str) -> str:
        asked.append(item)
        if item in "bc":
            raise Ambiguous(f"{item} fails")
        if item == "a":
            urgent[:] = ["zz", "e", "f"]
        return item

    assert [item async for item, _ in sweep.run(ITEMS, read, first=lambda: urgent)][:4] == ["g", "a", "e", "f"]
    assert sweep.order(ITEMS)[0] == "a"
    async with aclosing(sweep.run(ITEMS, read, first=lambda: ["h"])) as results:  # type: ignore[type-var]
        assert [(await anext(results))[0] for _ in range(2)] == ["h", "a"]
    assert sweep.order(ITEMS)[0] == "b"
