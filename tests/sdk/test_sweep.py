"""Sweeps: items that fail are skipped, the next sweep resumes, and a rejected batch is halved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.errors import Ambiguous, BackendError, RateLimited, Rejected
from fleet2mqtt.sdk.sweep import MISSED_SWEEPS, Sweep, read_in_halves

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
