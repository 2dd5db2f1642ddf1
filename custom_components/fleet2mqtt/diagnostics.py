"""Diagnostics of a config entry, redacted."""

from __future__ import annotations

import re
from typing import Any

from homeassistant.components.diagnostics import REDACTED, async_redact_data
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers.device_registry import DeviceEntry

from .coordinator import Coordinator, Fleet2MqttConfigEntry

# The bridge publishes none of these. Should it ever, they still go no further.
TO_REDACT = {
    *("pass", "password", "passwd", "wifiKey", "wifi_key", "tokenId", "adminCode", "authCode", "secret", "token"),
    *("access_token", "secret_key", "access_key", "certificate", "username", "account", "authorization"),
}
_CREDENTIALS = re.compile(r"//[^/@\s]+@")
_QUERY = re.compile(r"(?i)\b(token|secret|password|passwd|key|random|md5)=[^&\s\"']+")


async def async_get_config_entry_diagnostics(hass: HomeAssistant, entry: Fleet2MqttConfigEntry) -> dict[str, Any]:
    """Return what is known of one bridge; of an entry that is not loaded, its state and the reason."""
    known: dict[str, Any] = {
        "entry": {
            "data": dict(entry.data),
            "options": dict(entry.options),
            "state": entry.state.value,
            "reason": entry.reason,
        }
    }
    if entry.state is ConfigEntryState.LOADED:
        known |= _of_bridge(entry.runtime_data)
    redacted: dict[str, Any] = _clean(async_redact_data(known, TO_REDACT))
    return redacted


def _of_bridge(coordinator: Coordinator) -> dict[str, Any]:
    snapshot = coordinator.data
    return {
        "connected": snapshot.connected,
        "online": snapshot.online,
        "info": dict(snapshot.info.raw) if snapshot.info else None,
        "health": snapshot.health,
        "backends": dict(snapshot.backends),
        "alarm_summary": snapshot.summary,
        "last_seq_fired": coordinator.alarms.last,
        "requests_under_way": coordinator.link.waiting,
    }


async def async_get_device_diagnostics(
    hass: HomeAssistant, entry: Fleet2MqttConfigEntry, device: DeviceEntry
) -> dict[str, Any]:
    """Return the diagnostics of the entry: it has one device."""
    return await async_get_config_entry_diagnostics(hass, entry)


def _clean(value: Any) -> Any:
    """Return a value without credentials inside texts, such as a URL in an error."""
    if isinstance(value, dict):
        return {key: _clean(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, str):
        return _QUERY.sub(rf"\1={REDACTED}", _CREDENTIALS.sub(f"//{REDACTED}@", value))
    return value
