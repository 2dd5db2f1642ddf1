"""Availability and health of backends on MQTT."""

from __future__ import annotations

import asyncio

from fleet2mqtt.contract.payloads import OFFLINE, availability, dumps
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import BACKEND_STATUS, CONNECTIVITY
from fleet2mqtt.hub import Hub
from fleet2mqtt.polling.health import BackendHealth
from fleet2mqtt.publishing.publisher import Publisher

MIN_INTERVAL = 1.0
"""Seconds in which changes of a backend's health are gathered."""


class BackendStatus:
    """Publishes `backend/<backend>/availability` at once and `backend/<backend>/health` within a second."""

    def __init__(self, hub: Hub, publisher: Publisher, topics: Topics, *, publish_untried: bool = True) -> None:
        """Without `publish_untried` nothing is published of a backend that was not tried: another process ran it."""
        self._publish_untried = publish_untried
        self._hub = hub
        self._publisher = publisher
        self._topics = topics
        self._changed: dict[str, BackendHealth] = {}

    def on_health(self, health: BackendHealth) -> None:
        """Publish the availability of a backend whose health changed, and its health soon."""
        name = health.backend.name
        if health.status is None and not self._publish_untried:
            return
        self._publisher.set_retained(self._topics.backend(name, "availability"), availability(health.available))
        status = health.status
        known = {} if status is None else {BACKEND_STATUS: status}  # as before until the backend was tried
        self._hub.set_values(name, {CONNECTIVITY: "ON" if health.available else "OFF", **known})
        self._changed[name] = health

    def on_removed(self, backend: str) -> None:
        """Publish that a backend is no longer configured: its devices stay, unavailable."""
        self._changed.pop(backend, None)
        self._publisher.set_retained(self._topics.backend(backend, "availability"), OFFLINE)
        self._hub.set_values(backend, {CONNECTIVITY: "OFF", BACKEND_STATUS: None})

    async def run(self) -> None:
        """Publish the health of backends that changed, until cancelled."""
        while True:
            changed, self._changed = self._changed, {}
            for name, health in changed.items():
                self._publisher.set_retained(self._topics.backend(name, "health"), dumps(health.json()))
            await asyncio.sleep(MIN_INTERVAL)
