"""Entities of attributes: their component by definition and value, in any spelling; keys and values."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from fleet2mqtt.devices.model import Component, EntityDescription
from tests.platforms.context import Shared
from tests.platforms.thingscloud.connected import DEVICE, FIRST, NAME, SECOND, Run, simulated
from tests.platforms.thingscloud.project import FIXED_KEYS, Project, attribute, one, running

SENSOR, NUMBER, SWITCH, BINARY = Component.SENSOR, Component.NUMBER, Component.SWITCH, Component.BINARY_SENSOR
SELECT, TEXT, TRACKER = Component.SELECT, Component.TEXT, Component.DEVICE_TRACKER


async def test_every_entity_has_the_vendors_value() -> None:
    async with simulated(devices=3) as (simulator, run):
        await run.poll("devices", "attributes", "schema")
        for vendor_id in simulator.devices:
            device, values = run.devices[f"{NAME}_{vendor_id}"], simulator.values(vendor_id)
            rows = {row.key: row for row in device.entities}
            assert tuple(rows)[:5] == FIXED_KEYS
            assert set(values) == {key for key in rows if key not in FIXED_KEYS and not key.startswith("info_")}
            for key, value in values.items():
                assert device.state[key] == expected(rows[key], value), key


def expected(row: EntityDescription, value: Any) -> Any:
    if row.component in (SWITCH, BINARY):
        return "ON" if value in (True, 1, "ON") else "OFF"
    if row.component is TRACKER:
        return {"latitude": value["lat"], "longitude": value["lng"]}
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else value


@pytest.mark.parametrize("quirk", [False, True])
async def test_simulated_attributes_become_entities(quirk: bool) -> None:
    async with simulated() as (simulator, run):
        quirks = simulator.quirks
        quirks.data_type_aliases = quirks.option_aliases = quirks.chinese_attr_types = quirk
        await run.poll("devices", "attributes")
        rows = {row.key: row for row in run.devices[DEVICE].entities[len(FIXED_KEYS) :]}
        assert {key: (row.component, row.write is not None) for key, row in rows.items()} == {
            **dict.fromkeys(("temperature", "humidity", "energy", "rssi"), (SENSOR, False)),
            **dict.fromkeys(("run_state", "firmware"), (SENSOR, False)),
            **dict.fromkeys(("network", "channels", "fence", "area", "schedule"), (SENSOR, False)),
            **dict.fromkeys(("relay1", "relay2", "relay3"), (SWITCH, True)),
            **dict.fromkeys(("target_temperature", "brightness"), (NUMBER, True)),
            **dict.fromkeys(("display", "note"), (TEXT, True)),
            "door": (BINARY, False),
            "mode": (SELECT, True),
            "location": (TRACKER, False),
        }
        disabled = {key for key, row in rows.items() if not row.enabled}
        assert disabled == {"network", "channels", "fence", "area", "schedule"}, "JSON attributes"
        assert (rows["temperature"].unit, rows["temperature"].device_class) == ("°C", "temperature")
        assert (rows["temperature"].state_class, rows["temperature"].precision) == ("measurement", 1)
        assert (rows["humidity"].unit, rows["humidity"].device_class) == ("%", "humidity")
        assert (rows["energy"].device_class, rows["energy"].state_class) == ("energy", "total_increasing")
        target = rows["target_temperature"]
        assert (target.minimum, target.maximum, target.step, target.state_class) == (5, 35, 0.1, None)
        assert rows["brightness"].step == 1
        assert rows["mode"].options == ("auto", "cool", "heat")
        assert (rows["run_state"].options, rows["run_state"].device_class) == (
            ("idle", "running", "fault", "unknown"),
            "enum",
        )
        assert rows["temperature"].name.zh == rows["temperature"].name.en == "温度"
        assert run.devices[DEVICE].attributes["mode"] == {"label": "自动"}
        assert run.devices[DEVICE].attributes["network"] == {"value": {"ip": "192.168.1.20", "rssi": -61}}


@pytest.mark.parametrize(
    ("spelling", "component"),
    [
        *(
            (word, SENSOR)
            for word in ("Number", "FLOAT", "int", "数值", "Text", "string", "文本", "Object", "Daily_Timer")
        ),
        *((word, BINARY) for word in ("Switch", "BOOL", "boolean", "开关")),
        *((word, TRACKER) for word in ("MapPoint", "map_point", "map-point", "MAP POINT")),
    ],
)
async def test_data_type_in_any_spelling_is_recognised(spelling: str, component: Component) -> None:
    for given in (attribute("a", data_type=spelling), attribute("a") | {"data_type": spelling}):
        row, _, _ = await one(given)
        assert row.component is component


@pytest.mark.parametrize(
    ("value", "component", "shown"),
    [
        (True, BINARY, "ON"),
        (0, SENSOR, 0),
        (24.5, SENSOR, 24.5),
        ("ON", SENSOR, "ON"),
        ("", SENSOR, ""),
        ({"lat": 1.5, "lng": 2}, TRACKER, {"latitude": 1.5, "longitude": 2}),
        ({"lat": 1.5}, SENSOR, '{"lat":1.5}'),
        ([], SENSOR, "[]"),
    ],
)
async def test_attribute_without_type_takes_it_from_its_value(value: Any, component: Component, shown: Any) -> None:
    for given in (attribute("a", value), attribute("a", value, data_type="hologram")):
        row, state, _ = await one(given)
        assert (row.component, state, row.write) == (component, shown, None)


async def test_attribute_without_type_and_value_has_no_entity_yet() -> None:
    project = Project(attributes=[attribute("a")])
    async with running(project) as run:
        await run.poll("devices", "attributes")
        assert run.entity("a") is None
        project.values = {"a": 5}
        await run.poll("attributes")
        assert run.state()["a"] == 5
        row = run.entity("a")
        project.values = {"a": True}  # what a value once told stays, and the row with it
        await run.poll("attributes")
        assert run.entity("a") is row
        project.values = {}
        await run.poll("attributes")
        assert (run.entity("a"), run.state()["a"]) == (row, None)


@pytest.mark.parametrize(
    ("data_type", "value", "shown"),
    [
        ("number", "5.5", 5.5),
        ("number", "58 V", 58),
        ("number", "n/a", None),
        ("number", True, None),
        ("switch", "on", "ON"),
        ("switch", "0", "OFF"),
        ("switch", "maybe", None),
        ("text", 5, "5"),
        ("text", False, "false"),
        ("mappoint", {"lat": 0, "lng": 0}, None),
        ("mappoint", {"lat": "31.5", "lng": "121"}, {"latitude": 31.5, "longitude": 121}),
        ("mappoint", {"lat": 91, "lng": 0}, None),
        ("mappoint", "31,121", None),
        ("list", [1, "甲"], '[1,"甲"]'),
    ],
)
async def test_value_is_converted_by_its_type(data_type: str, value: Any, shown: Any) -> None:
    _, state, _ = await one(attribute("a", value, data_type=data_type))
    assert state == shown


async def test_long_text_is_whole_in_the_attributes() -> None:
    _, state, more = await one(attribute("a", "长" * 300))
    assert state == "长" * 254 + "…"
    assert more == {"text": "长" * 300}
    _, state, more = await one(attribute("a", ["x" * 300]))
    assert (len(state), state[-1], more) == (255, "…", {"value": ["x" * 300]})
    assert (await one(attribute("a", "x" * 255)))[1:] == ("x" * 255, None)


@pytest.mark.parametrize("value", ["长" * 20_000, ["长" * 100] * 300, {"a": {"b": "x" * 20_000}}])
async def test_large_value_is_cut_to_what_can_be_recorded(value: Any) -> None:
    """Home Assistant's recorder stores 16 KiB of attributes (faults 5.6)."""
    _, state, more = await one(attribute("a", value))
    assert len(state) == 255
    assert 14_000 < len(orjson.dumps(more)) <= 15_000
    assert more["omitted"] > 0
    assert (value if isinstance(value, str) else orjson.dumps(value).decode()).startswith(more["text"])


@pytest.mark.parametrize(
    "options",
    [
        {"options": [{"value": "A b", "label": "甲"}, {"value": "C"}]},
        {"enum": ["A b", "C"]},
        {"items": [{"key": "A b", "text": "甲"}, {"id": "C", "title": "丙"}]},
        {"values": {"A b": "甲", "C": "丙"}},
    ],
)
async def test_enum_options_in_any_shape_are_accepted(options: dict[str, Any]) -> None:
    row, state, _ = await one(attribute("a", "A b", data_type="enum", attr_type="report", data_options=options))
    assert (row.options, state) == (("a_b", "c", "unknown"), "a_b")


async def test_similar_enum_values_get_distinct_options() -> None:
    options = {"options": ["On", "ON", "on", "unknown", None, {"label": "x"}]}
    given = attribute("a", "ON", data_type="enum", attr_type="both", data_options=options)
    row, state, _ = await one(given)
    assert (row.options, state) == (("on", "on_", "on__", "unknown_"), "on_")
    assert (await one(given | {"value": "off"}))[1:] == (None, {"raw": "off"})
    read_only = attribute("a", 7, data_type="enum", data_options=options)
    assert (await one(read_only))[1:] == ("unknown", {"raw": 7})
    without: tuple[dict[str, Any], ...] = ({}, {"options": []}, {"options": "x"})
    for none in without:
        row, state, _ = await one(attribute("a", "on", data_type="enum", attr_type="both", data_options=none))
        assert (row.component, row.options, state) == (TEXT, (), "on")


async def test_keys_are_lower_snake_case_and_unique() -> None:
    identifiers = [
        "temperature",
        "batteryLevel",
        "battery_level",
        "GPS-Fix",
        "co2",
        "alarm",
        "online",
        "last_alarm",
        "transaction",
        "name",
        "温度",
        "-",
        "x" * 60,
        "Temperature",
    ]
    project = Project(attributes=[attribute(identifier, 1) for identifier in identifiers])
    shared = Shared()
    async with running(project, shared) as run:
        await run.poll("devices", "attributes")
        keys = [row.key for row in run.devices[DEVICE].entities[len(FIXED_KEYS) :]]
    found = dict(zip(identifiers, keys, strict=True))
    assert len(set(keys)) == len(keys)
    assert not set(keys) & {*FIXED_KEYS, "alarm", "last_alarm", "transaction"}
    plain = {"temperature": "temperature", "batteryLevel": "battery_level", "GPS-Fix": "gps_fix", "co2": "co2"}
    assert {name: found[name] for name in plain} == plain
    for identifier in ("battery_level", "alarm", "Temperature"):
        assert found[identifier].startswith(f"{identifier.lower()}_")
    assert all(key.isascii() and key == key.lower() and len(key) <= 57 for key in keys)
    project.attributes.reverse()
    async with running(project, shared) as run:  # in another order, in another run
        await run.poll("devices", "attributes")
        again = [row.key for row in run.devices[DEVICE].entities[len(FIXED_KEYS) :]]
    assert dict(zip(reversed(identifiers), again, strict=True)) == found


async def test_secret_attributes_are_dropped() -> None:
    hidden = [attribute("password", "canary"), attribute(" Secret_Key", "canary"), attribute("a", 1)]
    project = Project(attributes=hidden, values={"password": "canary", "a": 2})
    async with running(project) as run:
        await run.poll("devices", "attributes", "attributes")
        body = {"device": {"id": FIRST}, "attributes": {"password": "canary", "a": 3}}
        run.push("attributes", body)
        assert [row.key for row in run.devices[DEVICE].entities[len(FIXED_KEYS) :]] == ["a"]
        assert run.state()["a"] == 3
        assert "canary" not in repr(run.updates)


@pytest.mark.parametrize(
    ("coordinates", "shown"),
    [("none", (31.17530398, 121.53154186)), ("gcj02", (31.177428, 121.527211))],
)
async def test_gcj02_position_is_converted(coordinates: str, shown: tuple[float, float]) -> None:
    given = attribute("a", {"lat": 31.17530398, "lng": 121.53154186}, data_type="mappoint")
    _, state, _ = await one(given, coordinates=coordinates)
    assert (state["latitude"], state["longitude"]) == pytest.approx(shown, abs=1e-6)
    abroad = {"lat": 48.85, "lng": 2.35}
    _, state, _ = await one(attribute("a", abroad), coordinates=coordinates)
    assert state == {"latitude": 48.85, "longitude": 2.35}


async def test_devices_with_equal_attributes_share_entity_descriptions() -> None:
    async with simulated(devices=7) as (_, run):
        await run.poll("devices", "attributes")
        tables = {id(run.devices[f"{NAME}_{vendor_id}"].entities) for vendor_id in (FIRST, SECOND)}
        assert len(tables) == 1


def rows(run: Run) -> list[str]:
    return [row.key for row in run.devices[DEVICE].entities[len(FIXED_KEYS) :]]


async def test_new_attribute_is_shown_after_its_definition_was_read() -> None:
    project = Project(attributes=[attribute("a", 1)], values={"a": 1})
    async with running(project) as run:
        await run.poll("devices", "attributes")
        run.push("attributes", {"device": {"id": FIRST}, "attributes": {"b": True}})
        assert rows(run) == ["a"]
        project.attributes.append(attribute("b", True, data_type="switch", attr_type="both"))
        project.values = {"a": 1, "b": True, "c": 5}
        run.request_values()
        await run.poll("attributes")
        assert rows(run) == ["a", "b"]
        assert run.entity("b").component is SWITCH
        run.request_values()
        await run.poll("attributes")  # what no definition explains, although it was read since, shows as it is
        assert rows(run) == ["a", "b", "c"]
        asked = len(project.requests)
        run.request_values()
        await run.poll("attributes")
        assert [path for _, path, _ in project.requests[asked:]] == [f"device/{FIRST}/attributes_raw"]
        project.values = {"a": 1, "b": True}
        run.request_values()
        await run.poll("attributes")
        assert rows(run) == ["a", "b"]
