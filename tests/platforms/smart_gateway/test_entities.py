"""Entity descriptions: components, categories, units and values on their devices."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.platforms.smart_gateway.writes import NET, choice
from tests.platforms.smart_gateway.connected import GATEWAY, NAME, OTHER, SECOND, SIM, SN, USB, WAN, simulated

if TYPE_CHECKING:
    from fleet2mqtt.devices.model import Device, EntityDescription

_RATE = "sensor data_rate kbit/s measurement"
_STRENGTH = "signal_strength dBm measurement"

_GATEWAY = {
    "alias": "text config",
    "state": "sensor",
    "running": "binary_sensor running",
    "runtime": "sensor diagnostic duration s measurement",
    "remark": "text config off",
    "rateup": _RATE,
    "ratedown": _RATE,
    "qos": "sensor diagnostic",
    "mapping": "sensor measurement",
    "record_speed_up": _RATE,
    "record_speed_down": _RATE,
    "gps": "device_tracker",
    "lan_ip": "text config off",
    "lan_mask": "text config off",
    "lan_start": "text config off",
    "lan_end": "text config off",
    "hotspot_enable": "switch config",
    "hotspot_hidden": "switch config",
    "hotspot_name": "text config",
    "hotspot_passwd": "text config secret",
    "hotspot_encrymode": "sensor diagnostic off",
    "hotspot_ap": "sensor diagnostic off",
    "hotspot_chain": "sensor diagnostic off",
    "hotspot_bandwidth": "sensor diagnostic off",
    "top": "switch config",
    "lock": "switch config",
}
_LINE = {
    "name": "text config off",
    "enable": "switch",
    "state": "sensor diagnostic",
    "signal": f"sensor {_STRENGTH}",
    "operator": "sensor",
    "type": "sensor",
    "rateup": _RATE,
    "ratedown": _RATE,
    "rtt": "sensor duration ms measurement",
    "used": "sensor measurement",
    "remain": "sensor measurement",
    "total": "sensor measurement",
    "innerip": "sensor diagnostic off",
    "outerip": "sensor diagnostic off",
}
_ADDRESS = {"ip": "text config off", "mask": "text config off", "gateway": "text config off"}
_MODEM = {
    "today_used_flow": "number",
    "remain_flow": "number",
    "init_flow": "number config data_size GB",
    "iccid": "sensor diagnostic off",
    "frequency": "sensor diagnostic off",
    "frequency_range": "sensor diagnostic off",
    "rssi": f"sensor diagnostic {_STRENGTH}",
    "rssp": f"sensor diagnostic {_STRENGTH}",
    "rssq": "sensor diagnostic signal_strength dB measurement",
    "sinru": "sensor diagnostic signal_strength dB measurement",
    "net": "select config auto,sa,nsa",
    "slot": "select config auto,main,secondary",
    "apn": "text config",
}
_WIFI = {
    "usb_type": "sensor enum usb,wifi",
    "ssid": "text",
    "wifi_key": "text config secret",
    "wifi_encry_mode": "sensor diagnostic off",
    "wifi_mode": "sensor diagnostic off",
    "wifi_signal": "sensor diagnostic off",
    "wifi_frequency_range": "sensor diagnostic off",
    "is_dhcp": "switch config off",
}
_RULE = {
    "subnet_ip": "text",
    "gateway": "select unassigned,172de6ac9832de,abcd21dcf318ba",
    "ip": "sensor",
    "port": "sensor",
    "protocol": "sensor enum tcp,udp,tcp_udp",
    "mark": "sensor",
}
_FLEET = {"count": "sensor measurement", "mapping_count": "sensor measurement"}


def _summary(entity: EntityDescription) -> str:
    flags = (entity.category, "" if entity.enabled else "off", "secret" if entity.secret else "")
    parts = (entity.component, *flags, entity.device_class, entity.unit, entity.state_class, ",".join(entity.options))
    return " ".join(str(part) for part in parts if part)


def _table(device: Device) -> dict[str, str]:
    return {entity.key: _summary(entity) for entity in device.entities}


async def test_entities_of_each_device_are_complete() -> None:
    async with simulated() as (_, run):
        await run.poll()
        assert _table(run.devices[GATEWAY]) == _GATEWAY
        assert _table(run.devices[SIM]) == _LINE | _MODEM | _ADDRESS
        assert _table(run.devices[USB]) == {k: v for k, v in (_LINE | _WIFI | _ADDRESS).items() if k != "operator"}
        assert _table(run.devices[WAN]) == {k: v for k, v in (_LINE | _ADDRESS).items() if k != "operator"} | {
            "is_dhcp": "switch config off"
        }
        assert _table(run.devices[NAME]) == _FLEET
        rule = next(device for device in run.devices.values() if device.scope == "mappings")
        assert _table(rule) == _RULE
        assert list(_table(rule))[:2] == ["subnet_ip", "gateway"]


async def test_entities_have_both_names_and_addresses_a_pattern() -> None:
    async with simulated() as (_, run):
        await run.poll()
        rows = {
            (device.scope.partition(":")[0], entity.key): entity
            for device in run.devices.values()
            for entity in device.entities
        }
        assert all(entity.name.en and entity.name.zh for entity in rows.values())
        assert all(entity.name.en.isascii() for entity in rows.values())
        patterns = {key: entity.pattern for key, entity in rows.items() if entity.pattern}
        assert set(patterns) == {
            *(("gateways", f"lan_{end}") for end in ("ip", "mask", "start", "end")),
            *(("channels", key) for key in ("ip", "mask", "gateway")),
            ("mappings", "subnet_ip"),
        }
        pattern = next(iter(patterns.values()))
        assert all(re.fullmatch(pattern, good) for good in ("10.0.0.0", "192.168.4.199", "255.255.255.255"))
        assert not [bad for bad in ("", "1.2.3", "256.1.1.1", "1.2.3.4.5", "a.b.c.d") if re.fullmatch(pattern, bad)]


async def test_devices_have_identity_and_via_device() -> None:
    async with simulated() as (_, run):
        await run.poll()
        gateway, channel, fleet = run.devices[GATEWAY], run.devices[SIM], run.devices[NAME]
        assert (gateway.vendor_id, gateway.scope, gateway.name, gateway.via) == (SN, "gateways", "上海1", NAME)
        assert (gateway.model, gateway.sw_version, gateway.serial_number) == ("IG200", "V1.1.2", SN)
        assert (channel.vendor_id, channel.scope, channel.via) == ("0", f"channels:{SN}", GATEWAY)
        assert channel.name == "上海1 SIM1"
        assert (fleet.scope, fleet.via) == ("backend", None)


async def test_data_counters_have_the_configured_unit() -> None:
    async with simulated(units={"traffic": "kB"}) as (simulator, run):
        simulator.query_volumes = True
        await run.poll()
        counters = ("used", "remain", "total", "today_used_flow", "remain_flow")
        rows = [run.devices[SIM].entity(key) for key in counters]
        assert [(entity.device_class, entity.unit) for entity in rows if entity is not None] == [
            ("data_size", "kB")
        ] * 5
        init = run.devices[SIM].entity("init_flow")
        assert init is not None
        assert init.unit == "GB"


async def test_state_of_a_gateway_sets_running_and_availability() -> None:
    async with simulated() as (simulator, run):
        simulator.set_base(SN, state="stopped")
        simulator.set_base(OTHER, state="")
        await run.poll("devices")
        assert run.state(GATEWAY)["state"] == "stopped"
        assert run.state(GATEWAY)["running"] == "OFF"
        assert not run.devices[GATEWAY].available
        assert not run.devices[SIM].available
        assert "running" not in run.state(SECOND)
        assert run.devices[SECOND].available
        simulator.set_base(SN, state="running")
        await run.poll("devices")
        assert run.devices[GATEWAY].available
        assert run.devices[SIM].available


async def test_position_without_fix_is_null() -> None:
    async with simulated() as (simulator, run):
        simulator.gps_zero = True
        await run.poll("devices")
        assert run.devices[GATEWAY].entity("gps") is None
        simulator.gps_zero = False
        await run.poll("devices")
        position = run.state(GATEWAY)["gps"]
        assert set(position) == {"latitude", "longitude"}
        simulator.gps_missing = True
        await run.poll("devices")
        simulator.gps_missing = False
        simulator.gps_zero = True
        await run.poll("devices")
        assert run.state(GATEWAY)["gps"] is None
        assert run.devices[GATEWAY].entity("gps") is not None


async def test_undocumented_option_is_null_with_raw_attribute() -> None:
    async with simulated() as (simulator, run):
        simulator.set_channel(SN, "0", net=3)
        simulator.set_channel(SN, "4", usb_type=7)
        await run.poll()
        assert run.state(SIM)["net"] is None
        assert run.devices[SIM].attributes["net"] == {"raw": 3}
        assert run.state(USB)["usb_type"] is None
        assert run.devices[USB].attributes["usb_type"] == {"raw": 7}
        assert run.devices[USB].attributes["ssid"] == {"ssid_list": ["Depot-5G", "Depot-2G", "Guest"]}


@pytest.mark.parametrize(
    ("raw", "option"),
    [(0, "auto"), (1, "sa"), ("2", "nsa"), ("SA", "sa"), (" Auto ", "auto"), (3, None), (1.5, None), ("LTE", None)],
)
def test_choice_accepts_number_or_text(raw: object, option: str | None) -> None:
    assert choice(NET, raw) == option
