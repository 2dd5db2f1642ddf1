"""Entity descriptions: components, categories, units and values on their devices."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.platforms.smart_gateway.writes import NET, choice
from tests.platforms.smart_gateway.connected import GATEWAY, NAME, SIM, SN, USB, WAN, simulated

if TYPE_CHECKING:
    from fleet2mqtt.devices.model import Device, EntityDescription

_RATE = "sensor data_rate kbit/s measurement"
_STRENGTH = "signal_strength dBm measurement"

_GATEWAY = {
    "alias": "text config",
    "state": "sensor",
    "running": "binary_sensor running",
    "runtime": "sensor diagnostic off duration s measurement",
    "remark": "text config off",
    "rateup": _RATE,
    "ratedown": _RATE,
    "qos": "sensor diagnostic",
    "mapping": "sensor off measurement",
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
    "bonding_degraded": "binary_sensor problem",
    "channels_up": "sensor measurement",
    "channels_total": "sensor measurement",
    "uplinks_active": "sensor measurement",
    "rtt_worst": "sensor duration ms measurement",
    "channels_rateup": _RATE,
    "channels_ratedown": _RATE,
}
_LINE = {
    "name": "text config off",
    "enable": "switch",
    "up": "binary_sensor connectivity",
    "state": "sensor diagnostic off",
    "signal": f"sensor {_STRENGTH}",
    "operator": "sensor",
    "type": "sensor",
    "rateup": _RATE,
    "ratedown": _RATE,
    "rtt": "sensor duration ms measurement",
    "used": "sensor off data_size kB measurement",
    "remain": "sensor off data_size kB measurement",
    "total": "sensor off data_size kB measurement",
    "usage_today": "sensor data_size GB total_increasing",
    "usage_month": "sensor data_size GB total_increasing",
    "usage_forecast": "sensor data_size GB measurement",
    "usage_remaining": "sensor data_size GB measurement",
    "innerip": "sensor diagnostic off",
    "outerip": "sensor diagnostic off",
}
_ADDRESS = {"ip": "text config off", "mask": "text config off", "gateway": "text config off"}
_MODEM = {
    "today_used_flow": "sensor off data_size GB total_increasing",
    "remain_flow": "sensor off data_size GB measurement",
    "today_used_flow_correction": "number config off data_size GB",
    "remain_flow_correction": "number config off data_size GB",
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
    "gateway": "select unassigned,上海1,上海一",
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


def _entities(device: Device) -> dict[str, EntityDescription]:
    return {entity.key: entity for entity in device.entities}


def _table(device: Device) -> dict[str, str]:
    return {key: _summary(entity) for key, entity in _entities(device).items()}


async def test_entities_of_each_device_are_complete() -> None:
    async with simulated() as (_, run):
        await run.poll()
        assert _table(run.devices[GATEWAY]) == _GATEWAY
        assert _table(run.devices[SIM]) == _LINE | _MODEM | _ADDRESS
        assert _table(run.devices[USB]) == _LINE | _WIFI | _ADDRESS
        assert _table(run.devices[WAN]) == _LINE | _ADDRESS | {"is_dhcp": "switch config off"}
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


@pytest.mark.parametrize(
    ("units", "traffic", "flow"),
    [
        ({}, ("data_size", "kB"), ("data_size", "GB")),
        ({"traffic": "MB"}, ("data_size", "MB"), ("data_size", "GB")),
        ({"traffic": None, "flow": None}, (None, None), (None, None)),
    ],
)
async def test_data_counters_have_two_configurable_units(units: dict[str, Any], traffic: object, flow: object) -> None:
    """Faults 5.5: by the document's samples the list counts in kB and the modem in GB."""
    async with simulated(units=units) as (_, run):
        await run.poll()
        found = {key: (entity.device_class, entity.unit) for key, entity in _entities(run.devices[SIM]).items()}
        assert {found[key] for key in ("used", "remain", "total")} == {traffic}
        assert {found[key] for key in ("today_used_flow", "remain_flow", "remain_flow_correction")} == {flow}
        assert found["init_flow"] == ("data_size", "GB")


@pytest.mark.parametrize("word", ["Running", "online", "1"])
async def test_running_states_are_configurable_and_compared_without_case(word: str) -> None:
    """Faults 2.5."""
    async with simulated(running_states=["running", "Online", 1]) as (simulator, run):
        simulator.set_base(SN, state=word)
        await run.poll("devices")
        assert run.state(GATEWAY)["running"] == "ON"
        assert run.devices[GATEWAY].available


@pytest.mark.parametrize(("state", "running"), [("stopped", "OFF"), ("standby", "OFF"), ("", None), ("RUNNING", "ON")])
async def test_listed_gateway_is_available_whatever_its_state(state: str, running: str | None) -> None:
    """Faults 2.5: `running` can be OFF only if the gateway is available."""
    async with simulated() as (simulator, run):
        simulator.set_base(SN, state=state)
        await run.poll()
        assert run.state(GATEWAY)["state"] == (state or None)
        assert run.state(GATEWAY)["running"] == running
        assert run.devices[GATEWAY].available
        assert run.devices[SIM].available


async def test_position_without_fix_is_null() -> None:
    async with simulated() as (simulator, run):
        simulator.gps_zero = True
        await run.poll()
        assert run.state(GATEWAY)["gps"] is None
        simulator.gps_zero = False
        await run.poll()
        assert set(run.state(GATEWAY)["gps"]) == {"latitude", "longitude"}
        simulator.gps_missing = True
        await run.poll()
        assert run.devices[GATEWAY].entity("gps") is None


@pytest.mark.parametrize(
    ("key", "field", "raw"),
    [("init_flow", "initFlow", -5), ("remain_flow_correction", "remainFlow", -0.5), ("ip", "ip", "192.168.4.1/24")],
)
async def test_value_out_of_its_own_range_is_null_with_raw_attribute(key: str, field: str, raw: object) -> None:
    """Faults 3.8: Home Assistant refuses the state of an entity that is out of the entity's range or pattern."""
    async with simulated() as (simulator, run):
        simulator.set_channel(SN, "0", **{field: raw})
        await run.poll()
        assert run.state(SIM)[key] is None
        assert run.devices[SIM].attributes[key] == {"raw": raw}


async def test_sensor_of_an_overdrawn_plan_is_negative() -> None:
    async with simulated() as (simulator, run):
        simulator.set_channel(SN, "0", remainFlow=-0.5)
        await run.poll()
        assert run.state(SIM)["remain_flow"] == -0.5


@pytest.mark.parametrize(("field", "value"), [("operator", ""), ("frequency", ""), ("rssi", None), ("used", "")])
async def test_blank_field_is_null_and_keeps_its_entity(field: str, value: object) -> None:
    """Faults 1.2: also after a restart, when the field was never anything but blank."""
    async with simulated() as (simulator, run):
        simulator.set_channel(SN, "0", **{field: value})
        await run.poll()
        assert run.state(SIM)[field] is None
        assert run.devices[SIM].entity(field) is not None


@pytest.mark.parametrize(("area", "expected"), [("none", None), ("alias", "上海1"), ("remark", "这是备注")])
async def test_option_area_suggests_a_field_as_area(area: str, expected: str | None) -> None:
    """Faults 5.7."""
    async with simulated(area=area) as (_, run):
        await run.poll()
        assert run.devices[GATEWAY].suggested_area == run.devices[SIM].suggested_area == expected


async def test_names_are_those_of_the_document() -> None:
    """Faults 5.16: 频率, not 频点; nothing says that `chain` is a radio channel, or that flows are of a plan."""
    async with simulated() as (_, run):
        await run.poll()
        names = {key: (one.name.en, one.name.zh) for key, one in _entities(run.devices[SIM]).items()}
        assert names["frequency"] == ("Frequency", "频率")
        assert names["remain_flow"] == ("Remaining traffic", "剩余流量")
        chain = run.devices[GATEWAY].entity("hotspot_chain")
        assert chain is not None
        assert chain.name.en == "Hotspot chain"
        assert run.backend.configuration_url is None


async def test_settings_of_one_object_are_one_group() -> None:
    """Faults 3.6: what is written together goes out in one call."""
    async with simulated() as (_, run):
        await run.poll()
        gateway, wan = _entities(run.devices[GATEWAY]), _entities(run.devices[WAN])
        assert {gateway[key].group for key in ("lan_ip", "lan_mask", "lan_start", "lan_end")} == {"lan"}
        assert {wan[key].group for key in ("ip", "mask", "gateway", "is_dhcp", "name")} == {"channel"}
        assert all(one.write_group is not None for one in (*gateway.values(), *wan.values()) if one.write is not None)


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


async def test_long_port_list_and_many_rules_stay_within_home_assistants_limits() -> None:
    """Faults 5.6."""
    async with simulated() as (simulator, run):
        ports = ",".join(map(str, range(20_000, 20_100)))
        uuid = simulator.add_rule("many", "192.168.16.56", ports, 0)
        for number in range(200):
            simulator.add_rule(f"rule {number}", "192.168.16.56", f"{30_000 + number}", 0)
        await run.poll()
        rule = f"{NAME}_mapping_{uuid}"
        assert len(run.state(rule)["port"]) == 255
        assert run.devices[rule].attributes["port"] == {"text": ports}
        rules = run.devices[NAME].attributes["mapping_count"]
        assert len(rules["rules"]) + rules["omitted"] == run.state(NAME)["mapping_count"] == 204
        assert len((await run.act("mapping_list"))["list"]) == 204
