"""The coordinator of one bridge: its newest snapshot, and the components that follow it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from homeassistant.components import mqtt
from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import ConfigEntryError, ConfigEntryNotReady, HomeAssistantError
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed

from .alarms import Alarms
from .const import CONF_BASE_TOPIC, DOMAIN, INFO_TIMEOUT, LOGGER
from .errors import failure
from .issues import Issues
from .link import Link
from .models import Backend, Info, Snapshot, as_info, as_object, figure
from .topics import Topics

ONLINE = "online"


class Coordinator(DataUpdateCoordinator[Snapshot]):
    """Holds the newest Snapshot. Nothing is polled: the bridge pushes."""

    config_entry: Fleet2MqttConfigEntry

    def __init__(self, hass: HomeAssistant, entry: Fleet2MqttConfigEntry) -> None:
        super().__init__(hass, LOGGER, config_entry=entry, name=entry.title, always_update=False)
        self.topics = Topics(entry.data[CONF_BASE_TOPIC])
        self.link = Link(hass, self.topics)
        self.alarms = Alarms(hass, self.link, entry.entry_id, self._spawn)
        self.issues = Issues(hass, entry)
        self.data = Snapshot()
        self._known = asyncio.Event()
        self._reachable: bool | None = None

    async def start(self) -> None:
        """Subscribe to the bridge's topics; return when its info is known.

        Raises ConfigEntryNotReady and ConfigEntryError.
        """
        await self.issues.load()
        await self.alarms.load()
        self.config_entry.async_on_unload(self.link.give_up)
        self.config_entry.async_on_unload(self.issues.clear)
        self._show(connected=mqtt.is_connected(self.hass))
        self.config_entry.async_on_unload(mqtt.async_subscribe_connection_status(self.hass, self._connection))
        for topic, receive, qos in self._subscriptions():
            self.config_entry.async_on_unload(await mqtt.async_subscribe(self.hass, topic, receive, qos))
        try:
            async with asyncio.timeout(INFO_TIMEOUT):
                await self._known.wait()
        except TimeoutError as error:
            raise ConfigEntryNotReady(
                translation_domain=DOMAIN,
                translation_key="no_bridge",
                translation_placeholders={"topic": self.topics.info},
            ) from error
        self._identify(self.data.info)
        self.config_entry.async_on_unload(self.alarms.begin())

    @property
    def backends(self) -> Mapping[str, Backend]:
        """Backends of the bridge, by name."""
        return self.data.info.backends if self.data.info else {}

    async def request(self, backend: str | None, action: str, arguments: Mapping[str, Any]) -> Any:
        """Send a request to the bridge or a backend; return the response's data.

        Raises HomeAssistantError, translated.
        """
        if not self.data.reachable:
            raise failure("bridge_offline")
        return await self.link.request(backend, action, arguments)

    async def _async_update_data(self) -> Snapshot:
        """Request the bridge's health now, for `homeassistant.update_entity`."""
        try:
            answer = await self.request(None, "health", {})
        except HomeAssistantError as error:
            raise UpdateFailed(str(error)) from error
        return replace(self.data, health=answer["bridge"], backends=answer["backends"])

    def _subscriptions(self) -> tuple[tuple[str, Callable[[mqtt.ReceiveMessage], None], int], ...]:
        """Return the subscriptions; the last two are awaited, as the others precede them.

        Retained topics need no QoS 1.
        """
        return (
            *((topic, self.link.receive, 1) for topic in self.topics.responses),
            (self.topics.alarms, self._alarm, 1),
            (self.topics.backend_health, self._backend, 0),
            (self.topics.summary, self._summary, 0),
            (self.topics.health, self._health, 0),
            (self.topics.state, self._state, 0),
            (self.topics.info, self._info, 0),
        )

    @callback
    def _connection(self, connected: bool) -> None:  # noqa: FBT001 - Home Assistant calls it so
        self._show(connected=connected)

    @callback
    def _state(self, message: mqtt.ReceiveMessage) -> None:
        online = message.payload == ONLINE
        if not online:
            self.link.give_up()
        self._show(connected=True, online=online)
        if online:
            self.alarms.catch_up()

    @callback
    def _info(self, message: mqtt.ReceiveMessage) -> None:
        info = as_info(message.payload)
        if info is None:
            return
        if self._known.is_set() and info.id != self.config_entry.unique_id:
            self.hass.config_entries.async_schedule_reload(self.config_entry.entry_id)
        self._show(info=info)

    @callback
    def _health(self, message: mqtt.ReceiveMessage) -> None:
        health = as_object(message.payload)
        self._show(health=health)
        self.alarms.reached(figure(health, "outbox", "last_seq"))

    @callback
    def _summary(self, message: mqtt.ReceiveMessage) -> None:
        self._show(summary=as_object(message.payload))

    @callback
    def _backend(self, message: mqtt.ReceiveMessage) -> None:
        name, health = self.topics.backend_of(message.topic), as_object(message.payload)
        others = {each: said for each, said in self.data.backends.items() if each != name}
        self._show(backends=others if health is None else {**others, name: health})

    @callback
    def _alarm(self, message: mqtt.ReceiveMessage) -> None:
        alarm = as_object(message.payload)
        if alarm is not None and not message.retain:
            self.alarms.take(alarm)

    @callback
    def _show(self, **changes: Any) -> None:
        before, self.data = self.data, replace(self.data, **changes)
        if self.data == before and self.last_update_success:
            return
        if self.data.info is not None and self.data.online is not None:
            self._known.set()
        self._log_edge()
        self.issues.review(self.data)
        if self.data.info is not None and self.data.info != before.info and before.info is not None:
            self._renew_device(self.data.info)
        self.async_set_updated_data(self.data)

    def _log_edge(self) -> None:
        reachable = self.data.reachable
        if self._reachable is not None and reachable != self._reachable:
            LOGGER.info("the bridge at %s is %s", self.topics.base, "back" if reachable else "unavailable")
        if reachable or self._reachable is not None:
            self._reachable = reachable

    def _identify(self, info: Info | None) -> None:
        """Check that the base topic still belongs to this bridge."""
        if info is None or info.id != self.config_entry.unique_id:
            raise ConfigEntryError(
                translation_domain=DOMAIN,
                translation_key="another_bridge",
                translation_placeholders={"topic": self.topics.info},
            )

    def _renew_device(self, info: Info) -> None:
        dr.async_get(self.hass).async_get_or_create(
            config_entry_id=self.config_entry.entry_id, identifiers={(DOMAIN, info.id)}, sw_version=info.version
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.config_entry.async_create_background_task(self.hass, work, f"{DOMAIN} alarms")


Fleet2MqttConfigEntry: TypeAlias = ConfigEntry[Coordinator]
