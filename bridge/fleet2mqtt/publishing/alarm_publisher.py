"""Publishes alarm events from the outbox at QoS 1 in order of `seq`, and records their PUBACK."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from fleet2mqtt.contract.payloads import now
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.errors import Disconnected, OutboxError, Refused
from fleet2mqtt.mqtt import MqttClient
from fleet2mqtt.outbox import DISK_RETRY_DELAY, TRANSACTION_WAIT, AlarmEvent, Outbox
from fleet2mqtt.sdk.backoff import Backoff

_LOG = logging.getLogger(__name__)

BATCH = 500
RECORD_INTERVAL, LONGEST_RECORD_INTERVAL = 0.03, 0.25
"""Seconds between two transactions that record acknowledged events: one for many under load, one for each otherwise."""
RECORD_PAUSE = 2
"""Times as long as the last record took, with its wait for a transaction, until the next one: for slow disks."""
FIRST_REFUSED_DELAY = 5.0
LONGEST_REFUSED_DELAY = 300.0
"""Seconds before events that the broker refused are published again; doubled as long as it refuses them."""


class _Sent(NamedTuple):
    """An event that was sent, and the future of its acknowledgement."""

    event: AlarmEvent
    topic: str
    acknowledged: asyncio.Future[float]


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
        """`observe` is called with the seconds from receiving an alarm to its PUBACK, once that is recorded.

        Nothing is published before `is_online` is set: Home Assistant does not show events of unavailable entities.
        """
        self._mqtt = mqtt
        self._outbox = outbox
        self._topics = topics
        self.dropped: Counter[str] = Counter()
        self._observe = observe
        self._is_online = is_online
        self._work = asyncio.Event()
        self._sent: list[_Sent] = []
        """Events that were not acknowledged when `_collect_acknowledged` looked last."""
        self._acknowledged: set[int] = set()
        """Numbers of events that are to be recorded as published."""
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
            await self._outbox.transaction_began(TRANSACTION_WAIT)
            began_at = time.monotonic()
            if not await self.record_published():
                asyncio.get_running_loop().call_later(DISK_RETRY_DELAY, self._new_acknowledged.set)
            pause = RECORD_PAUSE * (time.monotonic() - began_at)
            await asyncio.sleep(min(max(RECORD_INTERVAL, pause), LONGEST_RECORD_INTERVAL))
            if self._sent:
                self._new_acknowledged.set()  # perhaps: none of those after the first has a callback

    async def record_published(self) -> bool:
        """Record the events acknowledged so far as published; return False if the outbox cannot be written."""
        self._collect_acknowledged()
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
        self._collect_acknowledged()
        self._new_acknowledged.set()
        self._pass += 1
        self._after = 0
        self._work.set()

    def _start_over_later(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._start_over)

    async def _publish(self, event: AlarmEvent) -> None:
        topic_of = self._topics.alarm_suppressed if event.suppressed else self._topics.alarm_event
        topic = topic_of(event.severity, event.device)
        try:
            acknowledged = await self._mqtt.submit(topic, event.data)
        except Refused as refusal:
            self._on_refused(event, topic, refusal)
            return
        if not self._sent:
            # Recorded at once, or soon if the broker acknowledges others but not this one.
            acknowledged.add_done_callback(lambda _: self._new_acknowledged.set())
            asyncio.get_running_loop().call_later(RECORD_INTERVAL, self._new_acknowledged.set)
        self._sent.append(_Sent(event, topic, acknowledged))

    def _collect_acknowledged(self) -> None:
        """Sort out what became of the events that were sent: acknowledged, refused, or lost with their connection."""
        sent, self._sent = self._sent, []
        to_epoch = now().timestamp() - asyncio.get_running_loop().time()
        for each in sent:
            if not each.acknowledged.done():
                self._sent.append(each)
                continue
            error = each.acknowledged.exception()
            if error is None:
                if self._backoff.failures and self._retry_timer is None:
                    self._backoff.record_success()
                self._acknowledged.add(each.event.seq)
                if self._observe is not None:
                    self._observe(each.acknowledged.result() + to_epoch - each.event.received_at.timestamp())
            elif isinstance(error, Refused):
                self._on_refused(each.event, each.topic, error)

    def _on_refused(self, event: AlarmEvent, topic: str, refusal: Refused) -> None:
        """Count a refused event; one that may be accepted later is published again after a back-off.

        Any other is logged, and stays in the alarm history.
        """
        self.dropped[refusal.reason] += 1
        if not refusal.temporary:
            _LOG.error("alarm %s (seq %d) is not published on %s: %s", event.id, event.seq, topic, refusal)
            self._acknowledged.add(event.seq)
            self._new_acknowledged.set()
        elif self._retry_timer is None:
            delay = max(self._backoff.record_failure(), refusal.retry_after)
            self._retry_timer = asyncio.get_running_loop().call_later(delay, self._start_over)
