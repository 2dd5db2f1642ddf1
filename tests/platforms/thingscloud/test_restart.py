"""After a restart, before the values of most devices were read: states, commands and pushes."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from fleet2mqtt.cli.simulate import options_for
from fleet2mqtt.simulators.thingscloud import SIMULATOR, create
from tests.bridge_under_test import RunningBridge, run_bridge, serve
from tests.broker import HOST, free_port
from tests.platforms.context import Shared
from tests.platforms.thingscloud.connected import DEVICE, FIRST, NAME, restartable, simulated
from tests.platforms.thingscloud.project import Project, attribute, running
from tests.sample_devices import area
from tests.waiting import PATIENCE, wait_for_answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker import Broker

DEVICES = 4
RATE = 8.0


async def test_restored_device_can_be_set_before_its_values_are_read(broker: Broker, tmp_path: Path) -> None:
    app = create(devices=DEVICES)
    ids = [f"things_{vendor_id}" for vendor_id in app[SIMULATOR].devices]
    async with AsyncExitStack() as vendors:
        url = await serve(vendors, app)
        async with run_bridge(broker, tmp_path, _options(broker, url, rate=1000)) as bridge:
            await bridge.settle()
            switches = [id_ for id_ in ids if "relay1" in bridge.state(id_)]
            assert switches
        async with run_bridge(broker, tmp_path, _options(broker, url, rate=RATE)) as bridge:
            await wait_for_answer(partial(_is_heard, bridge), "the list of devices")
            for id_ in switches:
                await broker.publish(f"fleet2mqtt/device/{id_}/set", {"relay1": "ON", "transaction": "first"})
            results = await asyncio.gather(*(bridge.set(id_, {"relay1": "OFF"}) for id_ in switches))
            assert [(each["status"], each["observed"]) for each in results] == [("confirmed", "OFF")] * len(switches)
            for id_ in switches:  # there was time for it, or there was not
                assert (await bridge.result(id_, "first"))["status"] in ("superseded", "confirmed")


async def test_restart_keeps_values_until_their_source_has_answered(broker: Broker, tmp_path: Path) -> None:
    """No value turns null between a restart and the first reading by its source (faults 1.1)."""
    app = create(devices=DEVICES)
    ids = [f"things_{vendor_id}" for vendor_id in app[SIMULATOR].devices]
    async with AsyncExitStack() as vendors:
        url = await serve(vendors, app)
        async with run_bridge(broker, tmp_path, _options(broker, url, rate=1000)) as bridge:
            await bridge.settle()
            before = {id_: bridge.state(id_) for id_ in ("things", *ids)}
        assert before["things"]["online_device_total"] is not None
        async with run_bridge(broker, tmp_path, _options(broker, url, rate=2 * RATE)) as bridge:
            await bridge.settle()
            for id_, state in before.items():
                for key in (key for key, value in state.items() if key != "_meta" and value is not None):
                    assert None not in bridge.history(id_, key), (id_, key)


async def test_push_right_after_a_restart_is_not_lost() -> None:
    """A report of a device that is not listed yet is held until it is (faults 1.7)."""
    project = Project(attributes=[attribute("a", 1), attribute("b", 1)])
    async with running(project) as run:
        for value in (2, 3):
            run.push("attributes", {"device": {"id": FIRST}, "attributes": {"a": value}})
        project.values = {"a": 3, "b": 1}
        await run.poll("devices", "attributes")
        assert (run.state(DEVICE)["a"], run.state(DEVICE)["b"]) == (1, 1)  # read afterwards, with the definitions
    project = Project(attributes=[attribute("a", 1), attribute("b", 1)])
    async with simulated(devices=4) as (simulator, run):
        last = list(simulator.devices)[-1]
        run.push("attributes", {"device": {"id": last}, "attributes": {"temperature": 99.5}, "ts": 1})
        await run.poll("devices")
        assert run.devices[f"things_{last}"].record.values == {"temperature": 99.5}
        await run.poll("attributes")
        first = next(call for call in simulator.fault_injector.calls if call.path.endswith("/attributes"))
        assert first.path == f"/api/v1/device/{last}/attributes"  # so that the report can be shown soon


async def test_report_during_the_reading_of_the_values_wins() -> None:
    project = Project(attributes=[attribute("a", 1), attribute("b", 1)])
    async with running(project) as run:
        await run.poll("devices")
        store = run.backend.client.store
        requested_at = time.monotonic()
        run.push("attributes", {"device": {"id": FIRST}, "attributes": {"a": 2}})
        device = store.apply_definitions(FIRST, project.attributes, requested_at)
        assert (device.state["a"], device.state["b"]) == (2, 1)


async def test_attribute_without_type_keeps_its_entity_when_it_is_blank_after_a_restart() -> None:
    """The vendor goes on sending the field, with null (faults 1.2)."""
    shared = Shared()
    project = Project(attributes=[attribute("a", 5.5), attribute("b", True), attribute("c", 1, data_type="number")])
    async with running(project, shared) as run:
        await run.poll("devices", "attributes")
        before = {key: run.entity(key).component for key in "abc"}
    assert json.loads(shared.checkpoints[f"{FIRST}/shapes"]) == {"a": ["number", True], "b": ["switch", False]}
    project.attributes = [attribute("a"), attribute("b"), attribute("c", data_type="number")]
    async with running(project, shared) as run:
        await run.poll("devices", "attributes")
        assert {key: run.entity(key).component for key in "abc"} == before
        assert [run.state()[key] for key in "abc"] == [None, None, None]


async def test_area_and_groups_stay_after_a_restart() -> None:
    """Groups are read hourly: until then a device keeps its place (faults 1.1)."""
    shared = Shared()
    async with restartable(shared, devices=4) as (simulator, start):
        async with start() as run:
            await run.poll("devices", "meta", "devices")
            before = {
                id_: (area(device), device.attributes["online"]) for id_, device in run.devices.items() if id_ != NAME
            }
            assert before[DEVICE][0] == "总部"
            assert await run.poll("meta") != []
            assert not any(update.checkpoints for update in await run.poll("meta"))
        async with start() as run:
            await run.poll("devices")
            after = {id_: (area(device), device.attributes["online"]) for id_, device in run.devices.items()}
            assert after == before
            simulator.change(FIRST, groups=[])
            await run.poll("meta")
            assert area(run.devices[DEVICE]) is None


async def test_held_reports_end_with_a_complete_list() -> None:
    async with running(Project()) as run:
        run.push("attributes", {"device": {"id": "other"}, "attributes": {"a": 1}})
        await run.poll("devices")
        run.backend.client.store.apply_device({"id": "other"}, time.monotonic())
        assert run.backend.client.store.device("other").record.values == {}


async def _is_heard(bridge: RunningBridge) -> bool:
    """Return True if this run's bridge has read its list: retained messages are of the last one."""
    answer = await bridge.ask("health")
    available: bool = answer["data"]["backends"]["things"]["available"]
    return available


def _options(broker: Broker, url: str, rate: float) -> dict[str, Any]:
    return {
        "mqtt": {"host": HOST, "port": broker.port, "will_delay": 0},
        "data_dir": "data",
        "push": {"host": HOST, "port": free_port()},
        "web": {"host": HOST, "port": free_port()},
        "backends": {
            "things": {
                "platform": "thingscloud",
                "url": url,
                "timeout": PATIENCE,
                **options_for("thingscloud"),
                "rate": rate,
            }
        },
    }
