"""Writes of attributes and of the name: call, spelling and read-back."""

from __future__ import annotations

from typing import Any

import pytest

from fleet2mqtt.contract.values import state_value
from fleet2mqtt.errors import Ambiguous, Rejected, Unconfirmed
from tests.platforms.thingscloud.connected import DEVICE, FIRST, NAME, OTHER, SECOND, THIRD, calls, simulated
from tests.platforms.thingscloud.project import Project, attribute, running

CONTROL = f"control/device/{FIRST}/attributes"
WRITES: list[tuple[str, Any, str, Any]] = [
    ("relay1", False, "POST", False),
    ("relay2", True, "POST", True),
    ("relay3", True, "POST", True),
    ("target_temperature", 25.5, "POST", 25.5),
    ("target_temperature", 25.0, "POST", 25),
    ("brightness", 30, "POST", 30),
    ("mode", "cool", "POST", "cool"),
    ("display", "你好", "POST", "你好"),
    ("display", "", "POST", ""),
    ("note", "only here", "PUT", "only here"),
]


async def test_write_table_covers_every_writable_entity() -> None:
    async with simulated() as (_, run):
        await run.poll("devices", "attributes", "schema")
        writable = {row.key for row in run.devices[DEVICE].entities if row.write is not None}
        assert writable == {key for key, *_ in WRITES} | {"name"}


@pytest.mark.parametrize(
    ("key", "value", "method", "sent"), WRITES, ids=[f"{key}={value}" for key, value, *_ in WRITES]
)
async def test_write_sends_one_call_and_is_read_back(key: str, value: Any, method: str, sent: Any) -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "attributes")
        await run.write(DEVICE, key, value)
        (call,) = calls(simulator, CONTROL)
        assert (call.method, call.body) == (method, {key: sent})
        assert len(calls(simulator, f"device/{FIRST}")) == (1 if method == "POST" else 0)  # is it online?
        assert type(call.body[key]) is type(sent)
        before = len(simulator.fault_injector.calls)
        after = await run.read(DEVICE)
        assert [call.path for call in simulator.fault_injector.calls][before:] == [
            f"/api/v1/device/{FIRST}/attributes_raw"
        ]
        assert after.state[key] == state_value(run.entity(key), value)
        reached = simulator.actual(FIRST).get(key) == sent
        assert reached is (method == "POST")


async def test_name_is_written_and_read_back() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices")
        await run.write(DEVICE, "name", "新名")
        assert [call.body for call in calls(simulator, f"device/{FIRST}/info", "PUT")] == [{"name": "新名"}]
        before = len(simulator.fault_injector.calls)
        after = await run.read(DEVICE)
        assert [call.path for call in simulator.fault_injector.calls][before:] == [f"/api/v1/device/{FIRST}"]
        assert (after.state["name"], after.name) == ("新名", "新名")


@pytest.mark.parametrize(("vendor_id", "on", "off"), [(FIRST, True, False), (SECOND, 1, 0), (THIRD, "ON", "OFF")])
async def test_switch_is_written_in_the_devices_spelling(vendor_id: str, on: Any, off: Any) -> None:
    async with simulated(devices=3) as (simulator, run):
        device = f"{NAME}_{vendor_id}"
        await run.poll("devices", "attributes")
        for value, sent in ((False, off), (True, on)):
            await run.write(device, "relay1", value)
            body = calls(simulator, f"control/device/{vendor_id}/attributes")[-1].body
            assert body == {"relay1": sent}
            assert type(body["relay1"]) is type(sent)
            assert (await run.read(device)).state["relay1"] == ("ON" if value else "OFF")


@pytest.mark.parametrize(
    ("read", "on", "off"),
    [
        (True, True, False),
        (None, True, False),
        (1, 1, 0),
        (0.0, 1, 0),
        ("ON", "ON", "OFF"),
        ("off", "on", "off"),
        ("On", "On", "Off"),
        ("true", "true", "false"),
        ("FALSE", "TRUE", "FALSE"),
        ("1", "1", "0"),
        ("no", "yes", "no"),
        ("odd", True, False),
    ],
)
async def test_switch_keeps_the_spelling_that_was_read(read: Any, on: Any, off: Any) -> None:
    project = Project(attributes=[attribute("a", read, data_type="switch", attr_type="both")])
    async with running(project) as run:
        await run.poll("devices", "attributes")
        await run.write(DEVICE, "a", value=True)
        await run.write(DEVICE, "a", value=False)
        assert repr(project.sent()) == repr([("POST", {"a": on}), ("POST", {"a": off})])


@pytest.mark.parametrize(
    ("read", "value", "sent"), [(5, 6.0, 6), ("5", 6.0, "6"), ("5.5", 6.5, "6.5"), (5.5, 6.5, 6.5), (None, 7, 7)]
)
async def test_number_keeps_the_type_that_was_read(read: Any, value: float, sent: Any) -> None:
    project = Project(attributes=[attribute("a", read, data_type="number", attr_type="both")])
    async with running(project) as run:
        await run.poll("devices", "attributes")
        await run.write(DEVICE, "a", value)
        assert repr(project.sent()) == repr([("POST", {"a": sent})])


@pytest.mark.parametrize(
    ("read", "option", "sent"),
    [("Auto Mode", "manual", "Manual"), (1, "2", 2), ("1", "2", "2"), (None, "auto_mode", "Auto Mode")],
)
async def test_option_is_written_as_the_vendors_value(read: Any, option: str, sent: Any) -> None:
    options = {"options": ["Auto Mode", "Manual", "1", "2"]}
    project = Project(attributes=[attribute("a", read, data_type="enum", attr_type="both", data_options=options)])
    async with running(project) as run:
        await run.poll("devices", "attributes")
        await run.write(DEVICE, "a", option)
        assert repr(project.sent()) == repr([("POST", {"a": sent})])


async def test_cloud_attribute_is_written_by_put() -> None:
    kinds = {"push": "POST", "both": "POST", "cloud": "PUT", "云端私有": "PUT", "hologram": "POST"}
    project = Project(attributes=[attribute(f"a{at}", 1, attr_type=word) for at, word in enumerate(kinds)])
    async with running(project, writable="all") as run:
        await run.poll("devices", "attributes")
        for at in range(len(kinds)):
            await run.write(DEVICE, f"a{at}", 2)
        assert [method for method, _ in project.sent()] == list(kinds.values())


async def test_write_without_effect_reads_back_the_old_value() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "attributes")
        simulator.change(FIRST, deaf=True)
        await run.write(DEVICE, "relay1", value=False)
        assert (await run.read(DEVICE)).state["relay1"] == "ON"
        simulator.fault_injector.inject("noop", "*/control/*")
        await run.write(OTHER, "relay1", value=False)
        assert (await run.read(OTHER)).state["relay1"] == "ON"


async def test_refused_write_raises() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "attributes")
        with pytest.raises(Rejected) as refused:
            await run.write(DEVICE, "brightness", 101)
        assert refused.value.code == 400
        assert str(refused.value)
        simulator.remove_device(FIRST)
        with pytest.raises(Rejected):
            await run.write(DEVICE, "relay1", value=False)


async def test_lost_response_to_a_write_is_not_repeated() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "attributes")
        simulator.fault_injector.inject("lost_answer", "*/control/*", times=1)
        with pytest.raises(Ambiguous):
            await run.write(DEVICE, "relay1", value=False)
        assert len(calls(simulator, CONTROL)) == 1
        assert (await run.read(DEVICE)).state["relay1"] == "OFF"


@pytest.mark.parametrize("listed", [True, False])
async def test_write_to_an_offline_device_is_unconfirmed(listed: bool) -> None:
    """The cloud accepts and shows the value, the device did not get it (faults 3.4)."""
    async with simulated() as (simulator, run):
        simulator.quirks.send_changes_cloud = True
        await run.poll("devices", "attributes")
        simulator.set_online(FIRST, online=False)
        if listed:
            await run.poll("devices")
        with pytest.raises(Unconfirmed, match="offline") as unconfirmed:
            await run.write(DEVICE, "relay1", value=False)
        assert unconfirmed.value.code == "device_offline"
        assert (await run.read(DEVICE)).state["relay1"] == "OFF"  # the cloud's copy
        assert simulator.actual(FIRST)["relay1"] is True
        await run.write(DEVICE, "note", "x")  # which is the cloud's own
        simulator.set_online(FIRST, online=True)
        await run.write(DEVICE, "relay1", value=False)


async def test_write_is_not_failed_by_the_question_whether_the_device_is_online() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "attributes")
        simulator.fault_injector.inject("status", f"*/device/{FIRST}", status=500)
        await run.write(DEVICE, "relay1", value=False)
        assert (await run.read(DEVICE)).state["relay1"] == "OFF"
