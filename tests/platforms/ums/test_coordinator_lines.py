"""FXO lines: as last measured and tested, of gateways that are online, offline or reject."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from fleet2mqtt.devices.model import UpdateOrigin
from fleet2mqtt.errors import Ambiguous, Rejected
from tests.platforms.ums.connected import NAME, scripted, simulated

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
            "reg_state": "registered",
            "registered": "ON",
            "con_state": "good",
            "wired": "ON",
            "voltage": 48,
            "voltage_threshold": 30,
        }
        assert line.attributes == {"con_state": {"number": "8006"}}
        assert run.inventories[line.scope][0].ids == {f"{MX100G_ID}_fxo_7", f"{MX100G_ID}_fxo_8"}
        assert "reg_state" not in run.devices[LINE].state  # an OM tells none


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
    async with simulated() as (simulator, run):
        await run.poll("devices")
        assert run.devices[OM50_ID].entity("test_fxo")
        simulator.fault_injector.inject("empty", f"/s1/device/{OM50}/detect")
        await run.poll("lines")
        assert run.devices[OM50_ID].entity("test_fxo") is None
        assert f"lines:{OM50}" not in run.inventories
        simulator.fault_injector.clear()
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


async def test_empty_response_removes_no_line() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "lines")
        simulator.fault_injector.inject("empty", f"/s1/device/{OM50}/detect")
        await run.poll("lines")
        assert len(run.inventories[f"lines:{OM50}"]) == 1
        assert run.devices[OM50_ID].entity("test_fxo")


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


async def test_three_gateways_without_response_end_the_poll() -> None:
    async with simulated(devices=20) as (simulator, run):
        await run.poll("devices")
        simulator.fault_injector.inject("lost_answer", "*/detect")
        with pytest.raises(Ambiguous):
            await run.poll("lines")
        assert run.backend.calls["fxo_status"].calls == 3


async def test_offline_gateway_that_fails_is_requested_once() -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("error", f"/s1/device/{MX100G}/detect")
        await run.poll("devices", "lines", "lines")
        asked = [call.path for call in simulator.fault_injector.calls if MX100G in call.path]
        assert len(asked) == 1
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
    said = {
        "devices": {"meta": {"totalResults": 1}, "devices": [{"device_mac": "A1"}]},
        "detects": {"meta": {"totalResults": 2}, "detects": [{"line": "7"}, {"con_state": "1"}]},
    }
    async with scripted(lambda request: said["detects" if "detect" in request.path else "devices"]) as run:
        await run.poll("devices", "lines")
        assert set(run.devices) == {f"{NAME}_a1", f"{NAME}_a1_7"}
        assert "lines:A1" not in run.inventories
