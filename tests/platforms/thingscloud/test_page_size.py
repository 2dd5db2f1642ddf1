"""The pages of the device lists: as large as the server accepts, and larger ones tried again after a day."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.errors import Rejected
from fleet2mqtt.platforms.thingscloud.page_size import LEARNT_FOR
from tests.platforms.thingscloud.connected import calls, simulated

if TYPE_CHECKING:
    from fleet2mqtt.simulators.thingscloud import Simulator


def sizes(simulator: Simulator) -> list[str | None]:
    """The page sizes that were asked for, and forget them."""
    asked = [call.query.get("page_records") for call in calls(simulator, "devices")]
    simulator.fault_injector.calls.clear()
    return asked


@pytest.mark.parametrize(("largest", "tried"), [(100, ["100"]), (50, ["100", "50"]), (20, ["100", "50", None])])
async def test_rejected_page_size_is_reduced_until_accepted(largest: int, tried: list[str | None]) -> None:
    async with simulated(devices=20) as (simulator, run):
        simulator.max_page_records = largest
        await run.poll("devices")
        assert sizes(simulator) == tried
        assert len(run.inventories[-1].ids) == 20
        await run.poll("devices")
        assert sizes(simulator) == tried[-1:]  # learnt
        simulator.max_page_records = 100
        run.backend.client.client.page_size.forget_before(time.monotonic() + LEARNT_FOR)
        await run.poll("devices")
        assert sizes(simulator) == ["100"]


async def test_server_that_cuts_pages_is_read_completely() -> None:
    async with simulated(devices=120) as (simulator, run):
        simulator.max_page_records, simulator.quirks.clamps_page_records = 50, True
        await run.poll("devices")
        assert sizes(simulator) == ["100", "50", "50", "50"]
        assert len(run.inventories[-1].ids) == 120


async def test_refusal_of_the_list_itself_teaches_nothing() -> None:
    async with simulated(devices=3) as (simulator, run):
        simulator.fault_injector.inject("error", "*/devices", code=500)
        with pytest.raises(Rejected):
            await run.poll("devices")
        simulator.fault_injector.clear()
        sizes(simulator)
        await run.poll("devices")
        assert sizes(simulator) == ["100"]
