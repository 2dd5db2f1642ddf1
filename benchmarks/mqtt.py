"""The least MQTT 3.1.1 that a measurement needs, so that measuring costs little beside what is measured."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from secrets import token_hex

from benchmarks.ground import HOST

_CONNECT, _PUBLISH, _SUBSCRIBE = 0x10, 0x30, 0x82
_SUBACK = b"\x90\x03\x00\x01"
_PATIENCE = 10.0
_MIB = 1 << 20


class Subscriber(asyncio.Protocol):
    """Subscribed at QoS 0; `take` gets the bytes as they come, several messages at once or part of one."""

    def __init__(self, topic: str, take: Callable[[bytes], None]) -> None:
        self._topic = topic
        self._take = take
        self._transport: asyncio.Transport | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type
        self._transport = transport
        transport.write(_connect_and_subscribe(self._topic))

    def data_received(self, data: bytes) -> None:
        if not self._ready.done() and _SUBACK in data:
            self._ready.set_result(None)
        self._take(data)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 0."""
        assert self._transport is not None  # noqa: S101 - for the type
        self._transport.write(_packet(_PUBLISH, _text(topic.encode()) + payload))

    async def ready(self) -> None:
        """Wait until the broker has taken the subscription."""
        await self._ready

    def close(self) -> None:
        """Leave."""
        if self._transport is not None:
            self._transport.abort()


@asynccontextmanager
async def subscribed(port: int, topic: str, take: Callable[[bytes], None]) -> AsyncIterator[Subscriber]:
    """A subscriber, ready."""
    loop = asyncio.get_running_loop()
    _, subscriber = await loop.create_connection(lambda: Subscriber(topic, take), HOST, port)
    try:
        async with asyncio.timeout(_PATIENCE):
            await subscriber.ready()
        yield subscriber
    finally:
        subscriber.close()


def connect(port: int, topic: str) -> socket.socket:
    """Return the blocking socket of a subscriber at QoS 0, whose subscription the broker has taken. Raises OSError."""
    sock = socket.create_connection((HOST, port), _PATIENCE)
    sock.sendall(_connect_and_subscribe(topic))
    received = b""
    while _SUBACK not in received:
        data = sock.recv(4096)
        if not data:
            sock.close()
            raise ConnectionError(f"the broker on port {port} takes no subscription to {topic}")
        received += data
    sock.settimeout(None)
    return sock


@contextmanager
def draining(port: int, topic: str) -> Iterator[None]:
    """A subscriber that receives every 10 ms what has come: one that waits for each message takes half a processor."""
    sock, ended = connect(port, topic), threading.Event()
    sock.setblocking(False)

    def drain() -> None:
        while not ended.wait(0.01):
            with suppress(BlockingIOError):
                while sock.recv(_MIB):
                    pass

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        sock.close()


class Messages:
    """Splits what a subscriber takes into messages: calls `got(topic, payload, retained)`."""

    def __init__(self, got: Callable[[str, bytes, bool], None]) -> None:
        self._got = got
        self._rest = bytearray()

    def __call__(self, data: bytes) -> None:
        self._rest += data
        at = 0
        while (end := self._end(at)) is not None:
            start, stop = end
            if self._rest[at] & 0xF0 == _PUBLISH:
                size = int.from_bytes(self._rest[start : start + 2])
                topic = self._rest[start + 2 : start + 2 + size].decode()
                self._got(topic, bytes(self._rest[start + 2 + size : stop]), bool(self._rest[at] & 1))
            at = stop
        del self._rest[:at]

    def _end(self, at: int) -> tuple[int, int] | None:
        """Return the start and the end of the body of the packet at `at`; None while it is not complete."""
        length, shift = 0, 0
        for place in range(at + 1, min(at + 5, len(self._rest))):
            length |= (self._rest[place] & 0x7F) << shift
            shift += 7
            if not self._rest[place] & 0x80:
                stop = place + 1 + length
                return (place + 1, stop) if stop <= len(self._rest) else None
        return None


def _connect_and_subscribe(topic: str) -> bytes:
    client = f"bench-{token_hex(6)}".encode()
    connect_packet = _packet(_CONNECT, b"\x00\x04MQTT\x04\x02\x00\x00" + _text(client))
    return connect_packet + _packet(_SUBSCRIBE, b"\x00\x01" + _text(topic.encode()) + b"\x00")


def _text(data: bytes) -> bytes:
    return len(data).to_bytes(2) + data


def _packet(kind: int, body: bytes) -> bytes:
    length, left = bytearray(), len(body)
    while True:
        left, digit = left >> 7, left & 0x7F
        length.append(digit | 0x80 if left else digit)
        if not left:
            return bytes((kind,)) + bytes(length) + body
