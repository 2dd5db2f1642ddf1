"""Repair flows: dead letters, retried or discarded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeassistant.components.repairs import RepairsFlow
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResult
from homeassistant.exceptions import HomeAssistantError

from .coordinator import Coordinator

PAGE = 100


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: Mapping[str, str | int | float | None] | None
) -> RepairsFlow:
    """Return the flow of the one kind of issue that is fixable."""
    return DeadLettersFlow(str((data or {}).get("entry_id")))


class DeadLettersFlow(RepairsFlow):
    """The flow that retries or discards dead letters."""

    def __init__(self, entry_id: str) -> None:
        self._entry_id = entry_id

    async def async_step_init(self, user_input: Mapping[str, Any] | None = None) -> FlowResult:
        """Show the menu: retry or discard."""
        return self.async_show_menu(step_id="init", menu_options=["retry", "discard"])

    async def async_step_retry(self, user_input: Mapping[str, Any] | None = None) -> FlowResult:
        """Retry all dead letters, after an update of the bridge for instance."""
        return await self._ended("retry")

    async def async_step_discard(self, user_input: Mapping[str, Any] | None = None) -> FlowResult:
        """Discard all dead letters."""
        return await self._ended("discard")

    async def _ended(self, op: str) -> FlowResult:
        entry = self.hass.config_entries.async_get_entry(self._entry_id)
        if entry is None or entry.state is not ConfigEntryState.LOADED:
            return self.async_abort(reason="not_loaded")
        try:
            left = await _treat(entry.runtime_data, op)
        except HomeAssistantError as error:
            return self.async_abort(reason="failed", description_placeholders={"error": str(error)})
        if left:
            return self.async_abort(reason="still_unreadable", description_placeholders={"count": str(left)})
        return self.async_create_entry(data={})


async def _treat(coordinator: Coordinator, op: str) -> int:
    """Retry or discard dead letters; return how many are left."""
    if op == "retry":
        await coordinator.request(None, "dead_letters", {"op": "retry", "limit": PAGE})
    listed = await coordinator.request(None, "dead_letters", {"limit": PAGE})
    while op == "discard" and listed["dead_letters"]:
        for letter in listed["dead_letters"]:
            await coordinator.request(None, "dead_letters", {"op": "discard", "id": letter["id"]})
        listed = await coordinator.request(None, "dead_letters", {"limit": PAGE})
    return int(listed["total"])
