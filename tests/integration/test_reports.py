"""Diagnostics and system health: enough to find a fault, and no secret."""

from __future__ import annotations

import pytest
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.fleet2mqtt.diagnostics import (
    async_get_config_entry_diagnostics,
    async_get_device_diagnostics,
)
from tests.integration.bridge import INFO, VERSION, Bridge
from tests.integration.conftest import DOMAIN

CANARY = "canary-7f3a"


async def test_diagnostics_contain_no_secrets(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    url = f"http://admin:{CANARY}@10.0.0.5/x?token={CANARY}&page=1"
    bridge.backend("voip", {"class": "unreachable", "text": f"no connection to {url}"})
    bridge.health(password=CANARY, mqtt={"last_error": [f"refused by mqtt://u:{CANARY}@broker"], "wifiKey": CANARY})
    shown = await async_get_config_entry_diagnostics(hass, loaded)
    assert CANARY not in str(shown)
    assert shown["info"] == INFO
    assert shown["backends"]["voip"]["error"]["text"].endswith("@10.0.0.5/x?token=**REDACTED**&page=1")
    assert shown["entry"]["data"] == {"base_topic": "fleet2mqtt"}
    assert shown["last_seq_fired"] == 0
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), loaded.entry_id)
    assert await async_get_device_diagnostics(hass, loaded, device) == shown


@pytest.mark.parametrize(
    "state",
    [state for state in ConfigEntryState if state is not ConfigEntryState.LOADED],
)
async def test_diagnostics_of_entry_not_loaded_contain_its_state(
    hass: HomeAssistant, entry: MockConfigEntry, state: ConfigEntryState
) -> None:
    """Download in `setup_retry` was an HTTP 500 (faults.md 5.4)."""
    entry.mock_state(hass, state, "no bridge")
    shown = await async_get_config_entry_diagnostics(hass, entry)
    assert shown["entry"]["state"] == state.value
    assert shown["entry"]["reason"] == "no bridge"
    assert "info" not in shown


async def test_diagnostics_without_bridge_are_downloaded(
    hass: HomeAssistant, entry: MockConfigEntry, mqtt_mock: object
) -> None:
    """The set-up ends in a retry; `runtime_data` is not there then (faults.md 5.4)."""
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert entry.state in (ConfigEntryState.SETUP_RETRY, ConfigEntryState.SETUP_ERROR)
    assert (await async_get_config_entry_diagnostics(hass, entry))["entry"]["state"] == entry.state.value


async def test_system_health(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    assert await async_setup_component(hass, "system_health", {})
    await hass.async_block_till_done()
    info = await hass.data["system_health"][DOMAIN].info_callback(hass)
    assert info == {"bridges": 1, "online": 1, "versions": VERSION, "backends": 4, "requests_under_way": 0}
