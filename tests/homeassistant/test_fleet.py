"""A real Home Assistant takes everything the bridge announces, without a warning, and operates it."""

from __future__ import annotations

import asyncio
import json
import re
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.broker import Broker
from tests.homeassistant.fleet import fleet
from tests.homeassistant.golden import announced, golden
from tests.homeassistant.hass import Hass, hass_executable
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

CHANNEL = "smart_gateway_172de6ac9832de_channel_0"
GATEWAY = "ums_000ea93d022e"
OFFLINE_GATEWAY = "ums_000ea9610bcc"
OURS = "homeassistant/device/fleet2mqtt_"
PROBE = Path(__file__).with_name("probe.py")


async def entities_of(hass: Hass, broker: Broker, base: str = "fleet2mqtt") -> dict[str, dict[str, Any]]:
    """Home Assistant's registry once it holds every component of the golden file, and nothing else is announced."""
    expected = golden(base)
    missing: set[str] = set()

    async def complete() -> dict[str, dict[str, Any]] | None:
        nonlocal missing
        components, entities = await announced(broker, base), await hass.entities()
        missing = (expected.keys() ^ components.keys()) | (components.keys() - entities.keys())
        return entities if not missing else None

    return await wait_for_answer(complete, lambda: f"these to be as in the golden file: {sorted(missing)}")


ALARMS = r"_(alarm|alarm_active|last_alarm|last_alarm_time|last_alarm_severity)$"


async def settled(hass: Hass, broker: Broker) -> None:
    """Wait until all is available but the lines of a gateway that is offline; their alarms are the bridge's to tell."""
    components, entities = await announced(broker, "fleet2mqtt"), await hass.entities()
    wrong: set[str] = set()

    async def right() -> bool:
        nonlocal wrong
        states = await hass.states()
        shown = {entities[unique_id]["entity_id"] for unique_id in components} & states.keys()
        away = {name for name in shown if states[name]["state"] == "unavailable"}
        wrong = away ^ {name for name in shown if f".{OFFLINE_GATEWAY}_fxo_" in name and not re.search(ALARMS, name)}
        return bool(shown) and not wrong

    await wait_for_answer(right, lambda: f"these to be available, or not: {sorted(wrong)}")


async def values(hass: Hass) -> dict[str, str]:
    """Return the values that do not change by themselves, and the time of the last alarm, by entity."""
    states = await hass.states()
    named = (f".{CHANNEL}_", f".{GATEWAY}_fxo_", f"event.{GATEWAY}_")
    return {name: state["state"] for name, state in states.items() if any(each in name for each in named)}


async def probed(messages: Mapping[str, Any]) -> list[str]:
    """Run the probe on these messages; return its findings."""
    python = hass_executable().with_name("python")
    process = await asyncio.create_subprocess_exec(str(python), str(PROBE), stdin=PIPE, stdout=PIPE)
    said, _ = await process.communicate(json.dumps(messages).encode())
    found: list[str] = json.loads(said)
    return found


async def test_fleet_is_added_without_warning(hass: Hass, hass_broker: Broker, tmp_path: Path) -> None:
    begin = len(hass.log())
    async with fleet(hass_broker, tmp_path):
        entities = await entities_of(hass, hass_broker)
        for unique_id, component in (await announced(hass_broker, "fleet2mqtt")).items():
            assert entities[unique_id]["entity_id"] == component["default_entity_id"]
            assert component["default_entity_id"] == golden("fleet2mqtt")[unique_id]
        await hass.wait_state(f"switch.{CHANNEL}_enable", lambda state: state["state"] in ("on", "off"))
        await settled(hass, hass_broker)
        devices = {identifier[1]: device for device in await hass.devices() for identifier in device["identifiers"]}
        messages = await hass_broker.retained("homeassistant/device/+/config")
    ours = {topic: message.json for topic, message in messages.items() if topic.startswith(OURS)}
    assert await probed(ours) == []
    line, gateway = devices[f"fleet2mqtt_{GATEWAY}_fxo_7"], devices[f"fleet2mqtt_{GATEWAY}"]
    assert line["via_device_id"] == gateway["id"]
    assert gateway["via_device_id"] == devices["fleet2mqtt_ums"]["id"]
    assert devices["fleet2mqtt_ums"]["via_device_id"] == devices["fleet2mqtt_bridge"]["id"]
    assert hass.problems(since=begin) == []


async def test_entity_rejected_by_home_assistant_is_detected() -> None:
    ids = {"unique_id": "x_speed", "object_id": "x_speed", "default_entity_id": "sensor.x_speed"}
    sensor = {"platform": "sensor", "state_topic": "x/state", **ids}
    around = {"device": {"identifiers": ["x"]}, "origin": {"name": "x"}}
    components: dict[str, dict[str, Any]] = {
        "key": {**sensor, "colour": "red"},
        "unit": {**sensor, "device_class": "data_rate", "unit_of_measurement": "bps"},
        "state": {**sensor, "device_class": "timestamp", "state_class": "measurement"},
        "id": {**sensor, "object_id": "x_pace"},
        "value": {**sensor, "qos": 3},
    }
    found = await probed({"x": {**around, "components": components}, "y": {**around, "components": {}, "colour": 1}})
    expected = (
        "x: key: not used: colour",
        "x: unit: unit bps of data_rate",
        "x: state: state class measurement of timestamp",
        "x: id: default_entity_id and object_id are not both there",
        "x: value: refused: value must be one of [0, 1, 2]",
        "y: refused: extra keys not allowed",
    )
    assert [told for told, each in zip(expected, found, strict=True) if not each.startswith(told)] == [], found


async def test_entities_of_every_component_are_operated(hass: Hass, hass_broker: Broker, tmp_path: Path) -> None:
    begin = len(hass.log())
    calls: tuple[tuple[str, str, dict[str, Any], str], ...] = (
        ("switch.turn_on", f"switch.{CHANNEL}_enable", {}, "on"),
        ("switch.turn_off", f"switch.{CHANNEL}_enable", {}, "off"),
        ("select.select_option", f"select.{CHANNEL}_net", {"option": "sa"}, "sa"),
        ("number.set_value", f"number.{CHANNEL}_init_flow", {"value": 42}, "42"),
        ("text.set_value", f"text.{CHANNEL}_apn", {"value": "cmnet2"}, "cmnet2"),
    )
    async with fleet(hass_broker, tmp_path) as running:
        await entities_of(hass, hass_broker)
        for service, entity, data, expected in calls:
            await hass.wait_state(entity, lambda state: state["state"] != "unavailable")
            await hass.call_service(service, {"entity_id": entity, **data})
            await hass.wait_state(entity, lambda state, expected=expected: state["state"] == expected)  # type: ignore[misc]
        channel = (await running.vendor_state("smart_gateway"))["gateways"]["172DE6AC9832DE"]["channel"]["0"]
        assert (channel["enable"], channel["apn"], channel["initFlow"]) == (0, "cmnet2", 42)

        async with hass_broker.record("fleet2mqtt/device/+/result") as results:
            await hass.call_service("button.press", {"entity_id": f"button.{GATEWAY}_test_fxo"})
            assert (await results.wait(lambda message: message.json["key"] == "test_fxo")).json["status"] == "confirmed"
            await running.steer("smart_gateway", "faults", {"kind": "error", "path": "*/set", "code": 7006, "times": 1})
            await hass.call_service("switch.turn_on", {"entity_id": f"switch.{CHANNEL}_enable"})
            refused = await results.wait(lambda message: message.json["status"] == "rejected")
            assert refused.json["error"]["code"] == 7006
        await hass.wait_state(f"switch.{CHANNEL}_enable", lambda state: state["state"] == "off")
    assert hass.problems(since=begin) == []


async def test_alarm_fires_event_once(hass: Hass, hass_broker: Broker, tmp_path: Path) -> None:
    event = f"event.{GATEWAY}_alarm"
    async with fleet(hass_broker, tmp_path) as running:
        await entities_of(hass, hass_broker)
        await hass.wait_state(event, lambda state: state["state"] != "unavailable")
        await hass_broker.wait_subscribed(f"fleet2mqtt/alarm/event/+/{GATEWAY}")
        alarm = {"mac": "000EA93D022E", "level": "warning", "desc": "线路断开"}
        async with hass_broker.record("fleet2mqtt/alarm/event/#") as seen:
            await running.steer("ums", "alarm", alarm)
            published = await seen.wait(lambda message: message.topic.endswith(f"major/{GATEWAY}"))
        fired = await hass.wait_state(event, lambda state: state["attributes"].get("event_type") == "major")
        assert fired["attributes"]["id"] == published.json["id"]
        assert fired["attributes"]["description"] == "线路断开"
        await hass.wait_state(f"sensor.{GATEWAY}_last_alarm", lambda state: state["state"] == "线路断开")


async def test_names_come_in_chinese(tmp_path: Path) -> None:
    """In a Home Assistant of its own: entity ids would otherwise be taken from the fleet of the other tests."""
    async with Broker(directory=tmp_path / "broker") as broker, Hass(directory=tmp_path / "config") as hass:
        await hass.setup_mqtt(broker)
        async with fleet(broker, tmp_path, "zh-Hans", "flotte"):
            entities = await entities_of(hass, broker, "flotte")
            switch = entities[f"flotte_{CHANNEL}_enable"]
        assert (switch["original_name"], switch["entity_id"]) == ("启用", f"switch.{CHANNEL}_enable")
        assert hass.problems() == []


async def test_fleet_is_back_after_restarts(hass: Hass, hass_broker: Broker, tmp_path: Path) -> None:
    switch, event = f"switch.{CHANNEL}_enable", f"event.{GATEWAY}_alarm"
    before: dict[str, str] = {}

    async def back() -> None:
        """Wait until all entities have their earlier values, and the last alarm its time: it is not fired again."""
        await settled(hass, hass_broker)

        async def same() -> bool:
            return await values(hass) == before

        await wait_for_answer(same, lambda: f"{before}")

    async with fleet(hass_broker, tmp_path) as running:
        await entities_of(hass, hass_broker)
        await hass.wait_state(switch, lambda state: state["state"] == "off")
        await hass.wait_state(event, lambda state: state["state"] != "unavailable")
        await hass_broker.wait_subscribed(f"fleet2mqtt/alarm/event/+/{GATEWAY}")
        await running.steer("ums", "alarm", {"mac": "000EA93D022E", "level": "warning", "desc": "断线"})
        await hass.wait_state(f"sensor.{GATEWAY}_last_alarm", lambda state: state["state"] == "断线")
        await hass.wait_state(event, lambda state: state["attributes"].get("description") == "断线")
        await settled(hass, hass_broker)
        before = await values(hass)

        await hass_broker.restart()  # which forgets everything
        await hass.wait_state(switch, lambda state: state["state"] == "unavailable")
        await hass.wait_state(switch, lambda state: state["state"] == "off")
        await back()

        await hass.restart()
        await hass.wait_state(switch, lambda state: state["state"] == "off")
        await back()
        assert running.bridge.process.returncode is None
    await hass.wait_state(switch, lambda state: state["state"] == "unavailable")
    async with fleet(hass_broker, tmp_path):
        await hass.wait_state(switch, lambda state: state["state"] == "off")
        await back()
