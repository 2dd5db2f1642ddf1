"""A scripted broker that acknowledges on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.mqtt.fake_broker import Packet, Peer


class Holding:
    """A broker that acknowledges a message only when `release` is called."""

    def __init__(self, connack_properties: bytes = b"") -> None:
        self.held: list[Packet] = []
        self.topics: list[str] = []
        self.most = 0
        self._connack_properties = connack_properties
        self._peer: Peer | None = None

    async def talk(self, peer: Peer) -> None:
        await peer.greet(properties=self._connack_properties)
        self._peer = peer
        while True:
            packet = await peer.receive()
            self.topics.append(packet.topic)
            self.held.append(packet)
            self.most = max(self.most, len(self.held))

    async def holds(self, count: int) -> None:
        await wait_until(lambda: len(self.held) >= count, lambda: f"{count} messages; there are {len(self.held)}")

    async def release(self) -> None:
        assert self._peer is not None
        await self._peer.acknowledge(self.held.pop(0))

    def hang_up(self) -> None:
        assert self._peer is not None
        self._peer.writer.close()
