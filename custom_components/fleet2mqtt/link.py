"""Requests to the bridge over Home Assistant's MQTT client, with one response each."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from homeassistant.components import mqtt
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.json import json_dumps

from .const import ANSWER_TIMEOUT
from .errors import failure, refused
from .models import Json, as_object
from .topics import Topics

_GONE: Json = {}


@dataclass(slots=True)
class Link:
    """Sends requests and gives each response to its caller."""

    hass: HomeAssistant
    topics: Topics
    timeout: float = ANSWER_TIMEOUT
    _waiting: dict[str, asyncio.Future[Json]] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        """Number of requests without a response yet."""
        return len(self._waiting)

    async def request(
        self, backend: str | None, action: str, arguments: Mapping[str, Any], seconds: float | None = None
    ) -> Any:
        """Send a request; return the response's data. Raises HomeAssistantError, translated."""
        transaction = secrets.token_hex(8)
        answer = self._waiting[transaction] = self.hass.loop.create_future()
        try:
            payload = json_dumps({**arguments, "transaction": transaction})
            await mqtt.async_publish(self.hass, self.topics.request(backend, action), payload, 1, retain=False)
            async with asyncio.timeout(self.timeout if seconds is None else seconds):
                said = await answer
        except TimeoutError as error:
            raise failure("no_answer", action=action) from error
        finally:
            del self._waiting[transaction]
        if said is _GONE:
            raise failure("bridge_offline")
        if said.get("status") != "ok":
            raise refused(action, said.get("error"))
        return said.get("data")

    @callback
    def receive(self, message: mqtt.ReceiveMessage) -> None:
        """Accept a response; those to other clients are ignored."""
        said = as_object(message.payload)
        answer = self._waiting.get(str(said.get("transaction"))) if said else None
        if said is not None and answer is not None and not answer.done():
            answer.set_result(said)

    @callback
    def give_up(self) -> None:
        """Fail all requests: the bridge is offline."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_result(_GONE)
