"""Flow control: order and bound of messages in flight, and the packet size limit."""

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
    """Messages acknowledged and dropped, over all connections."""

    published: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


class InflightWindow:
    """The messages of one connection, in order. `send` hands one to the connection and returns its packet id.

    A broker delays its acknowledgements when messages come in batches, so each acknowledgement sends the next message
    at once.
    """

    def __init__(self, size: int, send: Callable[[Outgoing], int], counters: PublishCounters) -> None:
        """`size` is the largest number of messages in flight."""
        self._size = size
        self._send = send
        self._counters = counters
        self._closed: str | None = None
        self._inflight: dict[int, tuple[Outgoing, asyncio.Future[None]]] = {}
        self._waiting: deque[tuple[Outgoing, asyncio.Future[asyncio.Future[None]]]] = deque()

    def limit(self, size: int) -> None:
        """Allow at most `size` messages in flight, if that is less than before."""
        self._size = min(self._size, size)

    async def submit(self, message: Outgoing) -> asyncio.Future[None]:
        """Send a message after those submitted before; return the future of its acknowledgement.

        Raises Disconnected.
        """
        if self._closed is not None:
            raise Disconnected(self._closed)
        if len(self._inflight) < self._size:
            return self._start(message)
        started: asyncio.Future[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._waiting.append((message, started))
        return await started

    def acknowledge(self, mid: int, refusal: Refused | None = None) -> None:
        """Complete the message with packet id `mid`: acknowledged, or refused."""
        sent = self._inflight.pop(mid, None)
        if sent is None:
            return
        if refusal is None:
            self._counters.published += 1
            if not sent[1].done():
                sent[1].set_result(None)
        else:
            self._counters.dropped[refusal.reason] += 1
            _fail(sent[1], refusal)
        while self._waiting and len(self._inflight) < self._size:
            message, started = self._waiting.popleft()
            if not started.done():
                started.set_result(self._start(message))

    def close(self, reason: str) -> None:
        """Fail every message that has not been acknowledged."""
        if self._closed is not None:
            return
        self._closed = reason
        for _, acknowledged in self._inflight.values():
            _fail(acknowledged, Disconnected(reason))
        for _, started in self._waiting:
            _fail(started, Disconnected(reason))
        self._waiting.clear()

    def unacknowledged(self) -> Iterator[tuple[str, int]]:
        """Return topic and payload size of the messages in flight, also after the end of the connection."""
        return ((message.topic, len(message.payload)) for message, _ in self._inflight.values())

    def _start(self, message: Outgoing) -> asyncio.Future[None]:
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            mid = self._send(message)
        except Disconnected as error:
            _fail(acknowledged, error)
            return acknowledged
        self._inflight[mid] = (message, acknowledged)
        if message.qos == 0:
            acknowledged.set_result(None)
        return acknowledged


def _fail(future: asyncio.Future[T], error: MqttError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # a sender need not wait, and asyncio logs an exception that nobody has fetched


MIN_SUSPECT_SIZE = 10_000
"""Bytes; no sensible broker refuses smaller messages."""


@dataclass(slots=True, kw_only=True)
class PacketSizeLimit:
    """The limits of a message's size. `max_packet` is what the broker announced for a packet, None without a limit.

    A broker that speaks MQTT 3.1.1 closes the connection over a message that is too large. Of the messages that were
    in flight both times when it closed twice, the largest is taken for the cause.
    """

    max_payload: int
    max_packet: int | None = None
    _inferred: tuple[str, int] | None = None
    _suspects: frozenset[tuple[str, int]] = frozenset()

    def check(self, message: Outgoing) -> None:
        """Raise Refused, `too_large`, for a message that exceeds a limit."""
        payload = len(message.payload)
        if payload > self.max_payload:
            limit = f"the limit here is {self.max_payload}"
        elif self.max_packet is not None and message.packet_size > self.max_packet:
            limit = f"the broker takes packets of {self.max_packet} bytes at most"
        elif self._inferred is not None and payload >= self._inferred[1]:
            limit = f"the broker dropped the connection twice over {self._inferred[1]} bytes on {self._inferred[0]}"
        else:
            return
        raise Refused(f"{message.topic}: {payload} bytes are too large: {limit}", reason="too_large")

    def on_closed(self, unacknowledged: Iterable[tuple[str, int]]) -> str | None:
        """Record what was in flight when the broker closed the connection; return what was inferred, if anything."""
        large = frozenset((topic, size) for topic, size in unacknowledged if size >= MIN_SUSPECT_SIZE)
        again = large & self._suspects
        self._suspects = large
        if not again:
            return None
        topic, size = self._inferred = max(again, key=lambda each: each[1])
        self._suspects = frozenset()  # messages beside the cause are no suspects of the next time
        return f"the broker closes the connection over {size} bytes on {topic}: {size} and more are refused from now on"
