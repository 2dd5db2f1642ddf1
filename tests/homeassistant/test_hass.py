"""The Home Assistant fixture does what the tests of discovery rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.homeassistant.hass import BIRTH_TOPIC, hass_executable

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker import Broker
    from tests.homeassistant.hass import Hass


def switch(name: str) -> dict[str, object]:
    """Home Assistant's discovery message for a device with one switch."""
    component = {
        "platform": "switch",
        "unique_id": f"{name}_relay",
        "object_id": f"{name}_relay",
        "name": "Relay",
        "state_topic": f"{name}/relay",
        "command_topic": f"{name}/relay/set",
    }
    device = {"identifiers": [name], "name": name}
    return {"device": device, "origin": {"name": "test"}, "components": {"relay": component}}


async def test_device_is_added_and_sends_commands(hass: Hass, hass_broker: Broker) -> None:
    begin = len(hass.log())
    await hass_broker.publish("homeassistant/device/probe/config", switch("probe"), retain=True)
    await hass_broker.publish("probe/relay", "OFF", retain=True)
    await hass.wait_state("switch.probe_relay", lambda state: state["state"] == "off")

    async with hass_broker.record("probe/relay/set") as seen:
        await hass.call_service("switch.turn_on", {"entity_id": "switch.probe_relay"})
        assert (await seen.wait(lambda _: True)).text == "ON"

    assert (await hass.entities())["probe_relay"]["entity_id"] == "switch.probe_relay"
    assert ["mqtt", "probe"] in [pair for device in await hass.devices() for pair in device["identifiers"]]
    assert hass.problems(since=begin) == []


async def test_warning_in_log_is_a_problem(hass: Hass, hass_broker: Broker) -> None:
    begin = len(hass.log())
    await hass_broker.publish("homeassistant/device/faulty/config", {**switch("faulty"), "unknown_at_root": 1})
    await hass_broker.publish("homeassistant/device/sound/config", switch("sound"))
    await hass.wait_state("switch.sound_relay", lambda _: True)

    assert any("unknown_at_root" in line for line in hass.problems(since=begin))
    assert hass.problems("unknown_at_root", since=begin) == []


async def test_failed_command_includes_output(hass: Hass) -> None:
    with pytest.raises(RuntimeError, match=r"not_found"):
        await hass.call_service("switch.no_such_action", {})
    with pytest.raises(RuntimeError, match="404"):
        await hass.rest("GET", "/api/states/switch.nobody")
    with pytest.raises(TimeoutError, match=r"switch.nobody to match, it is None"):
        await hass.wait_state("switch.nobody", lambda _: True, patience=0.2)


async def test_bridge_keeps_its_entities_over_restart(hass: Hass, hass_broker: Broker) -> None:
    await hass_broker.publish("homeassistant/device/probe/config", switch("probe"), retain=True)
    await hass_broker.publish("probe/relay", "ON", retain=True)
    async with hass_broker.record(BIRTH_TOPIC) as seen:
        await hass.restart()
        await seen.wait(lambda message: message.payload == b"online")
    await hass.wait_state("switch.probe_relay", lambda state: state["state"] == "on")


def test_missing_home_assistant_is_error_with_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLEET2MQTT_HA_VENV", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"run scripts/setup test"):
        hass_executable()
