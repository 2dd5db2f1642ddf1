"""A broker scripted packet by packet, for behaviour that mosquitto does not have.

async def talk(peer):
    await peer.greet()
    await peer.serve()

async with FakeBroker(talk) as broker:
    ...  # connect to broker.port; broker.connects tells how clients came
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tests.broker import HOST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = (1, 2, 3, 4, 8, 9, 12, 13, 14)
V5 = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One control packet; `body` is what follows the remaining length."""

    kind: int
    flags: int
    body: bytes

    @property
    def topic(self) -> str:
        """Of a PUBLISH."""
        return self.body[2 : self._after_topic].decode()

    @property
    def mid(self) -> bytes:
        """The packet id of a SUBSCRIBE, or of a PUBLISH at QoS 1."""
        return self.body[:2] if self.kind == SUBSCRIBE else self.body[self._after_topic :][:2]

    @property
    def version(self) -> int:
        """The protocol level of a CONNECT: 5, or 4 for MQTT 3.1.1."""
        return self.body[6]

    @property
    def clean(self) -> bool:
        """Clean start, or clean session, of a CONNECT."""
        return bool(self.body[7] & 2)

    @property
    def _after_topic(self) -> int:
        return 2 + int.from_bytes(self.body[:2], "big")


@dataclass(slots=True)
class Peer:
    """A client's connection, seen from the broker."""

    connect: Packet
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def greet(self, code: int = 0, properties: bytes = b"") -> None:
        """CONNACK; the properties as they stand in the packet, for a client that speaks MQTT 5."""
        tail = bytes([len(properties)]) + properties if self.connect.version == V5 else b""
        await self.send(CONNACK, bytes([0, code]) + tail)

    async def send(self, kind: int, body: bytes) -> None:
        """A packet of at most 127 bytes of body."""
        self.writer.write(bytes([kind << 4, len(body)]) + body)
        await self.writer.drain()

    async def acknowledge(self, publish: Packet) -> None:
        await self.send(PUBACK, publish.mid)

    async def receive(self) -> Packet:
        """The next packet that is neither SUBSCRIBE nor PINGREQ: those are answered."""
        while True:
            packet = await read_packet(self.reader)
            if packet.kind == SUBSCRIBE:
                await self.send(SUBACK, packet.mid + (b"\0\1" if self.connect.version == V5 else b"\1"))
            elif packet.kind == PINGREQ:
                await self.send(PINGRESP, b"")
            else:
                return packet

    async def serve(self) -> None:
        """Acknowledge what is published until the client goes."""
        while True:
            packet = await self.receive()
            if packet.kind == PUBLISH and packet.flags & 2:
                await self.acknowledge(packet)


async def read_packet(reader: asyncio.StreamReader) -> Packet:
    """Raises IncompleteReadError at the end."""
    head = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    return Packet(kind=head >> 4, flags=head & 15, body=await reader.readexactly(length))


@dataclass(slots=True)
class FakeBroker:
    """Calls `talk` for each client; the connection is closed when it returns. `connects` are the CONNECT packets."""

    talk: Callable[[Peer], Awaitable[None]]
    tls: ssl.SSLContext | None = None
    connects: list[Packet] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            connect = await read_packet(reader)
            self.connects.append(connect)
            await self.talk(Peer(connect, reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went
        finally:
            writer.close()
