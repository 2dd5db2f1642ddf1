"""System health: the integration's card under System information."""

from __future__ import annotations

from typing import Any

from homeassistant.components.system_health import SystemHealthRegistration
from homeassistant.core import HomeAssistant, callback

from .const import DOMAIN
from .coordinator import Coordinator


@callback
def async_register(hass: HomeAssistant, register: SystemHealthRegistration) -> None:
    """Register the card."""
    register.async_register_info(system_health_info, f"/config/integrations/integration/{DOMAIN}")


async def system_health_info(hass: HomeAssistant) -> dict[str, Any]:
    """Return figures over all bridges."""
    entries = hass.config_entries.async_loaded_entries(DOMAIN)
    coordinators: list[Coordinator] = [entry.runtime_data for entry in entries]
    infos = [coordinator.data.info for coordinator in coordinators if coordinator.data.info]
    return {
        "bridges": len(hass.config_entries.async_entries(DOMAIN)),
        "online": sum(coordinator.data.reachable for coordinator in coordinators),
        "versions": ", ".join(sorted({info.version for info in infos})) or None,
        "backends": sum(len(info.backends) for info in infos),
        "requests_under_way": sum(coordinator.link.waiting for coordinator in coordinators),
    }
