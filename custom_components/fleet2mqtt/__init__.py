"""The fleet2mqtt integration: actions, alarms as events, repairs and health beside the bridge's MQTT entities.

The bridge itself makes devices and entities by MQTT discovery. This integration adds actions that answer, alarms that
are not lost while Home Assistant is away, repairs, diagnostics and the bridge's own health. It knows the bridge only
through Home Assistant's MQTT client.
"""

from __future__ import annotations

from homeassistant.components import mqtt
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ConfigEntryNotReady
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.typing import ConfigType

from .alarms import store
from .const import DOMAIN
from .coordinator import Coordinator, Fleet2MqttConfigEntry
from .services import register

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)
PLATFORMS = (Platform.BINARY_SENSOR, Platform.SENSOR)


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Register the actions, for as long as the integration is loaded."""
    register(hass)
    return True


async def async_setup_entry(hass: HomeAssistant, entry: Fleet2MqttConfigEntry) -> bool:
    """Set up the config entry of one bridge."""
    if not await mqtt.async_wait_for_mqtt_client(hass):
        raise ConfigEntryNotReady(translation_domain=DOMAIN, translation_key="mqtt_missing")
    coordinator = Coordinator(hass, entry)
    await coordinator.start()
    entry.runtime_data = coordinator
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    return True


async def async_unload_entry(hass: HomeAssistant, entry: Fleet2MqttConfigEntry) -> bool:
    """Unload the config entry."""
    await entry.runtime_data.alarms.end()
    return await hass.config_entries.async_unload_platforms(entry, PLATFORMS)


async def async_remove_entry(hass: HomeAssistant, entry: Fleet2MqttConfigEntry) -> None:
    """Remove the stored progress of the alarms."""
    await store(hass, entry.entry_id).async_remove()
