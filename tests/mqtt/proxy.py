"""A TCP proxy between a client and its broker that fails on demand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Self

from tests.broker import HOST


@dataclass(slots=True)
class Proxy:
    """Relays to `target`. While `swallowing` nothing that is sent arrives; while `closed` nobody gets in."""

    target: int
    host: str = HOST
    port: int = 0
    swallowing: bool = False
    closed: bool = False
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

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
        there, back = await asyncio.open_connection(HOST, self.target)
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._relay(reader, back))
                group.create_task(self._relay(there, writer))
        finally:
            self._writers -= {writer, back}
            writer.close()
            back.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lost = self.swallowing
        try:
            while data := await reader.read(1 << 16):
                lost = lost or self.swallowing  # once a connection has lost something it stays dead
                if not lost:
                    writer.write(data)
                    await writer.drain()
        except ConnectionError:
            pass
        if not lost:
            writer.close()
