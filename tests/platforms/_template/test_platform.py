"""The platform over HTTP against its simulator."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import voluptuous as vol

from fleet2mqtt.errors import AuthenticationError, InvalidResponse, Rejected
from fleet2mqtt.platforms import _template
from tests.platforms._template.connected import FIRST, SECOND, simulated


async def test_shows_relays_and_their_readings() -> None:
    async with simulated(devices=250) as (simulator, run):
        await run.poll()
        assert len(run.of("devices")) == len(run.ids("devices") or ()) == 250
        state = run.state(FIRST)
        assert (state["relay"], state["limit"], state["temperature"]) == ("OFF", 10, 21.5)
        assert run.devices[FIRST].answered == frozenset(("readings",))
        before = run.devices[SECOND]
        await run.poll("devices")
        assert run.devices[SECOND] is before
        del simulator.relays["R-1001"]
        simulator.relays["R-1002"].online = False
        await run.poll("devices")
        assert FIRST not in (run.ids("devices") or ())
        assert not run.devices[SECOND].available


async def test_missed_readings_are_unknown() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        simulator.fault_injector.inject("status", "/api/device/reading", status=500)
        for missed in (False, False, True):
            with pytest.raises(InvalidResponse):
                await run.poll("readings")
            assert (run.state(FIRST)["temperature"] is None) is missed


async def test_device_that_is_not_selected_is_not_read() -> None:
    async with simulated(selects=lambda device: device.id != SECOND) as (simulator, run):
        await run.poll()
        read = [call.query["id"] for call in simulator.fault_injector.calls if call.path == "/api/device/reading"]
        assert read == ["R-1001"]


async def test_writes_and_reads_back() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        assert await run.write(FIRST, "relay", True) is None
        assert (await run.read(FIRST)).state["relay"] == "ON"
        limit = run.devices[FIRST].entity("limit")
        assert limit is not None
        assert limit.write_group is not None
        await limit.write_group(run.backend.client, run.devices[FIRST], {"relay": False, "limit": 4})
        assert (simulator.relays["R-1001"].relay, simulator.relays["R-1001"].limit) == (False, 4)
        with pytest.raises(Rejected, match="from 1 to 16"):
            await run.write(FIRST, "limit", 99)
        await run.act("relay_restart", id="R-1002")
        assert simulator.restarts == ["R-1002"]
        with pytest.raises(vol.Invalid):
            await run.act("relay_restart", id="")
        del simulator.relays["R-1001"]
        with pytest.raises(Rejected, match="R-1001"):
            await run.read(FIRST)


async def test_with_a_wrong_key_is_denied() -> None:
    async with simulated(api_key="other") as (_, run):
        with pytest.raises(AuthenticationError):
            await run.poll("devices")
    with pytest.raises(vol.Invalid):
        vol.Schema(_template.SCHEMA)({"api_key": ""})


async def test_hot_relay_meets_its_condition_until_it_has_cooled_down() -> None:
    [condition] = _template.CONDITIONS
    async with simulated() as (simulator, run):
        for temperature, active, expected in (
            (85, False, False),
            (86, False, True),
            (81, True, True),
            (80, True, False),
        ):
            simulator.relays["R-1001"].temperature = temperature
            await run.poll()
            assert condition.holds(run.devices[FIRST], active=active, now=datetime.now(UTC)) is expected
        unknown = replace(run.devices[FIRST], state={"temperature": None})
        assert condition.holds(unknown, active=True, now=datetime.now(UTC)) is None
