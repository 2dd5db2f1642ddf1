"""The base of the integration's entities: the bridge's device, and the coordinator."""

from __future__ import annotations

from homeassistant.helpers.device_registry import DeviceEntryType, DeviceInfo
from homeassistant.helpers.entity import EntityDescription
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from .const import DOMAIN
from .coordinator import Coordinator


class BridgeEntity(CoordinatorEntity[Coordinator]):
    """An entity of the bridge's health device.

    The device is this integration's own: since 2026.8 a device belongs to one config entry, so nothing can be added to
    the one that MQTT discovery makes.
    """

    _attr_has_entity_name = True

    def __init__(self, coordinator: Coordinator, description: EntityDescription) -> None:
        super().__init__(coordinator)
        self.entity_description = description
        entry = coordinator.config_entry
        info = coordinator.data.info
        self._attr_unique_id = f"{entry.unique_id}_{description.key}"
        self._attr_device_info = DeviceInfo(
            identifiers={(DOMAIN, str(entry.unique_id))},
            translation_key="bridge_health",
            translation_placeholders={"name": entry.title},
            manufacturer=DOMAIN,
            model="MQTT bridge",
            serial_number=entry.unique_id,
            sw_version=info.version if info else None,
            entry_type=DeviceEntryType.SERVICE,
        )

    @property
    def available(self) -> bool:
        """True while the bridge is reachable."""
        return super().available and self.coordinator.data.reachable
