"""Loading, unloading, and what a bridge does meanwhile."""

from __future__ import annotations

import json

import pytest
from homeassistant.components.mqtt import MQTT_CONNECTION_STATE
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.dispatcher import async_dispatcher_send
from homeassistant.helpers.entity_component import async_update_entity
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockConfigEntry

from tests.integration.bridge import BASE, HEALTH, ID, INFO, VERSION, Bridge, Refusal
from tests.integration.conftest import DOMAIN

CONNECTIVITY = "binary_sensor.fleet2mqtt_health_connectivity"
OLDEST = "sensor.fleet2mqtt_health_oldest_alarm_waiting"
LAST_DAY = "sensor.fleet2mqtt_health_alarms_in_the_last_day"


def state(hass: HomeAssistant, entity_id: str) -> str:
    found = hass.states.get(entity_id)
    assert found is not None, f"{entity_id} is none of {hass.states.async_entity_ids()}"
    return found.state


async def test_entities_and_device(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    assert loaded.state is ConfigEntryState.LOADED
    assert state(hass, CONNECTIVITY) == "on"
    assert state(hass, OLDEST) == "0"
    assert state(hass, LAST_DAY) == "6"
    assert state(hass, "sensor.fleet2mqtt_health_major_alarms_active") == "2"
    entities = er.async_entries_for_config_entry(er.async_get(hass), loaded.entry_id)
    assert len(entities) == 1 + 4 + 3 + 15
    hidden = {entity.unique_id for entity in entities if entity.disabled}
    assert f"{ID}_rss" in hidden
    assert f"{ID}_alarms_last_day_critical" not in hidden
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), loaded.entry_id)
    assert device.identifiers == {(DOMAIN, ID)}
    assert (device.name, device.sw_version) == ("fleet2mqtt health", VERSION)


async def test_figures_follow_the_bridge(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    bridge.health(outbox={"depth": 2, "oldest_age": 30})
    bridge.say("alarm/summary", {"last_day": {"critical": 9}})
    bridge.info(version="0.1.7")
    bridge.info(version="0.1.8")
    bridge.say("bridge/info", "nothing of ours")
    bridge.say("alarm/event/critical/dev", "nor this", retain=False)
    await hass.async_block_till_done()
    assert state(hass, OLDEST) == "30"
    assert state(hass, LAST_DAY) == "9"
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), loaded.entry_id)
    assert device.sw_version == "0.1.8"


async def test_absent_bridge_is_unavailable_and_logged_once(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        bridge.say("bridge/state", "offline")
    await hass.async_block_till_done()
    assert (state(hass, CONNECTIVITY), state(hass, OLDEST)) == ("off", "unavailable")
    bridge.say("bridge/state", "online")
    await hass.async_block_till_done()
    assert (state(hass, CONNECTIVITY), state(hass, OLDEST)) == ("on", "0")
    assert caplog.text.count("the bridge at fleet2mqtt is unavailable") == 1
    assert caplog.text.count("the bridge at fleet2mqtt is back") == 1


async def test_entities_without_broker_are_unavailable(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    async_dispatcher_send(hass, MQTT_CONNECTION_STATE, False)
    await hass.async_block_till_done()
    assert (state(hass, CONNECTIVITY), state(hass, OLDEST)) == ("unavailable", "unavailable")
    async_dispatcher_send(hass, MQTT_CONNECTION_STATE, True)
    await hass.async_block_till_done()
    assert state(hass, CONNECTIVITY) == "on"


async def test_update_requests_state_of_bridge(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    fresh = {**HEALTH, "outbox": {**HEALTH["outbox"], "depth": 1, "oldest_age": 7}}
    bridge.answers["health"] = lambda _: {"bridge": fresh, "backends": {}}
    await async_update_entity(hass, OLDEST)
    assert state(hass, OLDEST) == "7"


async def test_update_that_fails_raises(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: object) -> None:
        raise Refusal("busy", "200 requests are under way already")

    bridge.answers["health"] = refuse
    await async_update_entity(hass, OLDEST)
    assert state(hass, OLDEST) == "unavailable"
    assert "200 requests are under way already" in caplog.text
    bridge.health()
    await hass.async_block_till_done()
    assert state(hass, OLDEST) == "0"


async def test_unload_and_reload_leave_no_subscription(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry
) -> None:
    assert await hass.config_entries.async_unload(loaded.entry_id)
    bridge.health(outbox={"depth": 3, "oldest_age": 3})
    await hass.async_block_till_done()
    assert state(hass, OLDEST) == "unavailable"
    assert await hass.config_entries.async_setup(loaded.entry_id)
    await hass.async_block_till_done()
    assert state(hass, OLDEST) == "3"
    await hass.config_entries.async_remove(loaded.entry_id)
    assert hass.states.get(OLDEST) is None


async def test_setup_of_silent_topic_is_retried(hass: HomeAssistant, bridge: Bridge, entry: MockConfigEntry) -> None:
    hass.config_entries.async_update_entry(entry, data={"base_topic": "nobody"})
    assert not await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == "no_bridge"


async def test_setup_without_mqtt_is_retried(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    assert await async_setup_component(hass, "mqtt", {})
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.error_reason_translation_key == "mqtt_missing"


async def test_info_of_another_bridge_fails_setup(hass: HomeAssistant, bridge: Bridge, entry: MockConfigEntry) -> None:
    bridge.retained[f"{BASE}/bridge/info"] = json.dumps({**INFO, "id": "another"})
    assert not await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_ERROR
    assert entry.error_reason_translation_key == "another_bridge"


async def test_info_of_another_bridge_later_is_detected(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry
) -> None:
    bridge.info(id="another")
    await hass.async_block_till_done(wait_background_tasks=True)
    assert loaded.state is ConfigEntryState.SETUP_ERROR
