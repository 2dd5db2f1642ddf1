"""Messages on their way to the broker: in order, and so many of them unacknowledged at most."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from fleet2mqtt.errors import Disconnected, MqttError, Refused
from fleet2mqtt.mqtt.settings import Outgoing

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class PublishCounters:
    """What became of messages, over all connections."""

    published: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


class InflightWindow:
    """One connection's messages. `send` hands one to the connection and gives the packet id it went by.

    The peer delays its acknowledgements when they come in batches, so the window slides: each acknowledgement sends
    the next message, there and then.
    """

    def __init__(self, size: int, send: Callable[[Outgoing], int], tally: PublishCounters) -> None:
        self._size = size
        self._send = send
        self._tally = tally
        self._closed: str | None = None
        self._sent: dict[int, tuple[Outgoing, asyncio.Future[None]]] = {}
        self._waiting: deque[tuple[Outgoing, asyncio.Future[asyncio.Future[None]]]] = deque()

    def shrink(self, size: int) -> None:
        """Allow no more than `size` messages at once."""
        self._size = min(self._size, size)

    async def submit(self, message: Outgoing) -> asyncio.Future[None]:
        """Send when it is the message's turn; the future is done when the broker has it. Raises Disconnected."""
        if self._closed is not None:
            raise Disconnected(self._closed)
        if len(self._sent) < self._size:
            return self._start(message)
        turn: asyncio.Future[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._waiting.append((message, turn))
        return await turn

    def acknowledge(self, mid: int, refusal: Refused | None = None) -> None:
        """The broker has the message that went as `mid`, or refuses it."""
        sent = self._sent.pop(mid, None)
        if sent is None:
            return
        if refusal is None:
            self._tally.published += 1
            if not sent[1].done():
                sent[1].set_result(None)
        else:
            self._tally.dropped[refusal.reason] += 1
            _fail(sent[1], refusal)
        while self._waiting and len(self._sent) < self._size:
            message, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(self._start(message))

    def close(self, reason: str) -> None:
        """Fail everything that has not been acknowledged."""
        if self._closed is not None:
            return
        self._closed = reason
        for _, acknowledged in self._sent.values():
            _fail(acknowledged, Disconnected(reason))
        for _, turn in self._waiting:
            _fail(turn, Disconnected(reason))
        self._waiting.clear()

    def unacknowledged(self) -> Iterator[tuple[str, int]]:
        """Topic and bytes of payload of what is, or was in the end, on its way."""
        return ((message.topic, len(message.payload)) for message, _ in self._sent.values())

    def _start(self, message: Outgoing) -> asyncio.Future[None]:
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            mid = self._send(message)
        except Disconnected as error:
            _fail(acknowledged, error)
            return acknowledged
        self._sent[mid] = (message, acknowledged)
        if message.qos == 0:
            acknowledged.set_result(None)
        return acknowledged


def _fail(future: asyncio.Future[T], error: MqttError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # a sender need not care, and asyncio would complain about an exception nobody fetched


SUSPICIOUS = 10_000  # bytes; no broker in its senses refuses less


@dataclass(slots=True, kw_only=True)
class PacketSizeLimit:
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
