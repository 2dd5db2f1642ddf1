"""Group devices: their counts, what selection and names do to them, and their end; with a real broker and disk."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import Component
from fleet2mqtt.devices.selection import Area, Selection
from fleet2mqtt.ops.group_devices import GroupDevices
from tests.sample_devices import device, inventory, row, update
from tests.test_hub import open_hub, power

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fleet2mqtt.devices.model import Device
    from fleet2mqtt.devices.registry import Registry
    from fleet2mqtt.hub import Hub
    from tests.broker import Broker

NORTH = "hq_group_7"
COUNTS = ("devices_online", "devices_offline", "devices_with_alarms")
ONLINE = row("online", Component.BINARY_SENSOR, device_class="connectivity")


class Fleet:
    """A hub with the group devices of backend hq, updated by each call."""

    def __init__(self, hub: Hub, registry: Registry) -> None:
        self.selection: Selection | None = Selection()
        self.hub, self.registry = hub, registry
        self.groups = GroupDevices(hub, registry, Ids(), lambda _: self.selection)

    async def accept(self, *devices: Device, **more: Any) -> None:
        await self.hub.accept(update(*devices, **more))
        await self.groups.update()

    @property
    def counts(self) -> tuple[Any, ...] | None:
        found = self.registry.devices.get(NORTH)
        return None if found is None else tuple(found.state[key] for key in COUNTS)


@pytest.fixture
async def fleet(broker: Broker, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with open_hub(broker, tmp_path) as (hub, registry):
        yield Fleet(hub, registry)


def member(number: int, online: str | None, **changes: Any) -> Device:
    about: dict[str, Any] = {"groups": {"7": "North"}, "entities": (ONLINE,), "state": {"online": online}}
    return device(f"hq_voip_{number}", alarms=True, **about | changes)


async def test_group_counts_devices_online_offline_and_with_alarms(fleet: Fleet) -> None:
    sub_device = device("hq_voip_1_fxo", via="hq_voip_1", kind="line", groups={"7": "North"})
    await fleet.accept(member(1, "ON"), member(2, "OFF"), member(3, None), sub_device, alarms=(power(1),))
    group = fleet.registry.devices[NORTH]
    assert (group.name, group.via, group.kind, group.vendor_id) == ("North", "hq", "group", "7")
    assert fleet.counts == (1, 1, 1)
    await fleet.accept(member(2, "ON"), requested_at=1, alarms=(power(2, cleared=True),))
    assert fleet.counts == (2, 0, 0)


async def test_alarms_of_sub_devices_count_among_few_devices_and_among_many(fleet: Fleet) -> None:
    line = device("hq_voip_1_fxo", via="hq_voip_1", kind="line", alarms=True)
    alarms = [replace(power(number), alarm_key=f"power{number}", device=line.id) for number in (1, 2)]
    elsewhere = replace(power(3), device="hq_voip_9")
    await fleet.accept(member(1, "ON"), line, device("hq_voip_9", alarms=True), alarms=(*alarms, elsewhere))
    devices = ["hq_voip_1", "hq_voip_2", "hq_voip_3", "hq_voip_4"]
    counted = [fleet.hub.alarm_counts({*devices[:count]})["active_alarms"] for count in (1, 2, 4)]
    assert counted == [2, 2, 2]
    assert fleet.hub.alarm_counts({*devices[1:]})["active_alarms"] == 0


async def test_device_without_entity_for_its_connection_counts_by_availability(fleet: Fleet) -> None:
    await fleet.accept(member(1, None, entities=(), state={}), member(2, None, entities=(), state={}, available=False))
    assert fleet.counts == (1, 1, 0)


async def test_devices_count_as_offline_while_their_source_fails(fleet: Fleet) -> None:
    await fleet.accept(*(member(number, None, entities=(), state={}, source="list") for number in (1, 2)))
    fleet.hub.set_source_available("hq", "list", available=False)
    await fleet.groups.update()
    assert fleet.counts == (0, 2, 0)
    fleet.hub.set_source_available("hq", "list", available=True)
    await fleet.groups.update()
    assert fleet.counts == (2, 0, 0)


@pytest.mark.parametrize("seed", range(4))
async def test_counts_after_random_changes_are_those_of_the_devices(fleet: Fleet, seed: int) -> None:
    rng, raised = random.Random(seed), set[int]()  # noqa: S311 - not a secret
    for step in range(60):
        number = rng.randrange(6)
        if rng.random() < 0.2:
            await fleet.hub.forget([f"hq_voip_{number}"])
            raised.discard(number)
        else:
            groups = {key: key for key in "789" if rng.random() < 0.5}
            alarms = []
            if rng.random() < 0.5:
                raised ^= {number}
                event = power(step, cleared=number not in raised)
                alarms.append(replace(event, device=f"hq_voip_{number}"))
            online = rng.choice(("ON", "OFF", None))
            await fleet.accept(member(number, online, groups=groups), alarms=tuple(alarms), requested_at=step + 1)
        fleet.hub.set_source_available("hq", "list", available=rng.random() < 0.7)
        await fleet.groups.update()
        members = [each for id_, each in fleet.registry.devices.items() if id_.startswith("hq_voip_")]
        for group in "789":
            inside = [each.id for each in members if group in (each.groups or {})]
            online_now = [fleet.registry.is_online(id_) for id_ in inside]
            expected = {
                "devices_online": online_now.count(True),
                "devices_offline": online_now.count(False),
                "devices_with_alarms": sum(map(fleet.hub.has_active_alarm, inside)),
            }
            shown = fleet.registry.devices.get(f"hq_group_{group}")
            assert (shown is not None) == bool(inside)
            assert shown is None or expected.items() <= shown.state.items()


async def test_group_that_is_renamed_keeps_its_id(fleet: Fleet) -> None:
    await fleet.accept(member(1, "ON"))
    await fleet.accept(member(1, "ON", groups={"7": "Far north"}), requested_at=1)
    assert fleet.registry.devices[NORTH].name == "Far north"


async def test_group_goes_with_its_last_device(fleet: Fleet) -> None:
    await fleet.accept(member(1, "ON"), member(2, "ON"))
    await fleet.accept(member(1, "ON", groups={"8": "South"}), requested_at=1)
    assert (fleet.counts, fleet.registry.devices["hq_group_8"].name) == ((1, 0, 0), "South")
    for _ in range(2):
        await fleet.accept(inventories=(inventory("hq_voip_1"),), requested_at=2)
    assert fleet.counts is None
    await fleet.accept(member(2, "ON"), requested_at=3)
    assert fleet.counts == (1, 0, 0)


async def test_option_removes_group_devices_and_brings_them_back(fleet: Fleet) -> None:
    await fleet.accept(member(1, "ON"))
    fleet.selection = Selection(group_devices=False)
    await fleet.hub.apply_selection("hq")
    await fleet.groups.update()
    assert fleet.counts is None
    fleet.selection = Selection()
    await fleet.hub.apply_selection("hq")
    await fleet.groups.update()
    assert fleet.counts == (1, 0, 0)


async def test_backend_that_does_not_run_keeps_its_group_devices(fleet: Fleet) -> None:
    await fleet.accept(member(1, "ON"))
    fleet.selection = None
    await fleet.hub.forget(["hq_voip_1"])
    await fleet.groups.update()
    assert fleet.counts == (1, 0, 0)


@pytest.mark.parametrize(("area", "expected"), [(Area.GROUP, "North"), (Area.LOCATION, "Oslo"), (Area.NONE, None)])
def test_area_is_what_the_option_names(area: Area, expected: str | None) -> None:
    selection = Selection(area=area)
    assert selection.area_of(member(1, "ON", location="Oslo")) == expected
    group = replace(device(NORTH, name="North"), kind="group")
    assert selection.area_of(group) == ("North" if area is Area.GROUP else None)
    assert selection.area_of(member(1, "ON", suggested_area="Hall")) == "Hall"
