"""Lists that are read of the groups and types only that `include` selects, where that costs fewer pages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.devices.selection import Rule, Selection
from tests.platforms.thingscloud.alarms import webhook
from tests.platforms.thingscloud.connected import FIRST, NAME, calls, simulated

if TYPE_CHECKING:
    from fleet2mqtt.simulators.thingscloud import Simulator


def queries(simulator: Simulator) -> list[tuple[str | None, str | None]]:
    """The types and groups of the device lists since this was asked last."""
    found = [(call.query.get("type"), call.query.get("group")) for call in calls(simulator, "devices")]
    simulator.fault_injector.calls.clear()
    return found


def place(simulator: Simulator) -> tuple[str, str]:
    """Leave every tenth device in the first group, the others in none; return the group's id and a type's."""
    group, type_ = next(iter(simulator.groups)), next(iter(simulator.types))
    for number, device in enumerate(simulator.devices.values()):
        device.groups = [group] if not number % 10 else []
    return group, type_


async def test_groups_of_include_are_listed_once_they_are_known() -> None:
    selection = Selection(include=(Rule(group="总*"), Rule(group="unknown")))
    async with simulated(devices=110, selection=selection) as (simulator, run):
        group, _ = place(simulator)
        await run.poll("devices")
        assert queries(simulator) == [(None, None)] * 2
        await run.poll("meta")
        queries(simulator)
        await run.poll("devices")
        assert queries(simulator) == [(None, group)]
        assert len(run.inventories[-1].ids) == 11
        assert f"{NAME}_{FIRST}" in run.inventories[-1].ids


async def test_types_of_include_are_listed() -> None:
    async with simulated(devices=110, selection=Selection(include=(Rule(model="环境*"),))) as (simulator, run):
        _, type_ = place(simulator)
        await run.poll("devices", "meta")
        queries(simulator)
        await run.poll("devices")
        assert queries(simulator) == [(type_, None)]
        assert len(run.inventories[-1].ids) == 37


@pytest.mark.parametrize(
    "rules", [[{"group": "总*"}, {"name": "*"}], [{"tag": "floor=3"}], [{"group": "*"}, {"location": "*"}], []]
)
async def test_all_devices_are_listed_for_rules_that_the_api_has_no_filter_for(rules: list[dict[str, Any]]) -> None:
    selection = Selection(include=tuple(Rule(**rule) for rule in rules))
    async with simulated(devices=110, selection=selection) as (simulator, run):
        place(simulator)
        await run.poll("devices", "meta")
        queries(simulator)
        await run.poll("devices")
        assert queries(simulator) == [(None, None)] * 2


async def test_alarm_of_a_device_that_is_not_listed_is_not_published() -> None:
    selection = Selection(include=(Rule(group="总*"),))
    async with simulated(devices=110, selection=selection) as (simulator, run):
        place(simulator)
        other = list(simulator.devices)[1]
        await run.poll("devices", "meta", "devices", "alarms")
        before = len(run.alarms)
        for device in (FIRST, other):
            simulator.raise_alarm(device, 3, push=False)
        await run.poll("alarms")
        assert [alarm.device for alarm in list(run.alarms.values())[before:]] == [f"{NAME}_{FIRST}"]
        for device in (FIRST, other):
            pushed = run.push("alarm", webhook(device, status=1, level=2, ts=int(time.time() * 1000))).alarms
            assert len(pushed) == (device == FIRST)
