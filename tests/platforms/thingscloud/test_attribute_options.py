"""Bounds, units, device classes and write access of attributes, and the options that override them."""

from __future__ import annotations

from typing import Any

import pytest
import voluptuous as vol

from fleet2mqtt.devices.model import Component
from fleet2mqtt.platforms import thingscloud
from tests.platforms.thingscloud.project import Project, attribute, one, running

SENSOR, NUMBER, SWITCH, BINARY = Component.SENSOR, Component.NUMBER, Component.SWITCH, Component.BINARY_SENSOR
MOST = 2**53 - 1
SELECT, TEXT, TRACKER = Component.SELECT, Component.TEXT, Component.DEVICE_TRACKER


@pytest.mark.parametrize(
    ("options", "bounds"),
    [
        ({"min": 0, "max": 10, "step": 0.5}, (0, 10, 0.5)),
        ({"minimum": "1", "maximum": "9", "precision": "2"}, (1, 9, 0.01)),
        ({"decimals": 0}, (-MOST, MOST, 1)),
        ({"precision": 9}, (-MOST, MOST, 0.001)),
        ({"precision": -1, "step": -1}, (-MOST, MOST, 1)),
        ({"min": 5, "max": 5}, (-MOST, MOST, 1)),
        ({"min": None, "max": 7}, (-MOST, 7, 1)),
        ([], (-MOST, MOST, 1)),
    ],
)
async def test_number_bounds_come_from_data_options(options: Any, bounds: tuple[float, ...]) -> None:
    row, _, _ = await one(attribute("a", 7, data_type="number", attr_type="both", data_options=options))
    assert (row.minimum, row.maximum, row.step) == bounds


async def test_number_with_a_fraction_gets_a_small_step() -> None:
    project = Project(attributes=[attribute("a", 7, attr_type="both")])
    async with running(project) as run:
        await run.poll("devices", "attributes")
        assert run.entity("a").step == 1
        for value in (7.5, 8):
            project.values = {"a": value}
            await run.poll("attributes")
            assert run.entity("a").step == 0.001


@pytest.mark.parametrize(
    ("unit", "identifier", "name", "shown", "device_class", "state_class"),
    [
        ("℃", "t", "", "°C", "temperature", "measurement"),
        ("%", "humidity", "", "%", "humidity", "measurement"),
        ("%", "battery", "", "%", "battery", "measurement"),
        ("%", "progress", "", "%", None, "measurement"),
        ("V", "u", "", "V", "voltage", "measurement"),
        ("mA", "i", "", "mA", "current", "measurement"),
        ("KW", "p", "", "kW", "power", "measurement"),
        ("hPa", "p", "", "hPa", "pressure", "measurement"),
        ("hPa", "p", "大气压", "hPa", "atmospheric_pressure", "measurement"),
        ("lux", "light", "", "lx", "illuminance", "measurement"),
        ("ppm", "co2", "", "ppm", "carbon_dioxide", "measurement"),
        ("ppm", "co", "", "ppm", "carbon_monoxide", "measurement"),
        ("ppm", "salt", "", "ppm", None, "measurement"),
        ("dBm", "rssi", "", "dBm", "signal_strength", "measurement"),
        ("个", "n", "", "个", None, "measurement"),
        (None, "n", "", None, None, "measurement"),
        # Names beside units (faults 5.9).
        ("dB", "noise", "", "dB", "sound_pressure", "measurement"),
        ("dB", "v1", "噪声", "dB", "sound_pressure", "measurement"),
        ("dB(A)", "v1", "", "dBA", "sound_pressure", "measurement"),
        ("dB", "snr", "", "dB", "signal_strength", "measurement"),
        ("dB", "gain", "", "dB", None, "measurement"),
        ("%", "soil_humidity", "", "%", "moisture", "measurement"),
        ("%", "v1", "土壤湿度", "%", "moisture", "measurement"),
        ("m/s", "windSpeed", "", "m/s", "wind_speed", "measurement"),
        ("m/s", "v1", "风速", "m/s", "wind_speed", "measurement"),
        ("km/h", "speed", "", "km/h", "speed", "measurement"),
        ("m/s", "window_speed", "", "m/s", "speed", "measurement"),
        ("°", "wind_direction", "", "°", "wind_direction", "measurement_angle"),
        ("mm", "rain", "", "mm", "precipitation", "measurement"),
        ("mm", "v1", "今日雨量", "mm", "precipitation", "total_increasing"),
        ("mm", "train_gap", "", "mm", "distance", "measurement"),
        ("mm/h", "v1", "雨强", "mm/h", "precipitation_intensity", "measurement"),
        ("ug/m3", "pm2_5", "", "µg/m³", "pm25", "measurement"),
        ("μg/m³", "PM2.5", "", "µg/m³", "pm25", "measurement"),
        ("µg/m³", "pm25", "", "µg/m³", "pm25", "measurement"),
        ("ug/m³", "pm10", "", "µg/m³", "pm10", "measurement"),
        ("ug/m³", "pm1", "", "µg/m³", "pm1", "measurement"),
        ("W/m2", "radiation", "", "W/m²", "irradiance", "measurement"),
        ("w/㎡", "v1", "", "W/m²", "irradiance", "measurement"),
        ("m3", "water_total", "", "m³", "water", "total_increasing"),
        ("立方米", "v1", "用水量", "m³", "water", "total_increasing"),
        ("m³", "gas", "", "m³", "gas", "total_increasing"),
        ("m³", "v1", "燃气用量", "m³", "gas", "total_increasing"),
        ("L", "v1", "水量", "L", "water", "total_increasing"),
        ("m³", "tank", "", "m³", "volume_storage", "measurement"),
        ("m³", "v1", "累计流量", "m³", "volume", "total_increasing"),
        ("m3/h", "flow", "", "m³/h", "volume_flow_rate", "measurement"),
        ("度", "v1", "用电量", "kWh", "energy", "total_increasing"),
        ("度", "energy", "", "kWh", "energy", "total_increasing"),
        ("度", "temperature", "", "°C", "temperature", "measurement"),
        ("度", "v1", "风向", "°", "wind_direction", "measurement_angle"),
        ("度", "v1", "", "度", None, "measurement"),
        ("kWh", "v1", "电能", "kWh", "energy", "total_increasing"),
        ("kWh", "v1", "剩余电量", "kWh", "energy_storage", "measurement"),
        ("pH", "v1", "酸碱度", None, "ph", "measurement"),
        (None, "soil_ph", "", None, "ph", "measurement"),
        ("us/cm", "ec", "", "µS/cm", "conductivity", "measurement"),
    ],
)
async def test_device_class_follows_unit_and_names(  # noqa: PLR0913, PLR0917 - one column each
    unit: str | None,
    identifier: str,
    name: str,
    shown: str | None,
    device_class: str | None,
    state_class: str,
) -> None:
    options = {} if unit is None else {"unit": unit}
    row, _, _ = await one(attribute(identifier, 1, data_type="number", name=name, data_options=options))
    assert (row.unit, row.device_class, row.state_class) == (shown, device_class, state_class)


ALLOWED = {
    **dict.fromkeys(("energy", "gas", "volume", "water"), "total_increasing"),
    "wind_direction": "measurement_angle",
}


@pytest.mark.parametrize("device_class", ["water", "gas", "volume", "energy", "wind_direction", "temperature"])
async def test_state_class_is_one_that_home_assistant_allows(device_class: str) -> None:
    """Home Assistant excludes `measurement` for some device classes (faults 5.9)."""
    given = attribute("a", 5, data_type="number", data_options={"unit": "m³"})
    row, _, _ = await one(given, attributes={"a": {"device_class": device_class}})
    assert row.state_class == ALLOWED.get(device_class, "measurement")
    row, _, _ = await one(given, attributes={"a": {"device_class": device_class, "state_class": "total"}})
    assert row.state_class == "total"
    row, _, _ = await one(given, attributes={"a": {"device_class": device_class, "state_class": ""}})
    assert row.state_class is None


async def test_number_outside_its_range_is_null_with_the_raw_value() -> None:
    """Home Assistant logs an error at each such state (faults 3.8)."""
    bounds = {"min": 5, "max": 35}
    given = attribute("a", 85, data_type="number", attr_type="both", data_options=bounds)
    assert (await one(given))[1:] == (None, {"raw": 85})
    assert (await one(given | {"value": 35}))[1:] == (35, None)
    sensor = attribute("a", 85, data_type="number", attr_type="report", data_options=bounds)
    assert (await one(sensor))[1:] == (85, None)


@pytest.mark.parametrize(
    ("word", "documented", "everything"),
    [
        *((word, False, False) for word in ("report", "Reported", "read_only", "设备上报")),
        *(
            (word, True, True)
            for word in ("push", "both", "share", "Read-Write", "云端下发", "设备云端共享", "云端私有", "cloud")
        ),
        *((word, False, True) for word in ("hologram", "", None)),
    ],
)
async def test_write_access_follows_attr_type_and_option(word: str | None, documented: bool, everything: bool) -> None:
    given = attribute("a", True, attr_type=word, data_type="switch")
    for policy, writable in (("documented", documented), ("all", everything), ("none", False)):
        row, _, _ = await one(given, writable=policy)
        assert (row.write is not None, row.component) == (writable, SWITCH if writable else BINARY)
    plain = attribute("a", True) | {"attr_type": word}
    assert ((await one(plain))[0].write is not None) is documented


async def test_object_and_position_are_read_only() -> None:
    for data_type, value in (("object", {}), ("list", []), ("mappoint", {"lat": 1, "lng": 1}), ("dailytimer", [])):
        given = attribute("a", value, data_type=data_type, attr_type="both")
        row, _, _ = await one(given, writable="all", attributes={"a": {"writable": True}})
        assert row.write is None


@pytest.mark.parametrize(
    ("override", "given", "component", "writable"),
    [
        ({"component": "switch"}, attribute("a", 1), SWITCH, True),
        ({"component": "binary_sensor"}, attribute("a", "1"), BINARY, False),
        ({"component": "number"}, attribute("a", "7", data_type="text"), NUMBER, True),
        ({"component": "number", "writable": False}, attribute("a", "7"), SENSOR, False),
        ({"component": "text"}, attribute("a", 7), TEXT, True),
        ({"component": "select"}, attribute("a", "x", data_options={"enum": ["x"]}), SELECT, True),
        ({"component": "sensor"}, attribute("a", True, attr_type="both"), SENSOR, False),
        ({"component": "sensor"}, attribute("a", 5, attr_type="both"), SENSOR, False),
        ({"component": "device_tracker"}, attribute("a", {"lat": 1, "lng": 1, "alt": 5}), TRACKER, False),
        ({"writable": True}, attribute("a", 5, attr_type="report"), NUMBER, True),
        ({"writable": False}, attribute("a", 5, attr_type="both"), SENSOR, False),
        ({}, attribute("a", 5), SENSOR, False),
    ],
)
async def test_override_decides_component_and_write_access(
    override: dict[str, Any], given: Any, component: Component, writable: bool
) -> None:
    row, _, _ = await one(
        given, attributes={"a": override}, writable="none" if "writable" in override else "documented"
    )
    assert (row.component, row.write is not None) == (component, writable)


async def test_override_decides_unit_name_and_device_class() -> None:
    given = attribute("a", 5, data_type="number", name="甲", data_options={"unit": "V"})
    row, _, _ = await one(given, attributes={"a": {"unit": "W", "name": "Power"}})
    assert (row.unit, row.device_class, row.name.zh) == ("W", "power", "Power")
    row, _, _ = await one(given, attributes={"a": {"device_class": ""}})
    assert (row.unit, row.device_class) == ("V", None)
    row, _, _ = await one(given, attributes={"a": {"unit": ""}})
    assert (row.unit, row.device_class) == (None, None)
    door = attribute("a", True, data_type="switch")
    assert (await one(door, attributes={"a": {"device_class": "door"}}))[0].device_class == "door"


@pytest.mark.parametrize(
    "wrong",
    [
        {"attributes": {"a": {"component": "button"}}},
        {"attributes": {"a": {"colour": "red"}}},
        {"attributes": {"a": {"state_class": "average"}}},
        {"attributes": {"a": {"writable": "yes"}}},
        {"attributes": {"a": {"name": " "}}},
        {"attributes": {"a": "switch"}},
        {"attributes": []},
        {"writable": "some"},
        {"coordinates": "mars"},
        {"rate": 0},
        {"rate": True},
        {"rate": "1"},
        {"types": "x"},
        {"types": [""]},
        {"groups": [True]},
        {"app_id": ""},
        {"access_key": "a\nb"},
        {"scan_interval": {"lines": 5}},
    ],
)
def test_invalid_option_is_refused(wrong: dict[str, Any]) -> None:
    schema = vol.Schema(dict(thingscloud.SCHEMA))
    with pytest.raises(vol.Invalid):
        schema({"app_id": "a"} | wrong)
    with pytest.raises(vol.Invalid, match="required"):
        schema({})
    empty: dict[str, Any] = {"app_id": 7, "attributes": None}
    assert schema(empty)["app_id"] == "7"
    assert schema(empty | {"attributes": {"a": None}})["attributes"]["a"].name is None
