"""Notifications of the database: they make a node look at once; each is only a hint, as whoever waits looks anyway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Never

import psycopg
from psycopg import AsyncConnection, sql

from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox.postgres.session import connection_string

_LOG = logging.getLogger(__name__)

RETRY_DELAY = 1.0
CHECK_INTERVAL = 5.0
"""Seconds between two checks of a connection that brings nothing."""


class Notifications:
    """Listens to channels, and calls a function for each notification."""

    def __init__(self, dsn: str, channels: Mapping[str, Callable[[], None]]) -> None:
        self._dsn = connection_string(dsn)
        self._channels = channels

    async def run(self) -> Never:
        """Listen until cancelled; a connection that is lost is made again."""
        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError, OutboxError) as error:
                _LOG.debug("no notifications from the database: %s", error)
            await asyncio.sleep(RETRY_DELAY)

    async def _listen(self) -> None:
        async with await AsyncConnection.connect(self._dsn, autocommit=True) as connection:
            for channel in self._channels:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            for call in self._channels.values():
                call()
            while True:
                async for notification in connection.notifies(timeout=CHECK_INTERVAL):
                    self._channels[notification.channel]()
                await connection.execute("SELECT 1")
