"""Line schedule: gateways without lines cost a call a day, and the lines that something happened to come first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson
import pytest

from fleet2mqtt.devices.model import Device
from fleet2mqtt.errors import NotReady
from fleet2mqtt.platforms.ums.line_schedule import CHECK_INTERVAL, SUGGESTION_INTERVAL
from fleet2mqtt.simulators.ums.app import Simulator
from tests.platforms.context import Shared
from tests.platforms.ums.connected import NAME, Run, simulated

OM50, MX100G = "000EA93D022E", "000EA9610BCC"
OM50_ID = f"{NAME}_000ea93d022e"


@dataclass(slots=True)
class Clock:
    """A clock that the test sets."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def read_in_order(simulator: Simulator) -> list[str]:
    """Return the gateways whose lines were requested since the last time, and forget the calls."""
    macs = [call.path.split("/")[3] for call in simulator.fault_injector.calls if call.path.endswith("/detect")]
    simulator.fault_injector.calls.clear()
    return macs


async def swept(simulator: Simulator, run: Run, *sources: str) -> list[str]:
    await run.poll(*sources, "lines")
    return read_in_order(simulator)


def without_lines(simulator: Simulator, run: Run, clock: Clock) -> None:
    """Let all gateways be online, and the first one have no lines."""
    run.backend.client.schedule.clock = clock
    for mac in simulator.devices:
        simulator.set_online(mac, online=True, push=False)
    simulator.drawn_lines[OM50] = []


async def test_gateway_without_lines_is_checked_once_a_day() -> None:
    async with simulated() as (simulator, run):
        clock = Clock()
        without_lines(simulator, run, clock)
        assert [sorted(await swept(simulator, run, "devices")) for _ in range(3)] == [
            [OM50, MX100G],
            [OM50, MX100G],  # the registry removes what is missing in two inventories
            [MX100G],
        ]
        clock.now += CHECK_INTERVAL / 2
        assert await swept(simulator, run) == [MX100G]
        clock.now += CHECK_INTERVAL / 2
        assert sorted(await swept(simulator, run)) == [OM50, MX100G]
        assert await swept(simulator, run) == [MX100G]
        assert run.devices[OM50_ID].entity("test_fxo") is None


async def test_gateway_that_was_given_lines_is_read_from_then_on() -> None:
    async with simulated() as (simulator, run):
        clock = Clock()
        without_lines(simulator, run, clock)
        for _ in range(2):
            await run.poll("devices", "lines")
        del simulator.drawn_lines[OM50]
        clock.now += CHECK_INTERVAL
        await run.poll("lines")
        read_in_order(simulator)
        assert sorted(await swept(simulator, run)) == [OM50, MX100G]
        assert run.devices[OM50_ID].entity("test_fxo")


async def test_checks_of_a_large_fleet_spread_over_hours() -> None:
    async with simulated(devices=40) as (simulator, run):
        clock = Clock()
        without_lines(simulator, run, clock)
        simulator.drawn_lines = {mac: [] for mac in simulator.devices}
        for _ in range(2):
            await run.poll("devices", "lines")
        read_in_order(simulator)
        found = []
        for _ in range(25):
            found.append(len(await swept(simulator, run)))
            clock.now += CHECK_INTERVAL / 24
        assert sum(found) == 40
        assert len([count for count in found if count]) >= 3


def rename_version(simulator: Simulator, _: Run) -> None:
    simulator.change(OM50, product_version="9.9")


def change_product(simulator: Simulator, _: Run) -> None:
    simulator.change(OM50, product_type="MX60E")


def push_line_alarm(_: Simulator, run: Run) -> None:
    run.push("event", {"id": "a", "metric_history_producer": OM50, "line_id": "4"})


def push_connection(_: Simulator, run: Run) -> None:
    for status in ("offline", "online"):
        run.push("device", {"device_mac": OM50, "connection_status": status})


def push_product(_: Simulator, run: Run) -> None:
    run.push("device", {"device_mac": OM50, "connection_status": "online", "product_type": "MX60E"})


@pytest.mark.parametrize("suggest", [rename_version, change_product, push_line_alarm, push_connection, push_product])
async def test_gateway_without_lines_is_checked_when_something_suggests_it(
    suggest: Callable[[Simulator, Run], None],
) -> None:
    async with simulated() as (simulator, run):
        clock = Clock()
        without_lines(simulator, run, clock)
        for _ in range(2):
            await run.poll("devices", "lines")
        read_in_order(simulator)
        clock.now += SUGGESTION_INTERVAL
        suggest(simulator, run)
        sources = () if suggest in {push_line_alarm, push_connection, push_product} else ("devices",)
        assert sorted(await swept(simulator, run, *sources)) == [OM50, MX100G]
        assert await swept(simulator, run) == [MX100G]


async def test_alarms_without_a_line_or_soon_after_a_check_suggest_nothing() -> None:
    async with simulated() as (simulator, run):
        clock = Clock()
        without_lines(simulator, run, clock)
        for _ in range(2):
            await run.poll("devices", "lines")
        read_in_order(simulator)
        push_line_alarm(simulator, run)
        assert await swept(simulator, run) == [MX100G]
        run.backend.client.schedule.begin_read(OM50)
        clock.now += SUGGESTION_INTERVAL
        run.push("event", {"id": "b", "metric_history_producer": OM50, "line_id": ""})
        assert await swept(simulator, run) == [MX100G]


async def test_gateways_without_lines_are_known_after_a_restart() -> None:
    shared, clock = Shared(), Clock()
    async with simulated(shared) as (simulator, run):
        without_lines(simulator, run, clock)
        for _ in range(2):
            await run.poll("devices", "lines")
    async with simulated(shared) as (simulator, run):
        without_lines(simulator, run, clock)
        assert await swept(simulator, run, "devices") == [MX100G]
        assert run.devices[OM50_ID].answered == frozenset(("lines",))
        assert run.devices[OM50_ID].entity("test_fxo") is None
    async with simulated(shared) as (simulator, run):
        clock.now += CHECK_INTERVAL
        without_lines(simulator, run, clock)
        assert sorted(await swept(simulator, run, "devices")) == [OM50, MX100G]


async def test_clock_that_was_set_back_makes_a_check_due() -> None:
    async with simulated() as (simulator, run):
        clock = Clock()
        without_lines(simulator, run, clock)
        for _ in range(2):
            await run.poll("devices", "lines")
        read_in_order(simulator)
        clock.now -= 10 * CHECK_INTERVAL
        assert sorted(await swept(simulator, run)) == [OM50, MX100G]


async def test_lines_of_alarmed_and_tested_gateways_come_first() -> None:
    async with simulated(devices=30, concurrency=1) as (simulator, run):
        without_lines(simulator, run, Clock())
        await run.poll("devices", "alarms", "lines")
        usual = [mac for mac in await swept(simulator, run) if simulator.lines(mac)]
        alarmed, polled, tested = usual[-1], usual[-2], usual[-3]
        run.push("event", {"id": "a", "metric_history_producer": alarmed})
        simulator.raise_alarm(polled)
        await run.poll("alarms")
        await run.act("fxo_test", device_mac=tested)
        read_in_order(simulator)
        assert (await swept(simulator, run))[:3] == [alarmed, polled, tested]
        read_in_order(simulator)
        assert (await swept(simulator, run))[:3] != [alarmed, polled, tested]


async def test_gateway_all_of_whose_lines_are_excluded_is_checked_once_a_day() -> None:
    shared, clock = Shared(), Clock()
    shared.selects = lambda device: not (device.kind == "line" and OM50 in device.vendor_id)
    async with simulated(shared) as (simulator, run):
        without_lines(simulator, run, clock)
        del simulator.drawn_lines[OM50]
        assert sorted(await swept(simulator, run, "devices")) == [OM50, MX100G]
        assert await swept(simulator, run) == [MX100G]
    shared.selects = lambda _: True
    async with simulated(shared) as (simulator, run):  # the rule was taken away
        simulator.set_online(MX100G, online=True, push=False)
        assert sorted(await swept(simulator, run, "devices")) == [OM50, MX100G]


@pytest.mark.parametrize("source", ["lines", "statistics", "alarms"])
async def test_excluded_gateway_costs_no_calls(source: str) -> None:
    shared = Shared(selects=excluding(MX100G))
    async with simulated(shared, devices=3) as (simulator, run):
        without_lines(simulator, run, Clock())
        simulator.raise_alarm(MX100G, push=False)
        await run.poll("devices")
        simulator.fault_injector.calls.clear()
        await run.poll(source)
        asked = [f"{call.path} {call.query} {call.body!r}" for call in simulator.fault_injector.calls]
        assert asked
        assert not [call for call in asked if MX100G in call]


async def test_pushed_alarm_of_an_unknown_gateway_waits_for_the_first_list_where_rules_exclude_some() -> None:
    shared = Shared(selects=excluding(MX100G), has_rules=True)
    async with simulated(shared, devices=3) as (simulator, run):
        excluded, selected = (orjson.dumps(simulator.raise_alarm(mac, push=False)) for mac in (MX100G, OM50))
        [push] = [each for each in run.backend.pushes if each.kind == "event"]
        for body in (excluded, selected):
            with pytest.raises(NotReady):
                push.accept(body)
        await run.poll("devices")
        assert (len(push.accept(excluded).alarms), len(push.accept(selected).alarms)) == (0, 1)


def excluding(mac: str) -> Callable[[Device], bool]:
    return lambda device: not device.vendor_id.startswith(mac)
