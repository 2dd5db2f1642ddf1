"""Config flow: by MQTT discovery or by base topic; one config entry per bridge."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import voluptuous as vol
from homeassistant.components import mqtt
from homeassistant.config_entries import ConfigEntry, ConfigEntryState, ConfigFlow, ConfigFlowResult, OptionsFlow
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.selector import DurationSelector, DurationSelectorConfig, TextSelector
from homeassistant.helpers.service_info.mqtt import MqttServiceInfo

from .const import CONF_BASE_TOPIC, CONF_OFFLINE_AFTER, DEFAULT_BASE_TOPIC, DOMAIN, INFO_TIMEOUT
from .coordinator import Fleet2MqttConfigEntry
from .issues import offline_after
from .models import Info, as_info
from .topics import Topics

_BASE = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*")
_INFO = Topics("").info


class Unusable(Exception):
    """No bridge answers at a base topic; the text is the translation key of the form's error."""


async def probe(hass: HomeAssistant, base: str) -> Info:
    """Return the info of the bridge at a base topic. Raises Unusable."""
    if not _BASE.fullmatch(base):
        raise Unusable("invalid_topic")
    said: asyncio.Queue[Info | None] = asyncio.Queue()

    @callback
    def receive(message: mqtt.ReceiveMessage) -> None:
        said.put_nowait(as_info(message.payload))

    unsubscribe = await mqtt.async_subscribe(hass, Topics(base).info, receive)
    try:
        async with asyncio.timeout(INFO_TIMEOUT):
            info = await said.get()
    except TimeoutError as error:
        raise Unusable("no_bridge") from error
    finally:
        unsubscribe()
    if info is None:
        raise Unusable("not_a_bridge")
    return info


def title(base: str) -> str:
    """Return the title of a config entry, different for each bridge."""
    return DOMAIN if base == DEFAULT_BASE_TOPIC else f"{DOMAIN} ({base})"


class Fleet2MqttConfigFlow(ConfigFlow, domain=DOMAIN):
    """The config flow; it asks for the base topic only."""

    VERSION = 1

    def __init__(self) -> None:
        self._base = DEFAULT_BASE_TOPIC

    @staticmethod
    @callback
    def async_get_options_flow(config_entry: ConfigEntry[Any]) -> Fleet2MqttOptionsFlow:
        """Return the options flow."""
        return Fleet2MqttOptionsFlow()

    async def async_step_mqtt(self, discovery_info: MqttServiceInfo) -> ConfigFlowResult:
        """Handle a message on a topic that ends like ours; abort unless a bridge sent it."""
        info = as_info(discovery_info.payload)
        if info is None:
            return self.async_abort(reason="not_a_bridge")
        self._base = discovery_info.topic.removesuffix(_INFO)
        entry = await self.async_set_unique_id(info.id)
        if entry is not None:
            if not _has_moved(entry, info):
                return self.async_abort(reason="already_configured")
            return self.async_update_reload_and_abort(
                entry,
                data_updates={CONF_BASE_TOPIC: self._base},
                reason="already_configured",
                reload_even_if_entry_is_unchanged=entry.state is not ConfigEntryState.LOADED,
            )
        self.context["title_placeholders"] = {"name": title(self._base)}
        return await self.async_step_confirm()

    async def async_step_confirm(self, user_input: Mapping[str, Any] | None = None) -> ConfigFlowResult:
        """Confirm the set-up of a discovered bridge."""
        if user_input is not None:
            return self._create()
        self._set_confirm_only()
        return self.async_show_form(step_id="confirm", description_placeholders={"topic": self._base})

    async def async_step_user(self, user_input: Mapping[str, Any] | None = None) -> ConfigFlowResult:
        """Set up a bridge by its base topic."""
        errors, info = await self._look(user_input)
        if info is not None:
            await self.async_set_unique_id(info.id, raise_on_progress=False)
            self._abort_if_unique_id_configured()
            return self._create()
        return await self._ask("user", errors)

    async def async_step_reconfigure(self, user_input: Mapping[str, Any] | None = None) -> ConfigFlowResult:
        """Move a config entry to another base topic of the same bridge."""
        entry = self._get_reconfigure_entry()
        if user_input is None:
            self._base = entry.data[CONF_BASE_TOPIC]
        errors, info = await self._look(user_input)
        if info is not None:
            await self.async_set_unique_id(info.id, raise_on_progress=False)
            self._abort_if_unique_id_mismatch(reason="another_bridge")
            return self.async_update_reload_and_abort(entry, data_updates={CONF_BASE_TOPIC: self._base})
        return await self._ask("reconfigure", errors)

    async def _look(self, user_input: Mapping[str, Any] | None) -> tuple[dict[str, str], Info | None]:
        if user_input is None:
            return {}, None
        self._base = user_input[CONF_BASE_TOPIC].strip().strip("/")
        try:
            return {}, await probe(self.hass, self._base)
        except Unusable as fault:
            return {CONF_BASE_TOPIC: str(fault)}, None

    async def _ask(self, step: str, errors: dict[str, str]) -> ConfigFlowResult:
        if not await mqtt.async_wait_for_mqtt_client(self.hass):
            return self.async_abort(reason="mqtt_missing")
        schema = vol.Schema({vol.Required(CONF_BASE_TOPIC, default=self._base): TextSelector()})
        return self.async_show_form(step_id=step, data_schema=schema, errors=errors)

    def _create(self) -> ConfigFlowResult:
        return self.async_create_entry(title=title(self._base), data={CONF_BASE_TOPIC: self._base})


class Fleet2MqttOptionsFlow(OptionsFlow):
    """The options flow: after which time an offline bridge is a repair issue."""

    async def async_step_init(self, user_input: Mapping[str, Any] | None = None) -> ConfigFlowResult:
        """Show the form of the options."""
        errors: dict[str, str] = {}
        if user_input is not None:
            if timedelta(**user_input[CONF_OFFLINE_AFTER]) >= timedelta(seconds=1):
                return self.async_create_entry(data=dict(user_input))
            errors = {CONF_OFFLINE_AFTER: "too_short"}
        seconds = int(offline_after(self.config_entry).total_seconds())
        now = {"hours": seconds // 3600, "minutes": seconds // 60 % 60, "seconds": seconds % 60}
        field = vol.Required(CONF_OFFLINE_AFTER, default=now)
        selector = DurationSelector(DurationSelectorConfig(enable_day=False))
        return self.async_show_form(step_id="init", data_schema=vol.Schema({field: selector}), errors=errors)


def _has_moved(entry: Fleet2MqttConfigEntry, info: Info) -> bool:
    """Return True if this info is newer than what its entry knows, and not left over on an old topic."""
    if entry.state is not ConfigEntryState.LOADED:
        return entry.state in (ConfigEntryState.SETUP_RETRY, ConfigEntryState.SETUP_ERROR)
    known = entry.runtime_data.data.info
    return known is not None and datetime.fromisoformat(info.started_at) > datetime.fromisoformat(known.started_at)
