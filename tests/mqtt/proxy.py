"""A TCP proxy between a client and its broker that fails on demand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from tests.broker import HOST
from tests.mqtt.fake_broker import PUBACK, PUBLISH, Packet, read_packet

QUOTA_EXCEEDED = b"\x97"


class PublishFault(StrEnum):
    """Faults of a message at QoS 1 on its way to the broker."""

    SWALLOWED = "swallowed"
    REFUSED = "refused"  # PUBACK 0x97, as MQTT 5 has it
    CLOSED = "closed"  # the connection is closed over it


@dataclass(slots=True)
class Proxy:
    """Relays to `target`. While `swallowing` no data arrives; while `closed` no connection is accepted.

    What comes back is held while `released` is not set.
    """

    target: int
    host: str = HOST
    port: int = 0
    swallowing: bool = False
    closed: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)
    held: int = 0
    """Answers that were held back."""
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Hold nothing back."""
        self.released.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()

    def drop(self) -> None:
        """Break every connection."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.closed:
            writer.close()
            return
        try:
            there, back = await asyncio.open_connection(HOST, self.target)
        except ConnectionError:  # nobody is there, as the client learns
            writer.close()
            return
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._relay(reader, back))
                group.create_task(self._relay(there, writer, hold=True))
        finally:
            self._writers -= {writer, back}
            writer.close()
            back.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, hold: bool = False) -> None:
        lost = self.swallowing
        try:
            while data := await reader.read(1 << 16):
                if hold and not self.released.is_set():
                    self.held += 1
                    await self.released.wait()
                lost = lost or self.swallowing  # once a connection has lost something it stays dead
                if not lost:
                    writer.write(data)
                    await writer.drain()
        except ConnectionError:
            pass
        if not lost:
            writer.close()


@dataclass(slots=True)
class PacketProxy(Proxy):
    """Relays packet by packet; `fault` happens to messages."""

    fault: PublishFault | None = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.closed:
            writer.close()
            return
        there, back = await asyncio.open_connection(HOST, self.target)
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._relay_packets(reader, back, writer))
                group.create_task(self._relay_packets(there, writer, None))
        finally:
            self._writers -= {writer, back}
            writer.close()
            back.close()

    async def _relay_packets(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: asyncio.StreamWriter | None
    ) -> None:
        """Relay until the end; messages that come from the client, whom `answers` reaches, meet the fault."""
        lost = self.swallowing
        try:
            while True:
                packet = await read_packet(reader)
                lost = lost or self.swallowing
                if lost:
                    continue
                at_risk = answers is not None and packet.kind == PUBLISH and packet.flags & 2
                if answers is None or not at_risk or self.fault is None:
                    writer.write(_encoded(packet))
                elif self.fault is PublishFault.REFUSED:
                    answers.write(_encoded(Packet(kind=PUBACK, flags=0, body=packet.mid + QUOTA_EXCEEDED)))
                elif self.fault is PublishFault.CLOSED:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        if not lost:
            writer.close()


def _encoded(packet: Packet) -> bytes:
    length, size = len(packet.body), b""
    while True:
        length, low = divmod(length, 128)
        size += bytes([low | (128 if length else 0)])
        if not length:
            return bytes([packet.kind << 4 | packet.flags]) + size + packet.body
