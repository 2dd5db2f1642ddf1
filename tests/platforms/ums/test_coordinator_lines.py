"""FXO lines: as last measured and tested, of gateways that are online, offline or reject."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
from aiohttp import web

from fleet2mqtt.devices.model import Inventory, Update, UpdateOrigin
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import Ambiguous, InvalidResponse, Rejected
from fleet2mqtt.simulators.ums.data import Line
from tests.platforms.context import Shared
from tests.platforms.ums.connected import NAME, Run, scripted, simulated

OM50, MX100G = "000EA93D022E", "000EA9610BCC"
OM50_ID, MX100G_ID = f"{NAME}_000ea93d022e", f"{NAME}_000ea9610bcc"
LINE = f"{OM50_ID}_fxo_7"


async def test_lines_are_sub_devices_of_their_gateway() -> None:
    async with simulated() as (simulator, run):
        simulator.set_online(MX100G, online=True, push=False)
        simulator.set_line(MX100G, "FXO-7", reg_state="1")
        await run.poll("devices", "lines")
        line = run.devices[f"{MX100G_ID}_fxo_7"]
        assert (line.name, line.via, line.vendor_id) == ("TG-VoIP-GW_130.40 FXO-7", MX100G_ID, f"{MX100G}/FXO-7")
        assert line.scope == f"lines:{MX100G}"
        assert line.state == {
            "line_fault": "OFF",
            "number": "8006",
            "reg_state": "registered",
            "registered": "ON",
            "con_state": "good",
            "wired": "ON",
            "voltage": 48,
            "voltage_threshold": 30,
        }
        assert line.attributes == {"con_state": {"number": "8006"}}
        assert run.inventories[line.scope][0].ids == {f"{MX100G_ID}_fxo_7", f"{MX100G_ID}_fxo_8"}
        assert "reg_state" not in run.devices[LINE].state  # an OM sends none


async def test_polls_never_test_lines() -> None:
    async with simulated(devices=5) as (simulator, run):
        await run.poll()
        types = {call.query["type"] for call in simulator.fault_injector.calls if call.path.endswith("/detect")}
        assert types == {"curfxo"}


async def test_button_tests_lines() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "lines")
        simulator.set_line(OM50, "FXO-7", con_state="0")
        update = await run.press(OM50_ID, "test_fxo")
        assert simulator.fault_injector.calls[-1].query["type"] == "fxo"
        assert update.origin is UpdateOrigin.COMMAND
        assert run.devices[LINE].state["con_state"] == "disconnected"
        assert run.devices[LINE].state["wired"] == "OFF"


async def test_rejected_line_test_has_the_vendors_text() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "lines")
        simulator.fault_injector.inject("error", f"/s1/device/{OM50}/detect", code=5, text="设备忙")
        with pytest.raises(Rejected, match="设备忙"):
            await run.press(OM50_ID, "test_fxo")


async def test_lines_of_offline_gateway_are_unavailable() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "lines")
        assert run.devices[LINE].available
        update = run.push("device", {"device_mac": OM50, "connection_status": "offline"})
        assert LINE in {device.id for device in update.devices}
        assert not run.devices[LINE].available
        simulator.set_online(OM50, online=False, push=False)
        simulator.fault_injector.calls.clear()
        await run.poll("lines")
        assert not [call for call in simulator.fault_injector.calls if OM50 in call.path]
        simulator.set_online(OM50, online=True, push=False)
        await run.poll("devices")
        assert run.devices[LINE].available


async def test_lines_follow_their_gateways_name() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "lines")
        simulator.rename(OM50, "东楼")
        await run.poll("devices")
        assert run.devices[LINE].name == "东楼 FXO-7"


async def test_unchanged_line_is_the_same_object() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "lines")
        before = dict(run.devices)
        simulator.set_line(OM50, "FXO-8", voltage="20/30")
        await run.poll("lines")
        changed = {id_ for id_, device in run.devices.items() if device is not before[id_]}
        assert changed == {f"{OM50_ID}_fxo_8"}
        assert run.devices[f"{OM50_ID}_fxo_8"].state["con_state"] == "below_threshold"


async def test_gateway_without_lines_has_no_button() -> None:
    """Until its lines were read nothing is known of them: the registry then keeps the button that was there."""
    async with simulated() as (simulator, run):
        await run.poll("devices")
        assert run.devices[OM50_ID].entity("test_fxo") is None
        simulator.drawn_lines[OM50] = []
        await run.poll("lines")
        assert run.devices[OM50_ID].entity("test_fxo") is None
        assert run.devices[OM50_ID].answered == frozenset(("lines",))
        del simulator.drawn_lines[OM50]
        await run.poll("lines")
        assert run.devices[OM50_ID].entity("test_fxo")


async def test_missing_line_is_not_reported_again() -> None:
    lines = ["FXO-7", "FXO-8"]

    def answer(request: web.Request) -> dict[str, Any]:
        if request.path.endswith("/detect"):
            return {
                "meta": {"totalResults": len(lines)},
                "detects": [{"line": line, "con_state": "2"} for line in lines],
            }
        name = f"after {len(lines)} lines"  # a new name makes every line known anew
        return {"meta": {"totalResults": 1}, "devices": [{"device_mac": OM50, "device_name": name}]}

    async with scripted(answer) as run:
        await run.poll("devices", "lines")
        lines.remove("FXO-8")
        updates = [*await run.poll("lines"), *await run.poll("devices", "lines")]
        assert {device.id for update in updates for device in update.devices} == {OM50_ID, LINE}
        assert [inventory.ids for inventory in run.inventories[f"lines:{OM50}"]] == [
            {LINE, f"{OM50_ID}_fxo_8"},
            {LINE},
            {LINE},
        ]


async def test_total_of_zero_lines_is_a_confirmed_inventory() -> None:
    """The registry removes the lines after two of these; then the gateway has none to test (faults 3.10)."""
    async with simulated() as (simulator, run):
        await run.poll("devices", "lines")
        simulator.drawn_lines[OM50] = []
        await run.poll("lines")
        scope = f"lines:{OM50}"
        assert run.inventories[scope][-1] == Inventory(scope=scope, ids=frozenset(), confirmed_empty=True)
        assert run.devices[OM50_ID].entity("test_fxo")
        await run.poll("lines")
        assert run.devices[OM50_ID].entity("test_fxo") is None
        simulator.rename(OM50, "renamed")
        assert LINE not in {device.id for update in await run.poll("devices") for device in update.devices}


async def test_rejection_for_one_gateway_is_skipped() -> None:
    async with simulated(devices=3) as (simulator, run):
        simulator.set_online(MX100G, online=True, push=False)
        simulator.fault_injector.inject("error", f"/s1/device/{OM50}/detect")
        await run.poll("devices", "lines")
        assert LINE not in run.devices
        assert f"{MX100G_ID}_fxo_7" in run.devices


async def test_rejection_for_all_gateways_raises() -> None:
    async with simulated(devices=3) as (simulator, run):
        await run.poll("devices")
        simulator.fault_injector.inject("error", "*/detect")
        with pytest.raises(Rejected):
            await run.poll("lines")


@pytest.mark.parametrize(
    "fault", [{"kind": "lost_answer"}, {"kind": "status", "status": 503}, {"kind": "status", "status": 403}]
)
async def test_failing_neighbours_do_not_affect_other_gateways(fault: dict[str, Any]) -> None:
    """Faults 2.1: three gateways after another whose lines cannot be read starve nobody."""
    async with simulated(devices=12) as (simulator, run):
        online = [mac for mac, device in simulator.devices.items() if device.connection_status == "online"]
        await run.poll("devices")
        for mac in online[:3]:
            simulator.fault_injector.inject(path=f"/s1/device/{mac}/detect", **fault)
        for _ in range(3):
            await run.poll("lines")
        calls = Counter(call.path.split("/")[3] for call in simulator.fault_injector.calls if "detect" in call.path)
        expected = {mac: 3 if simulator.lines(mac) else 2 for mac in online}  # after two it is known to have none
        assert {mac for mac in online if calls[mac] < expected[mac]} == set()


async def test_sweep_that_was_given_up_resumes_where_it_stopped() -> None:
    """Faults 2.1: while the primary source fails, too, the next sweep begins with those that were not requested."""
    async with simulated(Shared(primary_fails=True), devices=12, concurrency=1) as (simulator, run):
        await run.poll("devices")
        simulator.fault_injector.calls.clear()
        simulator.fault_injector.inject("status", "*/detect", status=500)
        for _ in range(3):
            with pytest.raises(InvalidResponse):
                await run.poll("lines")
        requested = [call.path for call in simulator.fault_injector.calls]
        assert len(set(requested)) == len(requested) == 9


async def test_lines_missed_in_three_polls_are_unavailable() -> None:
    """Faults 2.3: voltages that are not read any more are not shown as the present ones."""
    async with simulated(devices=3) as (simulator, run):
        simulator.set_online(MX100G, online=True, push=False)
        await run.poll("devices", "lines")
        assert run.devices[LINE].source == "lines"
        simulator.fault_injector.inject("error", f"/s1/device/{OM50}/detect")
        for available in (True, True, False, False):
            await run.poll("lines")
            assert run.devices[LINE].available is available
        simulator.fault_injector.clear()
        await run.poll("lines")
        assert run.devices[LINE].available


async def test_offline_gateway_that_fails_is_requested_once() -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("error", f"/s1/device/{MX100G}/detect")
        await run.poll("devices", "lines", "lines")
        requested = [call.path for call in simulator.fault_injector.calls if MX100G in call.path]
        assert len(requested) == 1
        simulator.fault_injector.clear()
        simulator.set_online(MX100G, online=True, push=False)
        await run.poll("devices", "lines")
        assert f"{MX100G_ID}_fxo_7" in run.devices


async def test_lines_poll_reads_the_list_first() -> None:
    async with simulated() as (_, run):
        await run.poll("lines")
        assert LINE in run.devices


async def test_read_of_a_line_returns_its_state() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "lines")
        simulator.set_line(OM50, "FXO-7", con_state="1")
        update = await run.backend.read(run.devices[LINE])
        assert {device.id: device for device in update.devices}[LINE].state["con_state"] == "below_threshold"


async def test_poll_requested_before_a_test_does_not_replace_it() -> None:
    async with simulated() as (_, run):
        await run.poll("devices", "lines")
        await run.press(OM50_ID, "test_fxo")
        old = {"line": "FXO-7", "con_state": "0"}
        assert run.backend.client.store.apply_lines(OM50, [old], 0.0, complete=True) == []
        assert run.backend.client.store.apply_lines("unknown", [old], 0.0, complete=True) == []


async def test_lines_with_other_or_no_name_are_handled() -> None:
    responses = {
        "devices": {"meta": {"totalResults": 1}, "devices": [{"device_mac": "A1"}]},
        "detects": {"meta": {"totalResults": 2}, "detects": [{"line": "7"}, {"con_state": "1"}]},
    }
    async with scripted(lambda request: responses["detects" if "detect" in request.path else "devices"]) as run:
        await run.poll("devices", "lines")
        assert set(run.devices) == {f"{NAME}_a1", f"{NAME}_a1_7"}
        assert "lines:A1" not in run.inventories


async def test_line_value_that_goes_blank_is_null_and_keeps_its_entity() -> None:
    """Faults 1.2."""
    lines: list[dict[str, str | None]] = [
        {"line": "FXO-7", "number": "8006", "reg_state": "1", "con_state": "2", "voltage": "48/30"}
    ]
    keys = {"line_fault", "number", "reg_state", "registered", "con_state", "wired", "voltage", "voltage_threshold"}

    def answer(request: web.Request) -> dict[str, Any]:
        items = lines if request.path.endswith("/detect") else [{"device_mac": OM50}]
        return {"meta": {"totalResults": 1}, "detects" if items is lines else "devices": items}

    async with scripted(answer) as run:
        await run.poll("devices", "lines")
        assert {key for key, value in run.devices[LINE].state.items() if value is not None} == keys
        lines[0] = {"line": "FXO-7", "number": "", "reg_state": None, "con_state": " ", "voltage": ""}
        await run.poll("lines")
        assert run.devices[LINE].state == dict.fromkeys(keys)
        assert {entity.key for entity in run.devices[LINE].entities} == keys


@pytest.mark.parametrize(
    ("line", "fault", "wired", "registered"),
    [
        ({"con_state": "2", "reg_state": "1"}, "OFF", "ON", "ON"),
        ({"con_state": "1", "reg_state": "1"}, "ON", "ON", "ON"),
        ({"con_state": "0", "reg_state": "1", "number": "8006"}, "ON", "OFF", "ON"),
        ({"con_state": "0", "reg_state": "0"}, "OFF", "OFF", "OFF"),
        ({"con_state": "2", "reg_state": "2"}, "ON", "ON", "OFF"),
        ({"con_state": "2", "reg_state": "3"}, "ON", "ON", "OFF"),
        ({"con_state": "2", "reg_state": "4"}, "OFF", "ON", "OFF"),
        ({"con_state": "2", "reg_state": "0", "number": "8006"}, "ON", "ON", "OFF"),
        ({"con_state": "9", "reg_state": "7", "number": "8006"}, None, None, None),
        ({"con_state": "?", "reg_state": "1"}, "OFF", None, "ON"),
        ({"con_state": "", "reg_state": ""}, None, None, None),
    ],
)
async def test_line_states_and_fault(
    line: dict[str, str], fault: str | None, wired: str | None, registered: str | None
) -> None:
    """Faults 3.9: a state that is not listed is unknown. Faults 5.7: one sensor for what is wrong with a line."""
    responses = {
        "devices": {"meta": {"totalResults": 1}, "devices": [{"device_mac": OM50}]},
        "detects": {"meta": {"totalResults": 1}, "detects": [{"line": "FXO-7"} | line]},
    }
    async with scripted(lambda request: responses["detects" if "detect" in request.path else "devices"]) as run:
        await run.poll("devices", "lines")
        state = run.devices[LINE].state
        assert (state["line_fault"], state["wired"], state["registered"]) == (fault, wired, registered)
        assert bool(run.devices[LINE].attributes.get("line_fault")) is (fault == "ON")


async def test_line_test_of_several_pages_is_one_test() -> None:
    """Faults 4.7: a test occupies all lines of the gateway, so only the first page requests it."""
    async with simulated(page_size=2) as (simulator, run):
        simulator.lines(OM50).extend(
            Line(line=f"FXO-{n}", number="", reg_state=None, con_state="2", voltage="48/30") for n in range(9, 15)
        )
        await run.poll("devices", "lines")
        simulator.fault_injector.calls.clear()
        await run.press(OM50_ID, "test_fxo")
        types = [call.query["type"] for call in simulator.fault_injector.calls]
        assert types == ["fxo", "curfxo", "curfxo", "curfxo"]
        assert len([id_ for id_ in run.devices if id_.startswith(f"{OM50_ID}_fxo")]) == 8


async def test_line_test_is_not_repeated_after_a_connection_error() -> None:
    """Faults 2.9: what only reads is sent once more, a test is not."""
    async with simulated() as (simulator, run):
        await run.poll("devices", "lines")
        simulator.fault_injector.calls.clear()
        simulator.fault_injector.inject("lost_answer", f"/s1/device/{OM50}/detect", times=1)
        with pytest.raises(Ambiguous):
            await run.press(OM50_ID, "test_fxo")
        assert len(simulator.fault_injector.calls) == 1


async def test_response_that_another_source_overtakes_is_not_lost() -> None:
    """Lines requested before and received after the alarm counts of their gateway change it all the same."""
    registry = Registry(clock=time.monotonic, added_entities=lambda _: ())
    runs: list[Run] = []

    def accept(updates: list[Update]) -> None:
        for update in updates:
            registry.accept(update, "")

    async def answer(request: web.Request) -> dict[str, Any]:
        if request.path.endswith("/detect"):
            accept(await runs[0].poll("statistics"))
            return {"meta": {"totalResults": 1}, "detects": [{"line": "FXO-7", "con_state": "2"}]}
        if request.path.endswith("/statistics"):
            counts = [{"metric_history_producer": OM50, "all": "7"}]
            return {"meta": {"totalResults": 1}, "metricHistoryStatistics": counts}
        return {"meta": {"totalResults": 1}, "devices": [{"device_mac": OM50}]}

    async with scripted(answer) as run:
        runs.append(run)
        accept(await run.poll("devices"))
        accept(await run.poll("lines"))
        assert {"alarms_total", "test_fxo"} <= {entity.key for entity in registry.devices[OM50_ID].entities}
