"""The notifier: reads alarm events from the outbox and has each target told what it is to know."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.alarms.records import AlarmId, AlarmRecord
from fleet2mqtt.config.models import Language, NotifyConfig
from fleet2mqtt.devices.model import Device
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.notify.channel import Channel, NotSent
from fleet2mqtt.notify.state import TargetState
from fleet2mqtt.notify.texts import render
from fleet2mqtt.outbox import Outbox

_LOG = logging.getLogger(__name__)

OWNER = ":notify"
"""The outbox's checkpoints of targets are those of this backend, whose name no backend can have."""
BATCH = 500
LONGEST_SLEEP = 15.0
DISK_RETRY_DELAY = 5.0
FIRST_RETRY, LONGEST_RETRY = 5.0, 600.0


class Target:
    """One target: a state on disk, and a channel. A message is sent once it is on disk, and removed once it is taken.

    After a crash between both it is sent again.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what it reads, and where it sends
        self,
        config: NotifyConfig,
        language: Language,
        outbox: Outbox,
        registry: Registry,
        records: Mapping[AlarmId, AlarmRecord],
        channel: Channel | None = None,
    ) -> None:
        self._config = config
        self._language = language
        self._outbox = outbox
        self._registry = registry
        self.channel = channel or Channel(config)
        self.state = TargetState(config, self._selects, records.get)
        self.results: Counter[str] = Counter({"sent": 0, "failed": 0})
        self.missed = 0
        self.last_error: str | None = None
        self._saved = 0
        """Number of the last message that is on disk."""
        self.wake = asyncio.Event()
        self._queued = asyncio.Event()
        self.first_retry = FIRST_RETRY

    def _chain(self, id_: str) -> Iterator[Device]:
        seen = set[str]()
        while id_ not in seen and (device := self._registry.devices.get(id_)) is not None:
            seen.add(id_)
            yield device
            id_ = device.via or id_

    def _selects(self, id_: str) -> bool:
        include, exclude = self._config.include, self._config.exclude
        if not (include or exclude):
            return True
        chain = tuple(self._chain(id_))
        if include and not any(rule.matches(device) for rule in include for device in chain):
            return False
        return not any(rule.matches(device) for rule in exclude for device in chain)

    async def start(self) -> None:
        """Continue where the last run ended; a new target begins with what comes from now on. Raises OutboxError."""
        text = self._outbox.checkpoint(OWNER, self._config.name)
        if text is not None:
            self.state.load(text)
            self._saved = self.state.number
            self._queued.set()
        else:
            self.state.seq = self._outbox.last_seq
            await self._save()

    async def read(self) -> None:
        """Read events until none is left, repeatedly, until cancelled."""
        while True:
            self.wake.clear()
            try:
                await self._read_all()
                delay = LONGEST_SLEEP
            except OutboxError as error:
                _LOG.warning("notify.%s waits: %s; trying again in %g s", self._config.name, error, DISK_RETRY_DELAY)
                await asyncio.sleep(DISK_RETRY_DELAY)
                continue
            due = self.state.next_due()
            if due is not None:
                delay = min(delay, max(0.5, due - time.time()))
            await wait_for_event(self.wake, delay)

    async def _read_all(self) -> None:
        changed, before = False, self.state.seq
        while True:
            events, more = await self._outbox.history(self.state.seq, BATCH)
            now = time.time()
            if events and events[0].seq > max(self.state.seq + 1, 1) and self._outbox.first_seq > self.state.seq + 1:
                gone = events[0].seq - self.state.seq - 1
                self.missed += gone
                _LOG.error(
                    "notify.%s: %d events were deleted unread: raise alarms.history_rows", self._config.name, gone
                )
            for event in events:
                changed |= self.state.take(event, now)
            changed |= self.state.advance(now)
            if changed or self.state.seq != before or self.state.number != self._saved:
                await self._save()
                changed, before = False, self.state.seq
            if not more:
                return

    async def _save(self) -> None:
        number = self.state.number
        await self._outbox.save_checkpoint(OWNER, self._config.name, self.state.dump())
        self._saved = max(self._saved, number)
        self._queued.set()

    async def deliver(self) -> None:
        """Send the messages in order, each until it is taken, until cancelled."""
        delay = self.first_retry
        while True:
            queue = self.state.queue
            if not queue or queue[0]["number"] > self._saved:
                self._queued.clear()
                await wait_for_event(self._queued, LONGEST_SLEEP)
                continue
            message = queue[0]
            title, body = render(self._config, self._language, message)
            try:
                await self.channel.send(message["kind"], title, body)
            except NotSent as error:
                self.results["failed"] += 1
                self.last_error = str(error)
                _LOG.warning("notify.%s: %s; trying again in %g s", self._config.name, error, delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, LONGEST_RETRY)
                continue
            self.results["sent"] += 1
            self.last_error, delay = None, self.first_retry
            queue.popleft()
            try:
                await self._save()
            except OutboxError as error:  # it is saved with the next change
                _LOG.warning("notify.%s: what was sent is not recorded yet: %s", self._config.name, error)
            self.wake.set()

    def figures(self) -> dict[str, Any]:
        """Return the numbers for `bridge/health`."""
        return {**self.results, "queued": len(self.state.queue), "missed": self.missed, "last_error": self.last_error}


class Notifier:
    """All targets."""

    def __init__(
        self,
        configs: Iterable[NotifyConfig],
        language: Language,
        outbox: Outbox,
        registry: Registry,
        records: Mapping[AlarmId, AlarmRecord],
    ) -> None:
        self.targets = {each.name: Target(each, language, outbox, registry, records) for each in configs}

    def wake(self) -> None:
        """Have the events read that were added."""
        for target in self.targets.values():
            target.wake.set()

    async def run(self) -> None:
        """Notify until cancelled. Raises OutboxError when the state of a target cannot be read."""
        async with asyncio.TaskGroup() as group:
            for target in self.targets.values():
                await target.start()
                group.create_task(target.read())
                group.create_task(target.deliver())

    def figures(self) -> dict[str, dict[str, Any]]:
        """Return the numbers of each target."""
        return {name: target.figures() for name, target in self.targets.items()}
