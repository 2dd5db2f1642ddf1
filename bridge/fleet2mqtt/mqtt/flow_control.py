"""Flow control: order and bound of messages in flight, and the packet size limit."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from fleet2mqtt.errors import Disconnected, MqttError, Refused
from fleet2mqtt.mqtt.refusal_log import RefusalLog
from fleet2mqtt.mqtt.settings import Outgoing
from fleet2mqtt.mqtt.withheld import WithheldMessages

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class PublishCounters:
    """Messages acknowledged and refused, over all connections."""

    published: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    refusals: RefusalLog = field(default_factory=RefusalLog)


class _Inflight(NamedTuple):
    message: Outgoing
    acknowledged: asyncio.Future[float]
    sent_at: float


_QOS_0_PROCESSED = 2.0  # seconds after which a broker has processed a QoS 0 message, or closed the connection


class InflightWindow:
    """The messages of one connection, in order. `send` hands one to the connection and returns its packet id.

    A broker delays its acknowledgements when messages come in batches, so each acknowledgement sends the next message
    at once. A suspect is sent when nothing is in flight, and nothing is sent before its acknowledgement.
    """

    def __init__(
        self,
        size: int,
        send: Callable[[Outgoing], int],
        counters: PublishCounters,
        withheld: WithheldMessages,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`size` is the largest number of messages in flight; `clock` is the event loop's unless given."""
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._size = size
        self._send = send
        self._counters = counters
        self._withheld = withheld
        self._closed: str | None = None
        self._alone = False
        self._oldest_since = float("-inf")
        """Time at which the oldest message in flight became the oldest."""
        self._recent_qos_0: deque[_Inflight] = deque(maxlen=10)
        self._inflight: dict[int, _Inflight] = {}
        self._waiting: deque[tuple[Outgoing, asyncio.Future[asyncio.Future[float]]]] = deque()

    def limit(self, size: int) -> None:
        """Allow at most `size` messages in flight, if that is less than before."""
        self._size = min(self._size, size)

    async def submit(self, message: Outgoing) -> asyncio.Future[float]:
        """Send a message after those submitted before; return the future of its acknowledgement, by the clock.

        Raises Disconnected.
        """
        if self._closed is not None:
            raise Disconnected(self._closed)
        suspect = self._is_suspect(message)
        if not self._waiting and self._may_start(suspect=suspect):
            return self._start(message, suspect=suspect)
        started: asyncio.Future[asyncio.Future[float]] = self._loop.create_future()
        self._waiting.append((message, started))
        return await started

    def acknowledge(self, mid: int, refusal: Refused | None = None) -> None:
        """Complete the message with packet id `mid`: acknowledged, or refused."""
        was_oldest = mid == next(iter(self._inflight), None)
        sent = self._inflight.pop(mid, None)
        if sent is None:
            return
        now = self._clock()
        if was_oldest:
            self._oldest_since = now
        self._alone = False
        message = sent.message
        # A broker processes in order: what was sent before at QoS 0 is no suspect any more.
        while message.qos and self._recent_qos_0 and self._recent_qos_0[0].sent_at < sent.sent_at:
            self._recent_qos_0.popleft()
        self._withheld.on_acknowledged(message.topic, len(message.payload))
        if refusal is None:
            self._counters.published += 1
            if not sent.acknowledged.done():
                sent.acknowledged.set_result(now)
        else:
            self._counters.dropped[refusal.reason] += 1
            if refusal.temporary:
                self._counters.refusals.add(str(refusal), message.topic)
            _fail(sent.acknowledged, refusal)
        while self._waiting:
            message, started = self._waiting[0]
            if started.done():  # its sender was cancelled
                self._waiting.popleft()
                continue
            suspect = self._is_suspect(message)
            if not self._may_start(suspect=suspect):
                break
            self._waiting.popleft()
            started.set_result(self._start(message, suspect=suspect))

    def close(self, reason: str) -> None:
        """Fail every message that has not been acknowledged."""
        if self._closed is not None:
            return
        self._closed = reason
        for sent in self._inflight.values():
            _fail(sent.acknowledged, Disconnected(reason))
        for _, started in self._waiting:
            _fail(started, Disconnected(reason))
        self._waiting.clear()

    def unacknowledged(self) -> list[tuple[str, int]]:
        """Return topic and payload size of the messages in flight, also after the end of the connection.

        Messages at QoS 0 are among them until the broker must have processed them.
        """
        processed = self._clock() - _QOS_0_PROCESSED
        recent = (sent for sent in self._recent_qos_0 if sent.sent_at > processed)
        messages = [sent.message for sent in (*self._inflight.values(), *recent)]
        return list({message.topic: len(message.payload) for message in messages}.items())

    def oldest_age(self) -> float | None:
        """Return the age in seconds of the message that has been in flight for longest, None without one."""
        sent = next(iter(self._inflight.values()), None)
        return None if sent is None else self._clock() - sent.sent_at

    def stalled(self) -> tuple[str, float]:
        """Return the topic of the oldest message in flight, and for how many seconds it alone has been waited for.

        A broker acknowledges in order, so over a slow network the messages before it count for the time before.
        """
        sent = next(iter(self._inflight.values()), None)
        if sent is None:
            return "", 0.0
        return sent.message.topic, self._clock() - max(sent.sent_at, self._oldest_since)

    def _may_start(self, *, suspect: bool) -> bool:
        if self._alone or len(self._inflight) >= self._size:
            return False
        return not (suspect and self._inflight)

    def _is_suspect(self, message: Outgoing) -> bool:
        withheld = self._withheld
        return withheld.has_suspects and withheld.is_suspect(message.topic, len(message.payload))

    def _start(self, message: Outgoing, *, suspect: bool) -> asyncio.Future[float]:
        acknowledged: asyncio.Future[float] = self._loop.create_future()
        qos = message.qos
        now = self._clock()
        if suspect:
            self._alone = True
            message = replace(message, qos=1)  # without an acknowledgement nobody knows whether it was the cause
        try:
            mid = self._send(message)
        except Disconnected as error:
            _fail(acknowledged, error)
            return acknowledged
        sent = self._inflight[mid] = _Inflight(message, acknowledged, now)
        if message.qos == 0:
            self._recent_qos_0.append(sent)
        if qos == 0:
            acknowledged.set_result(now)
        return acknowledged


def _fail(future: asyncio.Future[T], error: MqttError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # a sender need not wait, and asyncio logs an exception that nobody has fetched


@dataclass(slots=True, kw_only=True)
class PacketSizeLimit:
    """The configured and announced limits of a message's size.

    `max_packet` is what the broker announced for a packet, None without a limit.
    """

    max_payload: int
    max_packet: int | None = None

    def check(self, message: Outgoing) -> None:
        """Raise Refused, `too_large`, for a message that exceeds a limit."""
        payload = len(message.payload)
        if payload > self.max_payload:
            limit = f"the limit here is {self.max_payload}"
        elif self.max_packet is not None and message.packet_size > self.max_packet:
            limit = f"the broker takes packets of {self.max_packet} bytes at most"
        else:
            return
        raise Refused(f"{message.topic}: {payload} bytes are too large: {limit}", reason="too_large")
