"""Setting up: by discovery, by hand, over again; every way out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from homeassistant.config_entries import SOURCE_MQTT, SOURCE_USER, ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from pytest_homeassistant_custom_component.common import MockConfigEntry, async_fire_mqtt_message
from pytest_homeassistant_custom_component.typing import MqttMockHAClient

from tests.integration.bridge import BASE, ID, INFO, Bridge
from tests.integration.conftest import DOMAIN

LATER = "2026-03-02T08:00:00.000+08:00"
EARLIER = "2026-02-01T08:00:00.000+00:00"


async def discovered(hass: HomeAssistant, base: str, payload: Any) -> list[Any]:
    """Return the flows in progress after these messages on the broker."""
    text = payload if isinstance(payload, str) else json.dumps(payload)
    async_fire_mqtt_message(hass, f"{base}/bridge/info", text)
    await hass.async_block_till_done(wait_background_tasks=True)
    return list(hass.config_entries.flow.async_progress_by_handler(DOMAIN))


async def begin(hass: HomeAssistant) -> Any:
    return await hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_USER})


async def send(hass: HomeAssistant, step: Any, base: str) -> Any:
    return await hass.config_entries.flow.async_configure(step["flow_id"], {"base_topic": base})


async def test_bridge_is_discovered(hass: HomeAssistant, bridge: Bridge) -> None:
    (flow,) = await discovered(hass, BASE, INFO)
    assert flow["context"]["source"] == SOURCE_MQTT
    assert flow["context"]["title_placeholders"] == {"name": "fleet2mqtt"}
    step = await hass.config_entries.flow.async_configure(flow["flow_id"], {})
    assert step["type"] is FlowResultType.CREATE_ENTRY
    assert step["title"] == "fleet2mqtt"
    assert step["data"] == {"base_topic": BASE}
    assert step["result"].unique_id == ID
    await hass.async_block_till_done(wait_background_tasks=True)
    assert step["result"].state is ConfigEntryState.LOADED


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "no json",
        "[]",
        {"version": "2.1.0", "commit": "z2m"},
        {**INFO, "id": 7},
        {**INFO, "started_at": "noon"},
        {**INFO, "backends": {"x": {}}},
    ],
)
async def test_foreign_messages_are_ignored(hass: HomeAssistant, mqtt_mock: MqttMockHAClient, payload: Any) -> None:
    assert await discovered(hass, "zigbee2mqtt", payload) == []


async def test_same_bridge_is_offered_once(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    assert await discovered(hass, BASE, {**INFO, "version": "0.1.1"}) == []
    assert loaded.data == {"base_topic": BASE}


async def test_bridge_on_new_topic_updates_entry(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    moved = {**INFO, "started_at": LATER}
    bridge.retain("fleet", moved)
    assert await discovered(hass, "fleet", moved) == []
    assert loaded.data == {"base_topic": "fleet"}
    assert loaded.state is ConfigEntryState.LOADED


async def test_retained_info_on_old_topic_is_ignored(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    assert await discovered(hass, "old", {**INFO, "started_at": EARLIER}) == []
    assert loaded.data == {"base_topic": BASE}


async def test_entry_without_bridge_moves_to_new_topic(
    hass: HomeAssistant, entry: MockConfigEntry, bridge: Bridge
) -> None:
    hass.config_entries.async_update_entry(entry, data={"base_topic": "gone"})
    assert not await hass.config_entries.async_setup(entry.entry_id)
    await discovered(hass, BASE, {**INFO, "version": "0.1.1"})
    assert entry.data == {"base_topic": BASE}
    assert entry.state is ConfigEntryState.LOADED


async def test_entry_on_topic_of_another_bridge_follows_its_own(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry
) -> None:
    bridge.info(id="another")
    await hass.async_block_till_done(wait_background_tasks=True)
    assert loaded.error_reason_translation_key == "another_bridge"
    moved = {**INFO, "started_at": LATER}
    bridge.retain("fleet", moved)
    await discovered(hass, "fleet", moved)
    assert loaded.data == {"base_topic": "fleet"}
    assert loaded.state is ConfigEntryState.LOADED


async def test_user_flow_recovers_from_errors(hass: HomeAssistant, bridge: Bridge, mqtt_mock: MqttMockHAClient) -> None:
    bridge.retained["zigbee2mqtt/bridge/info"] = '{"version": "2.1.0"}'
    step = await begin(hass)
    assert step["type"] is FlowResultType.FORM
    for base, error in (("a/#", "invalid_topic"), ("zigbee2mqtt", "not_a_bridge"), ("nobody", "no_bridge")):
        step = await send(hass, step, base)
        assert step["errors"] == {"base_topic": error}
    step = await send(hass, step, "/fleet2mqtt/")
    assert step["type"] is FlowResultType.CREATE_ENTRY
    assert step["data"] == {"base_topic": BASE}
    await hass.async_block_till_done(wait_background_tasks=True)


async def test_topic_with_levels_titles_entry(hass: HomeAssistant, bridge: Bridge) -> None:
    bridge.retain("site/one", {**INFO, "id": "another"})
    step = await send(hass, await begin(hass), "site/one")
    assert step["title"] == "fleet2mqtt (site/one)"
    await hass.async_block_till_done(wait_background_tasks=True)


async def test_user_flow_twice_aborts(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    step = await send(hass, await begin(hass), BASE)
    assert step["type"] is FlowResultType.ABORT
    assert step["reason"] == "already_configured"


async def test_user_flow_without_broker_shows_error(hass: HomeAssistant) -> None:
    step = await begin(hass)
    assert step["type"] is FlowResultType.ABORT
    assert step["reason"] == "mqtt_missing"


async def test_reconfigure_changes_topic(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    bridge.retain("fleet", INFO)
    step = await loaded.start_reconfigure_flow(hass)
    assert step["step_id"] == "reconfigure"
    step = await send(hass, step, "no topic")
    assert step["errors"] == {"base_topic": "invalid_topic"}
    step = await send(hass, step, "fleet")
    assert step["reason"] == "reconfigure_successful"
    await hass.async_block_till_done(wait_background_tasks=True)
    assert loaded.data == {"base_topic": "fleet"}
    assert loaded.state is ConfigEntryState.LOADED


async def test_reconfigure_to_another_bridge_aborts(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry
) -> None:
    bridge.retain("other", {**INFO, "id": "another"})
    step = await send(hass, await loaded.start_reconfigure_flow(hass), "other")
    assert step["reason"] == "another_bridge"
    assert loaded.data == {"base_topic": BASE}


async def test_options_flow_saves_options(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    step = await hass.config_entries.options.async_init(loaded.entry_id)
    form: Any = step["data_schema"]
    (field,) = form.schema
    assert field.default() == {"hours": 0, "minutes": 15, "seconds": 0}
    nothing, chosen = {"offline_after": {"seconds": 0}}, {"offline_after": {"minutes": 2}}
    step = await hass.config_entries.options.async_configure(step["flow_id"], nothing)
    assert step["errors"] == {"offline_after": "too_short"}
    step = await hass.config_entries.options.async_configure(step["flow_id"], chosen)
    assert step["type"] is FlowResultType.CREATE_ENTRY
    assert loaded.options == chosen
