"""Settings: the request of each write, and its read-back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.devices.model import read_state
from fleet2mqtt.errors import Ambiguous, Rejected, Unconfirmed
from fleet2mqtt.platforms.smart_gateway import writes
from fleet2mqtt.sdk import vendor_json
from tests.platforms.smart_gateway.connected import GATEWAY, SET, SIM, SN, USB, WAN, calls, simulated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fleet2mqtt.simulators.smart_gateway import Simulator
    from tests.platforms.context import Run

_WRITES: list[tuple[str, str, Any, dict[str, Any]]] = [
    (GATEWAY, "alias", "北京 2", {"base": {"sn": SN, "alias": "北京 2"}}),
    (GATEWAY, "remark", "", {"base": {"sn": SN, "remark": ""}}),
    (GATEWAY, "lan_ip", "192.168.4.2", {"network": {"lan": {"ip": "192.168.4.2"}}}),
    (GATEWAY, "lan_mask", "255.255.0.0", {"network": {"lan": {"mask": "255.255.0.0"}}}),
    (GATEWAY, "lan_start", "192.168.4.50", {"network": {"lan": {"start": "192.168.4.50"}}}),
    (GATEWAY, "lan_end", "192.168.4.150", {"network": {"lan": {"end": "192.168.4.150"}}}),
    (GATEWAY, "hotspot_enable", False, {"network": {"hotspot": {"enable": 0}}}),
    (GATEWAY, "hotspot_hidden", True, {"network": {"hotspot": {"hidden": 1}}}),
    (GATEWAY, "hotspot_name", "Van 7", {"network": {"hotspot": {"name": "Van 7"}}}),
    (GATEWAY, "top", False, {"parameters": {"top": 0}}),
    (GATEWAY, "lock", True, {"parameters": {"lock": 1}}),
    (SIM, "name", "Main SIM", {"channel": {"0": {"name": "Main SIM"}}}),
    (SIM, "enable", True, {"channel": {"0": {"enable": 1}}}),
    (SIM, "net", "sa", {"channel": {"0": {"net": "SA"}}}),
    (SIM, "net", "nsa", {"channel": {"0": {"net": "NSA"}}}),
    (SIM, "slot", "secondary", {"channel": {"0": {"slot": 2}}}),
    (SIM, "apn", "3gnet", {"channel": {"0": {"apn": "3gnet"}}}),
    (SIM, "init_flow", 120.0, {"channel": {"0": {"initFlow": 120}}}),
    (SIM, "today_used_flow_correction", 0.5, {"channel": {"0": {"todayUsedFlow": 0.5}}}),
    (SIM, "remain_flow_correction", 7, {"channel": {"0": {"remainFlow": 7}}}),
    (USB, "ssid", "Guest", {"channel": {"4": {"ssid": "Guest"}}}),
    (USB, "is_dhcp", False, {"channel": {"4": {"is_dhcp": False}}}),
    (WAN, "ip", "192.168.100.9", {"channel": {"8": {"ip": "192.168.100.9"}}}),
    (WAN, "mask", "255.255.255.128", {"channel": {"8": {"mask": "255.255.255.128"}}}),
    (WAN, "gateway", "192.168.100.3", {"channel": {"8": {"gateway": "192.168.100.3"}}}),
]
_SECRETS: list[tuple[str, str, dict[str, Any]]] = [
    (GATEWAY, "hotspot_passwd", {"network": {"hotspot": {"passwd": "s3cret-Word"}}}),
    (USB, "wifi_key", {"channel": {"4": {"wifiKey": "s3cret-Word"}}}),
]
_TELEMETRY = (
    *("state", "runtime", "rateup", "ratedown", "record", "gps", "signal", "rtt", "used", "remain", "total"),
    *("innerip", "outerip", "rssi", "rssp", "ICCID", "todayUsedFlow", "remainFlow", "passwd", "wifiKey", "chart"),
)


@pytest.fixture
async def backend() -> AsyncIterator[tuple[Simulator, Run]]:
    async with simulated() as (simulator, run):
        await run.poll()
        yield simulator, run


def _shown(value: Any) -> Any:
    return {True: "ON", False: "OFF"}[value] if isinstance(value, bool) else value


async def test_table_of_writes_is_complete(backend: tuple[Simulator, Run]) -> None:
    _, run = backend
    writable = {
        (device.scope.partition(":")[0], row.key)
        for device in run.devices.values()
        for row in device.entities
        if row.write is not None and device.scope != "mappings"
    }
    tried = {(device, key) for device, key, _, _ in _WRITES} | {(device, key) for device, key, _ in _SECRETS}
    scopes = {GATEWAY: "gateways", SIM: "channels", USB: "channels", WAN: "channels"}
    assert writable == {(scopes[device], key) for device, key in tried}


@pytest.mark.parametrize(("device", "key", "value", "change"), _WRITES, ids=[f"{row[1]}={row[2]}" for row in _WRITES])
async def test_setting_is_sent_alone_and_read_back(
    backend: tuple[Simulator, Run], device: str, key: str, value: Any, change: dict[str, Any]
) -> None:
    simulator, run = backend
    await run.write(device, key, value)
    (call,) = calls(simulator, SET)
    assert call.method == "POST"
    assert call.body == {"devices": {SN: {"base": {"sn": SN}} | change}}
    after = await run.read(device)
    assert after.state[key] == _shown(value)


@pytest.mark.parametrize(("device", "key", "change"), _SECRETS)
async def test_password_is_compared_by_digest_and_never_shown(
    backend: tuple[Simulator, Run], device: str, key: str, change: dict[str, Any]
) -> None:
    simulator, run = backend
    await run.write(device, key, "s3cret-Word")
    assert calls(simulator, SET)[0].body == {"devices": {SN: {"base": {"sn": SN}} | change}}
    after = await run.read(device)
    row = after.entity(key)
    assert row is not None
    assert row.secret
    assert row.value is not None
    assert row.value(after.record) == vendor_json.secret_digest("s3cret-Word")
    assert key not in after.state
    assert "s3cret" not in repr(run.devices)
    assert "sealed:" not in repr([(one.state, one.attributes) for one in run.devices.values()])
    assert key not in read_state(after.entities, after.record)


@pytest.mark.parametrize(
    ("device", "values", "change"),
    [
        (
            WAN,
            {"is_dhcp": False, "ip": "10.0.0.2", "mask": "255.255.255.0", "gateway": "10.0.0.1"},
            {"channel": {"8": {"is_dhcp": False, "ip": "10.0.0.2", "mask": "255.255.255.0", "gateway": "10.0.0.1"}}},
        ),
        (
            GATEWAY,
            {"lan_ip": "10.1.0.1", "lan_mask": "255.255.0.0", "lan_start": "10.1.0.9", "lan_end": "10.1.9.9"},
            {"network": {"lan": {"ip": "10.1.0.1", "mask": "255.255.0.0", "start": "10.1.0.9", "end": "10.1.9.9"}}},
        ),
    ],
)
async def test_settings_of_one_object_are_one_call(
    backend: tuple[Simulator, Run], device: str, values: dict[str, Any], change: dict[str, Any]
) -> None:
    """Faults 3.6: an address without its mask or gateway can cut off a remote site."""
    simulator, run = backend
    await run.write_group(device, values)
    assert [call.body for call in calls(simulator, SET)] == [{"devices": {SN: {"base": {"sn": SN}} | change}}]
    after = await run.read(device)
    assert {key: after.state[key] for key in values} == {key: _shown(value) for key, value in values.items()}


async def test_values_are_sent_in_the_vendors_types() -> None:
    async with simulated() as (simulator, run):
        simulator.net_as_int = True
        simulator.bool_enables = True
        await run.poll()
        assert run.state(SIM)["net"] == "auto"
        for device, key, value in ((SIM, "net", "nsa"), (SIM, "enable", True), (GATEWAY, "lock", True)):
            await run.write(device, key, value)
        sent = [call.body["devices"][SN] for call in calls(simulator, SET)]
        assert [body.get("channel") for body in sent] == [{"0": {"net": 2}}, {"0": {"enable": True}}, None]
        assert sent[2]["parameters"] == {"lock": True}


@pytest.mark.parametrize(
    ("encode", "old", "value", "sent"),
    [
        (writes.as_flag, None, True, 1),
        (writes.as_flag, "0", True, "1"),
        (writes.as_flag, "off", True, "true"),
        (writes.as_flag, "true", False, "false"),
        (writes.as_flag, "", True, "1"),
        (writes.as_boolean, None, True, True),
        (writes.as_boolean, 0, True, 1),
        (writes.as_number, "100", 2.5, "2.5"),
        (writes.as_number, 100, 2.0, 2),
        (writes.as_choice(writes.NET), None, "sa", 1),
        (writes.as_choice(writes.NET), "0", "sa", "1"),
        (writes.as_choice(writes.NET), "auto", "sa", "SA"),
        (writes.as_choice(writes.NET), "SA", "auto", "auto"),
        (writes.as_choice(writes.SLOT), "main", "secondary", "secondary"),
    ],
)
def test_value_is_encoded_in_the_vendors_form(encode: writes.Encode, old: Any, value: Any, sent: Any) -> None:
    found = encode(old, value)
    assert (type(found), found) == (type(sent), sent)


async def test_full_body_has_settings_without_telemetry_or_secrets() -> None:
    async with simulated(set_body="full") as (simulator, run):
        simulator.set_network(SN, "hotspot", passwd="c4nary-hotspot")
        simulator.set_channel(SN, "4", wifiKey="c4nary-wifi")
        await run.poll()
        simulator.set_base(SN, remark="changed behind our back")
        await run.write(SIM, "apn", "3gnet")
        (call,) = calls(simulator, SET)
        (body,) = call.body["devices"].values()
        assert body["base"]["sn"] == SN
        assert body["base"]["remark"] == "changed behind our back"
        assert body["base"]["alias"] == "上海1"
        assert body["network"]["lan"]["mask"] == "255.255.255.0"
        assert body["network"]["hotspot"]["name"] == "我的Wi-Fi"
        assert body["parameters"] == {"top": 1, "lock": 0}
        assert body["channel"]["0"] | {"apn": "3gnet", "slot": 0, "enable": 0} == body["channel"]["0"]
        assert body["channel"]["8"]["gateway"] == "192.168.100.1"
        assert "1" not in body["channel"]
        text = json.dumps(call.body)
        assert not [name for name in _TELEMETRY if f'"{name}"' in text]
        assert "c4nary" not in text
        assert "sealed:" not in text
        assert (await run.read(SIM)).state["apn"] == "3gnet"


async def test_full_body_has_the_secret_that_is_written() -> None:
    async with simulated(set_body="full") as (simulator, run):
        await run.poll()
        await run.write(GATEWAY, "hotspot_passwd", "n3w-Word")
        (body,) = calls(simulator, SET)[0].body["devices"].values()
        assert body["network"]["hotspot"]["passwd"] == "n3w-Word"
        assert body["network"]["hotspot"]["name"] == "我的Wi-Fi"


async def test_missing_set_path_names_the_option(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    simulator.set_path = None
    with pytest.raises(Rejected, match="option set_path") as caught:
        await run.write(SIM, "apn", "3gnet")
    assert caught.value.code == 404
    assert "/api/v1/devices/set" in str(caught.value)


async def test_option_set_path_is_used() -> None:
    async with simulated(set_path="/api/v1/devices/edit") as (simulator, run):
        simulator.set_path = "/api/v1/devices/edit"
        await run.poll()
        await run.write(SIM, "apn", "3gnet")
        assert (await run.read(SIM)).state["apn"] == "3gnet"


async def test_write_to_an_offline_gateway_is_rejected(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    simulator.fault_injector.inject("error", SET, code=7006, text="设备已下线", times=1)
    with pytest.raises(Rejected, match=r"the device is offline \(设备已下线\)") as caught:
        await run.write(SIM, "apn", "3gnet")
    assert caught.value.code == 7006
    assert caught.value.endpoint == "devices/set"


async def test_write_that_cannot_reach_the_gateway_is_unconfirmed(backend: tuple[Simulator, Run]) -> None:
    """Faults 3.4: a read-back would show the vendor's copy."""
    simulator, run = backend
    simulator.running_state = "offline"  # it takes the change all the same
    simulator.set_base(SN, state="offline")
    await run.poll("devices")
    await run.write(GATEWAY, "remark", "kept by the vendor")
    with pytest.raises(Unconfirmed, match="'offline'") as caught:
        await run.write(SIM, "apn", "3gnet")
    assert caught.value.code == "device_offline"
    with pytest.raises(Unconfirmed):
        await run.write_group(GATEWAY, {"lan_ip": "10.0.0.1", "lan_mask": "255.0.0.0"})
    simulator.query_failures[SN] = 7006
    with pytest.raises(Unconfirmed):
        await run.write(SIM, "apn", "cmnet")
    simulator.query_failures.clear()
    simulator.running_state = "running"
    simulator.set_base(SN, state="running")
    await run.write(SIM, "apn", "cmnet")  # the last known state was old


async def test_lost_response_is_ambiguous_and_read_back_decides(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    simulator.fault_injector.inject("lost_answer", SET, times=1)
    with pytest.raises(Ambiguous):
        await run.write(SIM, "apn", "3gnet")
    assert len(calls(simulator, SET)) == 1
    assert (await run.read(SIM)).state["apn"] == "3gnet"


async def test_ignored_write_is_seen_in_the_read_back(backend: tuple[Simulator, Run]) -> None:
    simulator, run = backend
    simulator.fault_injector.inject("noop", SET, times=1)
    await run.write(SIM, "apn", "3gnet")
    assert (await run.read(SIM)).state["apn"] == "cmnet"
