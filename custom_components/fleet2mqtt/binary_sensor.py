"""The connectivity sensor of the bridge."""

from __future__ import annotations

from homeassistant.components.binary_sensor import (
    BinarySensorDeviceClass,
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import Fleet2MqttConfigEntry
from .entity import BridgeEntity

PARALLEL_UPDATES = 0

CONNECTIVITY = BinarySensorEntityDescription(
    key="connectivity",
    translation_key="connectivity",
    device_class=BinarySensorDeviceClass.CONNECTIVITY,
    entity_category=EntityCategory.DIAGNOSTIC,
)


async def async_setup_entry(
    hass: HomeAssistant, entry: Fleet2MqttConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the sensor of one bridge."""
    async_add_entities([Connectivity(entry.runtime_data, CONNECTIVITY)])


class Connectivity(BridgeEntity, BinarySensorEntity):
    """On while the bridge is connected to the broker; known whenever Home Assistant is."""

    @property
    def available(self) -> bool:
        """True while Home Assistant is connected to the broker."""
        return self.coordinator.data.connected

    @property
    def is_on(self) -> bool | None:
        """True if the bridge's state topic says online."""
        return self.coordinator.data.online
