"""Messages of a simulated ThingsCloud for applications, to an MQTT broker that is run elsewhere.

The vendor's page gives the topic of attributes, `<ProjectViewKey>/<DeviceViewToken>/attributes`, and QoS 0. It names
the other messages (events, replies to commands, alarms, coming and going), but not their topics and payloads: those
here are assumptions, in the form of the webhooks.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

_CONNECT, _CONNACK, _PUBLISH = 0x10, 0x20, 0x30
_RETRY = 0.05  # seconds between two attempts to reach the broker


@dataclass(slots=True, kw_only=True)
class AppBroker:
    """Publishes below `<key>/<view_token>/` in the order in which messages were enqueued; `published` counts.

    It misbehaves on demand: `delay` seconds before each message, `copies` of each, `garbage` messages that are next
    cut in half, and while `muted` nothing is published at all.
    """

    host: str
    port: int
    key: str
    secret: str
    delay: float = 0
    copies: int = 1
    garbage: int = 0
    muted: bool = False
    published: int = 0
    _queue: asyncio.Queue[tuple[str, bytes]] = field(default_factory=asyncio.Queue)
    _connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def enqueue(self, view_token: str, kind: str, body: Any) -> None:
        """Publish a message of a device; a text is published as it is."""
        if self.muted:
            return
        payload = body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode()
        if self.garbage:
            self.garbage -= 1
            payload = payload[: len(payload) // 2]
        for _ in range(self.copies):
            self._queue.put_nowait((f"{self.key}/{view_token}/{kind}", payload))

    async def settle(self) -> None:
        """Wait until everything that was enqueued is with the broker."""
        await self._queue.join()

    async def deliver(self) -> None:
        """Publish what is enqueued, for ever; without a broker messages wait."""
        try:
            while True:
                topic, payload = await self._queue.get()
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer = await self._connected()
                writer.write(_packet(_PUBLISH, _text(topic) + payload))
                await writer.drain()
                self.published += 1
                self._queue.task_done()
        finally:
            self._close()

    async def _connected(self) -> asyncio.StreamWriter:
        while self._connection is None or self._connection[0].at_eof() or self._connection[1].is_closing():
            self._close()
            try:
                self._connection = await asyncio.open_connection(self.host, self.port)
                await self._log_in(*self._connection)
            except (OSError, EOFError):
                self._close()
                await asyncio.sleep(_RETRY)
        return self._connection[1]

    async def _log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flags, keep_alive = 0b1100_0010, b"\0\0"  # user name, password, clean session; none
        head = _text("MQTT") + bytes([4, flags]) + keep_alive  # level 4 is MQTT 3.1.1
        writer.write(_packet(_CONNECT, head + _text("") + _text(self.key) + _text(self.secret)))
        answer = await reader.readexactly(4)
        if answer[0] != _CONNACK or answer[3]:
            raise PermissionError(f"the broker refuses the simulator: {answer[3]}")

    def _close(self) -> None:
        if self._connection is not None:
            self._connection[1].close()
            self._connection = None


def _text(text: str) -> bytes:
    content = text.encode()
    return len(content).to_bytes(2, "big") + content


def _packet(kind: int, body: bytes) -> bytes:
    """Return a control packet: its type, the remaining length in groups of seven bits, and the rest."""
    length, left = bytearray(), len(body)
    while True:
        left, group = left >> 7, left & 127
        length.append(group | (128 if left else 0))
        if not left:
            return bytes([kind]) + bytes(length) + body
