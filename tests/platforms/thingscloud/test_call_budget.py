"""The calls that are made, and those that are not: per type, for news, and for what is selected and enabled."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.devices.selection import Detail, Override, Rule, Selection
from tests.platforms.context import Shared
from tests.platforms.thingscloud.connected import DEVICE, FIRST, NAME, OTHER, SECOND, simulated
from tests.waiting import wait_until

if TYPE_CHECKING:
    from fleet2mqtt.simulators.thingscloud import Simulator

STANDARD = Selection()
MINIMAL = Selection(entities=Detail.MINIMAL)


def taken_calls(simulator: Simulator) -> Counter[str]:
    """The number of calls by the last word of their path since this was asked last, without logins."""
    paths = [call.path for call in simulator.fault_injector.calls if call.path.startswith("/api/v1/")]
    simulator.fault_injector.calls.clear()
    words = Counter("type_infos" if "device_type/" in path else path.rsplit("/", 1)[-1] for path in paths)
    del words["access_token"]
    return words


async def test_definitions_are_read_once_per_type() -> None:
    async with simulated(devices=9, selection=STANDARD) as (simulator, run):
        await run.poll("devices", "attributes")
        assert taken_calls(simulator) == {"devices": 1, "attributes": 3, "attributes_raw": 6}
        keys = {id_: {row.key for row in device.entities} for id_, device in run.devices.items()}
        assert "temperature" in set.intersection(*keys.values())
        assert len({id(device.entities) for device in run.devices.values()}) < 9
        simulator.report(FIRST, {"brand_new": 7}, push=False)
        await run.poll("devices", "attributes")
        assert taken_calls(simulator) == {"devices": 1, "attributes_raw": 1, "attributes": 1}
        assert run.state()["brand_new"] == 7


async def test_definitions_are_refreshed_by_another_device_of_the_type_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with simulated(devices=6, selection=STANDARD) as (simulator, run):
        await run.poll("devices", "attributes")
        monkeypatch.setattr(run.backend.client, "_max_definitions_age", -1.0)
        readers = []
        for _ in range(2):
            taken_calls(simulator)
            await run.poll("schema")
            paths = [call.path for call in simulator.fault_injector.calls if call.path.endswith("/attributes")]
            readers.append(paths)
        assert [len(paths) for paths in readers] == [3, 3]
        assert not set(readers[0]) & set(readers[1])


async def test_report_before_the_first_reading_is_shown_by_the_types_definitions() -> None:
    async with simulated(devices=4, selection=STANDARD) as (simulator, run):
        await run.poll("devices")
        store, devices = run.backend.client.store, list(simulator.devices)
        last = f"{NAME}_{devices[3]}"  # of the first one's type
        run.push("attributes", {"device": {"id": devices[3]}, "attributes": {"temperature": 30.5}, "ts": time.time()})
        assert "temperature" not in run.state(last)
        simulator.fault_injector.inject("error", f"*/{devices[3]}/*")
        await run.poll("attributes")
        assert run.state(last)["temperature"] == 30.5
        assert store.definition_readers(devices, math.inf, {}) == set()


async def test_devices_without_news_are_read_in_the_full_sweep_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with simulated(devices=6, selection=STANDARD) as (simulator, run):
        await run.poll("devices", "attributes", "devices", "attributes")
        taken_calls(simulator)
        simulator.report(FIRST, {"temperature": 30.5}, push=False)
        simulator.event(SECOND, "button", {}, push=False)  # is no value
        await run.poll("devices", "attributes", "attributes")
        assert taken_calls(simulator) == {"devices": 1, "attributes_raw": 1}
        assert run.state()["temperature"] == 30.5
        monkeypatch.setattr(run.backend.client.store, "_full_sweep_interval", -1.0)
        await run.poll("attributes")
        assert taken_calls(simulator) == {"attributes_raw": 6}


async def test_device_that_pushes_is_not_read_for_what_it_pushed() -> None:
    async with simulated(selection=STANDARD) as (simulator, run):
        await run.poll("devices", "attributes")
        taken_calls(simulator)
        simulator.report(FIRST, {"temperature": 30.5}, push=False)
        at = simulator.devices[FIRST].active["attributes"]
        run.push("attributes", {"device": {"id": FIRST}, "attributes": {"temperature": 30.5}, "ts": at})
        await run.poll("devices", "attributes")
        assert taken_calls(simulator) == {"devices": 1}
        simulator.devices[FIRST].active["attributes"] = at + 1  # what was not pushed
        await run.poll("devices", "attributes")
        assert taken_calls(simulator) == {"devices": 1, "attributes_raw": 1}


async def test_disabled_entities_cost_no_call() -> None:
    async with simulated(devices=6, selection=STANDARD) as (simulator, run):
        await run.poll()
        found = taken_calls(simulator)
        assert (found["extend_infos"], found["customers"], found["type_infos"]) == (0, 0, 3)
        (info, *_) = (
            key for key in run.state() if key.startswith("info_") and "std" not in key
        )  # it exists, and can be enabled
        assert run.state()[info] is None
        assert run.state(NAME)["customers"] is None
    chosen = Selection(overrides={info: Override(enabled=True)})
    async with simulated(devices=6, selection=chosen) as (simulator, run):
        await run.poll()
        assert taken_calls(simulator)["extend_infos"] == 2  # of the devices whose type has it
        assert run.state()[info] is not None


async def test_minimal_entities_cost_lists_and_one_definition_per_type() -> None:
    async with simulated(devices=6, selection=MINIMAL) as (simulator, run):
        await run.poll()
        await run.poll("devices", "attributes", "schema")
        found = taken_calls(simulator)
        assert (found["attributes"], found["attributes_raw"], found["type_infos"], found["extend_infos"]) == (
            3,
            0,
            0,
            0,
        )
        assert found["devices_stat"] == 0


@pytest.mark.parametrize("rule", [Rule(id=SECOND), Rule(name="二楼*"), Rule(model="智能开关")])
async def test_excluded_devices_are_not_read(rule: Rule) -> None:
    chosen: Any = Selection(entities=Detail.FULL, exclude=(rule,))
    async with simulated(selection=chosen) as (simulator, run):
        simulator.alarm_logs_shown = 0  # so that every device's own log is read
        await run.poll("devices", "attributes", "schema", "alarms")
        paths = [call.path for call in simulator.fault_injector.calls]
        assert any(f"/device/{FIRST}/" in path for path in paths)
        assert not any(f"/device/{SECOND}/" in path for path in paths)
        assert {DEVICE, OTHER} <= run.inventories[0].ids  # the core removes it, not the vendor


async def test_one_failing_device_does_not_fail_a_sweep_of_few_devices() -> None:
    shared = Shared()
    async with simulated(devices=6, shared=shared, selection=STANDARD) as (simulator, run):
        await run.poll("devices", "attributes")
        simulator.fault_injector.inject("status", f"*/{FIRST}/*", status=503)
        simulator.report(FIRST, {"temperature": 30.5}, push=False)
        await run.poll("devices", "attributes")
        simulator.fault_injector.clear()
        await run.poll("attributes")  # it is tried again
        assert run.state()["temperature"] == 30.5


@pytest.mark.parametrize("has_values", [False, True])
async def test_first_values_come_before_the_next_list(has_values: bool) -> None:
    async with simulated(devices=3, selection=STANDARD) as (simulator, run):
        await run.poll("devices", *(["attributes"] if has_values else []))
        run.request_values()
        taken_calls(simulator)
        limiter = run.backend.client.client.api.rate_limiter
        async with asyncio.TaskGroup() as group, limiter.slot():
            for source, waiting in (("devices", 1), ("attributes", 2)):
                group.create_task(run.poll(source))
                await wait_until(lambda waiting=waiting: limiter.waiting == waiting, f"a call of {source}")  # type: ignore[misc]
        first, *_ = [call.path.rsplit("/", 1)[-1] for call in simulator.fault_injector.calls]
        assert first == ("devices" if has_values else "attributes")


async def test_excluded_devices_do_not_hold_the_list_back() -> None:
    chosen = Selection(exclude=(Rule(id=SECOND),))
    async with simulated(selection=chosen) as (_, run):
        await run.poll("devices")
        assert list(run.backend.client.unread()) == [FIRST]
        await run.poll("attributes")
        assert list(run.backend.client.unread()) == []
