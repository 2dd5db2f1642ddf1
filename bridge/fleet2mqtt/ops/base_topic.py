"""The base topic belongs to one bridge: finds another bridge that uses it, at the start and later.

Two bridges on one base topic would carry out each command twice, respond to each request twice, and overwrite each
other's state and health.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.commands.payloads import parse_object
from fleet2mqtt.contract.payloads import ONLINE
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.errors import CommandError, ConfigError
from fleet2mqtt.mqtt import Message

_LOG = logging.getLogger(__name__)

RETAINED_TIMEOUT = 0.5
"""Seconds after the subscription in which the broker sends a retained `bridge/info`, if there is one."""
WILL_MARGIN = 2.0
"""Seconds beyond the will delay in which a bridge that has ended is `offline`."""
REPUBLISH_INTERVAL = 60.0
"""Seconds between two publications of `bridge/info` during a conflict, by which the other bridge sees this one."""
CONFLICT_TIMEOUT = 150.0
"""Seconds without a message of the other bridge after which a conflict has ended."""


class BaseTopicMonitor:
    """Watches `bridge/info` and `bridge/state` for another bridge on the base topic."""

    def __init__(  # noqa: PLR0913 - the options that decide, and what is done at a conflict
        self,
        topics: Topics,
        instance: str,
        *,
        will_delay: float,
        take_over: bool,
        republish_info: Callable[[], None],
        conflict_timeout: float = CONFLICT_TIMEOUT,
    ) -> None:
        """`take_over` starts and goes on beside another bridge; `republish_info` publishes `bridge/info` again."""
        self._topics = topics
        self._instance = instance
        self._will_delay = will_delay
        self._take_over = take_over
        self._republish_info = republish_info
        self._conflict_timeout = conflict_timeout
        self._subscribed = asyncio.Event()
        self._changed = asyncio.Event()
        self._info: str | None = None
        self._state: bytes | None = None
        self._republished_at = float("-inf")
        self._end_timer: asyncio.TimerHandle | None = None
        self.claimed = asyncio.Event()
        """Set once the base topic is known to be this bridge's own."""
        self.other: str | None = None
        """Id of another bridge that was seen on the base topic since, None without a conflict."""

    def on_connected(self) -> None:
        """Record that the retained messages of the base topic are subscribed to."""
        self._subscribed.set()

    def on_message(self, message: Message) -> None:
        """Process a message on `bridge/info` or `bridge/state`."""
        if message.topic == self._topics.state:
            self._state = message.payload
        elif (id_ := id_of(message.payload)) is not None:
            self._info = id_
            if self.claimed.is_set() and id_ != self._instance:
                self._on_conflict(id_)
        self._changed.set()

    async def claim(self) -> None:
        """Wait until the base topic is known to be free or this bridge's own.

        Raises ConfigError if another bridge is online on it, unless this one is to take over.
        """
        await self._subscribed.wait()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RETAINED_TIMEOUT
        while self._info != self._instance and not self._is_occupied() and loop.time() < deadline:
            self._changed.clear()
            await wait_for_event(self._changed, deadline - loop.time())
        if self._is_occupied() and not self._take_over:
            await self._wait_until_offline(loop.time() + self._will_delay + WILL_MARGIN)
        if self._is_occupied():
            self._refuse_or_take_over()
        self.claimed.set()

    def refusal(self) -> CommandError | None:
        """Return the error by which commands are refused during a conflict, None if they are accepted."""
        if self.other is None or self._take_over:
            return None
        return CommandError("other_bridge", f"another bridge ({self.other}) uses the base topic {self._topics.base}")

    def _is_occupied(self) -> bool:
        return self._info not in (None, self._instance) and self._state == ONLINE

    async def _wait_until_offline(self, deadline: float) -> None:
        """Wait for the will of a bridge that has ended."""
        loop = asyncio.get_running_loop()
        _LOG.warning("another bridge (%s) is online on the base topic %s: waiting", self._info, self._topics.base)
        while self._is_occupied() and loop.time() < deadline:
            self._changed.clear()
            await wait_for_event(self._changed, deadline - loop.time())

    def _refuse_or_take_over(self) -> None:
        base = self._topics.base
        if not self._take_over:
            message = (
                f"base_topic: another bridge (id {self._info}) is online on {base} at this broker; give each bridge "
                "its own base_topic, or stop the other one; to replace one that has ended, set mqtt.take_over once"
            )
            raise ConfigError([message])
        _LOG.warning("mqtt.take_over: the base topic %s is taken over from another bridge (%s)", base, self._info)

    def _on_conflict(self, id_: str) -> None:
        loop = asyncio.get_running_loop()
        if self.other != id_:
            _LOG.error(
                "another bridge (%s) uses the base topic %s: %s; stop one of them or give it another base_topic",
                id_,
                self._topics.base,
                "this one goes on, as mqtt.take_over says" if self._take_over else "commands are refused",
            )
        self.other = id_
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._end_timer = loop.call_later(self._conflict_timeout, self._end_conflict)
        if loop.time() >= self._republished_at + REPUBLISH_INTERVAL:
            self._republished_at = loop.time()
            self._republish_info()
        else:
            loop.call_at(self._republished_at + REPUBLISH_INTERVAL, self._republish_during_conflict)

    def _republish_during_conflict(self) -> None:
        loop = asyncio.get_running_loop()
        if self.other is not None and loop.time() >= self._republished_at + REPUBLISH_INTERVAL:
            self._republished_at = loop.time()
            self._republish_info()

    def _end_conflict(self) -> None:
        _LOG.info("the other bridge (%s) on the base topic %s is gone", self.other, self._topics.base)
        self.other = None
        self._republish_info()


def id_of(info: bytes) -> str | None:
    """Return the id in the payload of `bridge/info`, None if there is none."""
    try:
        id_ = parse_object(info).get("id")
    except CommandError:
        return None
    return id_ if isinstance(id_, str) else None
