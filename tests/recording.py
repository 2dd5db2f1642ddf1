"""MQTT messages as a test sees them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import topic_matches_sub

from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.properties import Properties

_matches = lru_cache(maxsize=100_000)(topic_matches_sub)
"""Cached: a test that waits compares all topics with its filter at each look, which took half of its processor time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message; `retain` is True if it was at the broker when the recording began."""

    topic: str
    payload: bytes
    retain: bool
    qos: int
    properties: Properties | None

    @property
    def text(self) -> str:
        return self.payload.decode()

    @property
    def correlation(self) -> bytes | None:
        """The correlation data of an answer."""
        return getattr(self.properties, "CorrelationData", None)

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


@dataclass(frozen=True, slots=True)
class Recording:
    """Messages in the order of their arrival; it grows while it is looked at."""

    messages: list[Message] = field(default_factory=list)

    def all(self, topic_filter: str) -> list[Message]:
        return [message for message in tuple(self.messages) if _matches(topic_filter, message.topic)]

    def latest(self, topic: str) -> Message | None:
        return next((message for message in reversed(tuple(self.messages)) if message.topic == topic), None)

    async def wait(self, match: Callable[[Message], bool], patience: float = PATIENCE) -> Message:
        """The first message that matches, seen already or still to come; TimeoutError lists what came instead."""
        return await wait_until(lambda: next(filter(match, tuple(self.messages)), None), self._describe, patience)

    def _describe(self) -> str:
        shown = [f"{message.topic} {message.payload[:200]!r}" for message in tuple(self.messages)[-20:]]
        return "\n  ".join((f"an MQTT message; the last of {len(self.messages)}:", *shown))
