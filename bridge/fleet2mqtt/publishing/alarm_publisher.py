"""Publishes alarm events from the outbox at QoS 1 in order of `seq`, and records their PUBACK."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial

from fleet2mqtt.contract.payloads import now
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.errors import Disconnected, OutboxError, Refused
from fleet2mqtt.mqtt import MqttClient
from fleet2mqtt.outbox import DISK_RETRY_DELAY, AlarmEvent, Outbox
from fleet2mqtt.sdk.backoff import Backoff

_LOG = logging.getLogger(__name__)

BATCH = 500
RECORD_INTERVAL = 0.25
"""Seconds between two transactions that record acknowledged events: one for many under load, one for each otherwise."""
FIRST_REFUSED_DELAY = 5.0
LONGEST_REFUSED_DELAY = 300.0
"""Seconds before events that the broker refused are published again; doubled as long as it refuses them."""


class AlarmPublisher:
    """Publishes the unpublished events of the outbox.

    After a crash between PUBACK and record an event is published again with the same `id` and `seq`.
    """

    def __init__(
        self,
        mqtt: MqttClient,
        outbox: Outbox,
        topics: Topics,
        observe: Callable[[float], None] | None = None,
        is_online: asyncio.Event | None = None,
    ) -> None:
        """`observe` is called at each PUBACK with the seconds since the alarm was received.

        Nothing is published before `is_online` is set: Home Assistant does not show events of unavailable entities.
        """
        self._mqtt = mqtt
        self._outbox = outbox
        self._topics = topics
        self.dropped: Counter[str] = Counter()
        self._observe = observe
        self._is_online = is_online
        self._work = asyncio.Event()
        self._acknowledged: set[int] = set()
        self._new_acknowledged = asyncio.Event()
        self._pass = 0
        self._after = 0
        self._backoff = Backoff(first=FIRST_REFUSED_DELAY, longest=LONGEST_REFUSED_DELAY)
        self._retry_timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Publish new events."""
        self._work.set()

    def on_connected(self) -> None:
        """Publish again what was not acknowledged, on a new connection."""
        self._start_over()

    async def run(self) -> None:
        """Publish events until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                while self._mqtt.connected and await self._publish_batch():
                    pass
            except Disconnected:
                _LOG.debug("alarms wait for a connection")
            except OutboxError as error:
                _LOG.warning("alarms wait: %s; trying again in %g s", error, DISK_RETRY_DELAY)
                self._start_over_later(DISK_RETRY_DELAY)

    async def run_recording(self) -> None:
        """Record acknowledged events as published until cancelled, one transaction for all that wait."""
        while True:
            await self._new_acknowledged.wait()
            self._new_acknowledged.clear()
            if not await self.record_published():
                asyncio.get_running_loop().call_later(DISK_RETRY_DELAY, self._new_acknowledged.set)
            await asyncio.sleep(RECORD_INTERVAL)

    async def record_published(self) -> bool:
        """Record the events acknowledged so far as published; return False if the outbox cannot be written."""
        seqs = tuple(self._acknowledged)
        try:
            await self._outbox.published(seqs)
        except OutboxError as error:
            _LOG.warning("published alarms cannot be marked: %s; trying again in %g s", error, DISK_RETRY_DELAY)
            return False
        self._acknowledged.difference_update(seqs)
        return True

    async def _publish_batch(self) -> bool:
        if self._is_online is not None:
            await self._is_online.wait()
        current = self._pass
        events = await self._outbox.unpublished(self._after, BATCH)
        for event in events:
            if current != self._pass:
                break
            if event.seq not in self._acknowledged:
                await self._publish(event)
            if current != self._pass:
                break
            self._after = event.seq
        return bool(events)

    def _start_over(self) -> None:
        """Publish from the oldest unpublished event on."""
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None
        self._pass += 1
        self._after = 0
        self._work.set()

    def _start_over_later(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._start_over)

    async def _publish(self, event: AlarmEvent) -> None:
        topic_of = self._topics.alarm_suppressed if event.suppressed else self._topics.alarm_event
        topic = topic_of(event.severity, event.device)
        try:
            future = await self._mqtt.submit(topic, event.data)
        except Refused as refusal:
            self._on_refused(event, topic, refusal)
            return
        future.add_done_callback(partial(self._on_acknowledged, event, topic))

    def _on_acknowledged(self, event: AlarmEvent, topic: str, future: asyncio.Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is None and not future.cancelled():
            if self._retry_timer is None:
                self._backoff.record_success()
            if self._observe is not None:
                self._observe((now() - event.received_at).total_seconds())
            self._record(event)
        elif isinstance(error, Refused):
            self._on_refused(event, topic, error)

    def _on_refused(self, event: AlarmEvent, topic: str, refusal: Refused) -> None:
        """Count a refused event; one that may be accepted later is published again after a back-off.

        Any other is logged, and stays in the alarm history.
        """
        self.dropped[refusal.reason] += 1
        if not refusal.temporary:
            _LOG.error("alarm %s (seq %d) is not published on %s: %s", event.id, event.seq, topic, refusal)
            self._record(event)
        elif self._retry_timer is None:
            delay = max(self._backoff.record_failure(), refusal.retry_after)
            self._retry_timer = asyncio.get_running_loop().call_later(delay, self._start_over)

    def _record(self, event: AlarmEvent) -> None:
        self._acknowledged.add(event.seq)
        self._new_acknowledged.set()
