"""MQTT 5 properties, and what a packet weighs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paho.mqtt.properties import Properties


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to publish."""

    topic: str
    payload: bytes
    retain: bool = False
    qos: int = 1
    properties: Properties | None = None

    @property
    def packet_size(self) -> int:
        """Bytes of the whole MQTT 5 packet."""
        properties = len(self.properties.pack()) if self.properties else 1  # type: ignore[no-untyped-call]
        remaining = 2 + len(self.topic.encode()) + (2 if self.qos else 0) + properties + len(self.payload)
        length = 1
        while remaining >> 7 * length:
            length += 1
        return 1 + length + remaining


def properties(packet: int, **values: Any) -> Properties:
    """Properties for a packet of this type, of PacketTypes; what is None is left out."""
    made = Properties(packet)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        if value is not None:
            setattr(made, name, value)
    return made
