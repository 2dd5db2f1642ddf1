"""From the outbox to the broker: every event at QoS 1, marked published after its PUBACK, in order of `seq`."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial

from fleet2mqtt.contract.payloads import dumps, now
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.errors import Disconnected, OutboxError, Refused
from fleet2mqtt.mqtt import MqttClient
from fleet2mqtt.outbox import AlarmEvent, Outbox

_LOG = logging.getLogger(__name__)

BATCH = 500
TOO_LARGE = "too_large"
RETRY = 5.0
"""Seconds before what the disk refused is tried again."""
MARK_PAUSE = 0.02
"""Seconds between two marks: under load they cost a commit for many events, and one when it is quiet."""
RETRY_REFUSED = 60.0
"""Seconds before what the broker refused is tried again."""


class AlarmPublisher:
    """Drains the outbox. A crash between PUBACK and mark repeats an event with the same `id` and `seq`."""

    def __init__(
        self, mqtt: MqttClient, outbox: Outbox, topics: Topics, observe: Callable[[float], None] | None = None
    ) -> None:
        """`observe` is called at each PUBACK with the seconds since the alarm was received."""
        self._mqtt = mqtt
        self._outbox = outbox
        self._topics = topics
        self.dropped: Counter[str] = Counter()
        self._observe = observe
        self._wake = asyncio.Event()
        self._acknowledged: set[int] = set()
        self._checkpoints = asyncio.Event()
        self._connection = 0
        self._after = 0

    def wake(self) -> None:
        """There are events, or a connection."""
        self._wake.set()

    def connected(self) -> None:
        """A connection is new: what was not acknowledged goes again."""
        self._connection += 1
        self._after = 0
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while self._mqtt.connected and await self._publish_batch():
                    pass
            except Disconnected:
                _LOG.debug("alarms wait for a connection")
            except OutboxError as error:
                _LOG.warning("alarms wait: %s; trying again in %g s", error, RETRY)
                self._again(RETRY)

    async def run_marks(self) -> None:
        """Mark acknowledged events as published, until cancelled; one transaction for all that wait."""
        while True:
            await self._checkpoints.wait()
            self._checkpoints.clear()
            if not await self.mark():
                asyncio.get_running_loop().call_later(RETRY, self._checkpoints.set)
            await asyncio.sleep(MARK_PAUSE)

    async def mark(self) -> bool:
        """Mark what has been acknowledged so far; False when the disk refuses."""
        seqs = tuple(self._acknowledged)
        try:
            await self._outbox.published(seqs)
        except OutboxError as error:
            _LOG.warning("published alarms cannot be marked: %s; trying again in %g s", error, RETRY)
            return False
        self._acknowledged.difference_update(seqs)
        return True

    async def _publish_batch(self) -> bool:
        connection = self._connection
        events = await self._outbox.unpublished(self._after, BATCH)
        for event in events:
            if event.seq not in self._acknowledged:
                await self._publish(event)
            if connection != self._connection:
                break
            self._after = event.seq
        return bool(events)

    def _again(self, seconds: float) -> None:
        """Begin at the oldest once more, a little later."""
        asyncio.get_running_loop().call_later(seconds, self.connected)

    async def _publish(self, event: AlarmEvent) -> None:
        topic = self._topics.alarm_event(event.severity, event.device)
        try:
            future = await self._mqtt.submit(topic, dumps(event.body))
        except Refused as refusal:
            self._give_up(event, topic, refusal)
            return
        future.add_done_callback(partial(self._done, event, topic))

    def _done(self, event: AlarmEvent, topic: str, future: asyncio.Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is None and not future.cancelled():
            if self._observe is not None:
                self._observe((now() - event.received_at).total_seconds())
            self._mark(event)
        elif isinstance(error, Refused):
            self._give_up(event, topic, error)

    def _give_up(self, event: AlarmEvent, topic: str, refusal: Refused) -> None:
        """Too large for this broker: counted and said, and still in the history for whoever asks by seq.

        Any other refusal (an access list, a quota) somebody can mend, so the event stays and is tried again.
        """
        self.dropped[refusal.reason] += 1
        _LOG.error("alarm %s (seq %d) is not published on %s: %s", event.id, event.seq, topic, refusal)
        if refusal.reason == TOO_LARGE:
            self._mark(event)
        else:
            self._again(RETRY_REFUSED)

    def _mark(self, event: AlarmEvent) -> None:
        self._acknowledged.add(event.seq)
        self._checkpoints.set()
