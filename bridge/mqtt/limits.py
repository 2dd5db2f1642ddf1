"""What is too large to be sent: by configuration, by the broker's word, or by what the broker does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.mqtt.packets import Outgoing

SUSPICIOUS = 10_000  # bytes; no broker in its senses refuses less


@dataclass(slots=True, kw_only=True)
class Limits:
    """`max_packet` is the broker's own limit for the whole packet, None where it does not tell."""

    max_payload: int
    max_packet: int | None = None
    _learnt: tuple[str, int] | None = None
    _suspects: frozenset[tuple[str, int]] = frozenset()

    def check(self, message: Outgoing) -> None:
        """Raise Refused, `too_large`."""
        payload = len(message.payload)
        if payload > self.max_payload:
            fault = f"the limit here is {self.max_payload}"
        elif self.max_packet is not None and message.packet_size > self.max_packet:
            fault = f"the broker takes packets of {self.max_packet} bytes at most"
        elif self._learnt is not None and payload >= self._learnt[1]:
            fault = f"the broker dropped the connection twice over {self._learnt[1]} bytes on {self._learnt[0]}"
        else:
            return
        raise Refused(f"{message.topic}: {payload} bytes are too large: {fault}", reason="too_large")

    def blame(self, unacknowledged: Iterable[tuple[str, int]]) -> str | None:
        """Take note of what was under way when the broker closed the connection; the verdict, once there is one.

        A broker that speaks MQTT 3.1.1 has no other way to say that a message is too large. Of what was under way
        both times the largest is too large for certain if anything is.
        """
        large = frozenset((topic, size) for topic, size in unacknowledged if size >= SUSPICIOUS)
        again = large & self._suspects
        self._suspects = large
        if not again:
            return None
        topic, size = self._learnt = max(again, key=lambda each: each[1])
        self._suspects = frozenset()  # what was under way beside it is not guilty of what comes next
        return f"the broker closes the connection over {size} bytes on {topic}: {size} and more are refused from now on"
