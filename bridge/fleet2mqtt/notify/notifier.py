"""The notifier: reads alarm events from the outbox and has each target told what it is to know."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Protocol

from fleet2mqtt.aio import run_to_end, wait_for_event
from fleet2mqtt.alarms.records import AlarmId, alarm_id
from fleet2mqtt.config.models import Language, NotifyConfig
from fleet2mqtt.devices.model import Device
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.notify.channel import Channel, NotSent
from fleet2mqtt.notify.state import ManagedAlarm, TargetState, count_waiting
from fleet2mqtt.notify.texts import TextIn, render
from fleet2mqtt.outbox import DISK_RETRY_DELAY, TRANSACTION_WAIT, AlarmEvent, Outbox

_LOG = logging.getLogger(__name__)

OWNER = ":notify"
"""The outbox's checkpoints of targets are those of this backend, whose name no backend can have."""
OPEN = ":open"
"""Ends the name of the checkpoint with the open alarms of a target: it is written only when they changed."""
NAMES = ":names"
"""The checkpoint with the names of the targets, so that those of the last run are known."""
BATCH = 500
EVENTS_A_TURN = 128
"""Events that are taken while the disk works for new alarms: at least as many as two transactions have."""
WAKE_EVENTS, LONGEST_WAIT = 64, 0.01
"""A target is woken for so many events, or for fewer after so many seconds: each time costs as much as ten of them."""
LONGEST_SLEEP = 15.0
READ_INTERVAL, LONGEST_READ_INTERVAL = 0.02, 0.25
READ_PAUSE = 10
"""Times as long as reading from disk took until the next time: the disk is for those who store alarms first.

Events in memory are read without this pause: the longer they stay, the colder is their memory when it is used again.
"""
SAVE_INTERVAL = 15.0
FIRST_RETRY, LONGEST_RETRY = 5.0, 600.0
GRACE = 1.0
"""Seconds that a message which is being sent gets when the bridge is stopped."""
MAX_SELECTED = 1_000
"""Devices of which a target remembers whether it is about them."""
PLAIN_AFTER = 3
_REFUSES_TEXT = frozenset(("HTTP 400", "HTTP 413", "HTTP 422", "SMTP 500", "SMTP 552", "SMTP 554"))
"""After PLAIN_AFTER of these a message is sent short and by the default template, else all others would wait for it."""


class KnownAlarms(Protocol):
    """Active alarms and their devices, as targets look at them."""

    @property
    def records(self) -> Mapping[AlarmId, ManagedAlarm]:
        """The active alarms."""
        ...

    @property
    def devices(self) -> Mapping[str, Device]:
        """The devices, with those through which they are connected."""
        ...

    async def prepare(self, ids: Iterable[AlarmId]) -> None:
        """Bring what is known of these alarms up to date. Raises OutboxError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAlarms:
    """Alarms and devices that this process has in memory."""

    records: Mapping[AlarmId, ManagedAlarm]
    devices: Mapping[str, Device]

    async def prepare(self, ids: Iterable[AlarmId]) -> None:
        """Do nothing: all is up to date."""


class Target:
    """One target: a state on disk, and a channel. A message is sent once it is on disk, and removed once it is taken.

    After a crash between both it is sent again.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what it reads, and where it sends
        self,
        config: NotifyConfig,
        language: Language,
        outbox: Outbox,
        alarms: KnownAlarms,
        text_in: TextIn,
        channel: Channel | None = None,
    ) -> None:
        self._config = config
        self._language = language
        self._outbox = outbox
        self._alarms = alarms
        self._text_in = text_in
        self.channel = channel or Channel(config)
        self.state = TargetState(config, self._selects, alarms.records.get)
        self._selected: dict[str, tuple[tuple[Device, ...], bool]] = {}
        """By device id: the device and those that connect it, and if the target is about it."""
        self.results: Counter[str] = Counter({"sent": 0, "failed": 0})
        self.missed = 0
        self.last_error: str | None = None
        self._saved = 0
        """Number of the last message that is on disk."""
        self._saved_at = 0.0
        self._unsaved = False
        """True if a change may wait until it is on disk."""
        self._taken_unsaved = False
        """True while a message that was taken is still on disk."""
        self._next_read_at = 0.0
        """Time from which events are read from disk again."""
        self._saving = asyncio.Lock()
        self.wake = asyncio.Event()
        self._waking: asyncio.TimerHandle | None = None
        """Sets `wake` for fewer events than WAKE_EVENTS."""
        self._queued = asyncio.Event()
        self.first_retry = FIRST_RETRY

    def _chain(self, id_: str) -> tuple[Device, ...]:
        """Return a device and those through which it is connected."""
        devices = self._alarms.devices
        found: dict[str, Device] = {}
        while id_ not in found and (device := devices.get(id_)) is not None:
            found[id_] = device
            id_ = device.via or id_
        return tuple(found.values())

    def _selects(self, id_: str) -> bool:
        include, exclude = self._config.include, self._config.exclude
        if not (include or exclude):
            return True
        devices = self._chain(id_)
        known = self._selected.get(id_)
        if known is not None and known[0] == devices:
            return known[1]
        included = not include or any(rule.matches(device) for rule in include for device in devices)
        selected = included and not any(rule.matches(device) for rule in exclude for device in devices)
        if len(self._selected) >= MAX_SELECTED:
            self._selected.clear()
        self._selected[id_] = (devices, selected)
        return selected

    def wake_for_events(self) -> None:
        """Have the events read that were added, soon."""
        if self._outbox.last_seq - self.state.seq >= WAKE_EVENTS:
            self._wake()
        elif self._waking is None:
            self._waking = asyncio.get_running_loop().call_later(LONGEST_WAIT, self._wake)

    def _wake(self) -> None:
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        self.wake.set()

    async def run(self) -> None:
        """Notify until cancelled."""
        self._load()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.read())
            group.create_task(self.deliver())

    def _load(self) -> None:
        """Continue where the last run ended; a new target begins with what comes from now on."""
        name = self._config.name
        text = self._outbox.checkpoint(OWNER, name)
        self.state.seq = self._outbox.last_seq
        self.state.open_changed = True
        if text is not None:
            try:
                self.state.load(text, self._outbox.checkpoint(OWNER, name + OPEN))
            except ValueError as error:
                _LOG.error("notify.%s: what it was told is not readable (%s); it begins anew", name, error)
        self._saved = self.state.number if text is not None else -1
        self._queued.set()

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
            due = self.state.next_due(time.time())
            if due is not None:
                delay = min(delay, max(0.5, due - time.time()))
            if self._unsaved:
                delay = min(delay, SAVE_INTERVAL)
            await wait_for_event(self.wake, delay)

    async def _read_all(self) -> None:
        """Take all events."""
        while True:
            events, more = await self._next_events()
            all_read = not events and self.state.seq >= self._outbox.last_seq
            looked_at = self.state.looked_at(time.time(), all_read=all_read)
            await self._alarms.prepare(chain(looked_at, map(alarm_id, events)))
            now, before = time.time(), self.state.seq
            if events and events[0].seq > max(self.state.seq + 1, 1) and self._outbox.first_seq > self.state.seq + 1:
                gone = events[0].seq - self.state.seq - 1
                self.missed += gone
                _LOG.error(
                    "notify.%s: %d events were deleted unread: raise alarms.history_rows", self._config.name, gone
                )
            for number, event in enumerate(events):
                if number % EVENTS_A_TURN == 0:  # alarms that are being pushed do not wait for a whole batch
                    await self._outbox.transaction_began(TRANSACTION_WAIT)
                self.state.take(event, now)
            self._unsaved |= self.state.advance(now, all_read=all_read) or self.state.seq != before
            late = self._unsaved and time.monotonic() - self._saved_at >= SAVE_INTERVAL
            if late or self.state.number != self._saved or self._taken_unsaved:
                await self._save()
            if not more:
                return

    async def _next_events(self) -> tuple[list[AlarmEvent], bool]:
        after, last = self.state.seq, self._outbox.last_seq
        if after >= last:
            return [], False
        if events := self._outbox.history_in_memory(after, BATCH):
            # The last one may be on disk and not in memory, as its sender has disconnected.
            return events, events[-1].seq < last
        await asyncio.sleep(self._next_read_at - time.monotonic())
        began_at = time.monotonic()
        events, more = await self._outbox.history(after, BATCH)
        now = time.monotonic()
        self._next_read_at = now + min(max(READ_INTERVAL, READ_PAUSE * (now - began_at)), LONGEST_READ_INTERVAL)
        return events, more

    async def _save(self) -> None:
        """Store the state: at once before a message is sent and after it was taken, else every SAVE_INTERVAL.

        It has how far events were read, so that an older one is brought up to date by reading them again.
        """
        async with self._saving:
            number, taken, open_changed = self.state.number, self.results["sent"], self.state.open_changed
            name = self._config.name
            texts = {name: self.state.dump()}
            if open_changed:
                texts[name + OPEN] = self.state.dump_open()
            self._unsaved = self.state.open_changed = False
            try:
                await self._outbox.save_checkpoints(OWNER, texts)
            except BaseException:  # also cancelled: perhaps it is not written
                self._unsaved = True
                self.state.open_changed |= open_changed
                raise
            self._saved, self._saved_at = max(self._saved, number), time.monotonic()
            self._taken_unsaved &= self.results["sent"] != taken
            self._queued.set()

    async def deliver(self) -> None:
        """Send the messages in order, each until it is taken, until cancelled."""
        while True:
            queue = self.state.queue
            if not queue or queue[0]["number"] > self._saved:
                self._queued.clear()
                await wait_for_event(self._queued, LONGEST_SLEEP)
                continue
            await self._deliver(queue[0])
            self._on_taken()
            try:
                await run_to_end(self._save())  # else whoever replaces this target would send it again
            except OutboxError as error:  # it is saved with the next change, or a while later
                _LOG.warning("notify.%s: what was sent is not recorded yet: %s", self._config.name, error)
            self.wake.set()

    async def _deliver(self, message: Mapping[str, Any]) -> None:
        """Send a message until it is taken."""
        delay, refused = self.first_retry, 0
        while True:
            plain = refused >= PLAIN_AFTER
            title, body = await asyncio.to_thread(
                render, self._config, self._language, message, self._text_in, plain=plain
            )
            try:
                await self.channel.send(message["kind"], title, body)
            except NotSent as error:
                refused += str(error) in _REFUSES_TEXT
                self._on_failed(str(error), delay)
            except asyncio.CancelledError:
                if await self.channel.settle(message["kind"], title, body, GRACE):
                    self._on_taken()
                    await self._save()
                raise
            else:
                return
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_RETRY)

    def _on_taken(self) -> None:
        self.results["sent"] += 1
        self._taken_unsaved = True
        self.state.queue.popleft()
        if self.last_error is not None:
            _LOG.info("notify.%s: notifications are taken again", self._config.name)
        self.last_error = None

    def _on_failed(self, reason: str, delay: float) -> None:
        self.results["failed"] += 1
        level = logging.DEBUG if reason == self.last_error else logging.WARNING
        _LOG.log(level, "notify.%s: a notification waits: %s; trying again in %g s", self._config.name, reason, delay)
        self.last_error = reason

    def continue_counts(self, former: Target) -> None:
        """Count on from the target that this one replaces."""
        self.results, self.missed = former.results, former.missed

    def figures(self) -> dict[str, Any]:
        """Return the numbers for `bridge/health`; the age is in seconds."""
        oldest = self.state.oldest
        return {
            **self.results,
            "queued": len(self.state.queue),
            "oldest_age": None if oldest is None else max(0, round(time.time() - oldest)),
            "missed": self.missed,
            "last_error": self.last_error,
        }


class Notifier:
    """All targets."""

    def __init__(
        self,
        configs: Iterable[NotifyConfig],
        language: Language,
        outbox: Outbox,
        alarms: KnownAlarms,
        text_in: TextIn,
    ) -> None:
        self._outbox = outbox
        self._configs = {each.name: each for each in configs}
        self._make = partial(Target, language=language, outbox=outbox, alarms=alarms, text_in=text_in)
        self.targets = {name: self._make(each) for name, each in self._configs.items()}
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Have the events read that were added."""
        for target in self.targets.values():
            target.wake_for_events()

    async def run(self) -> None:
        """Notify until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._start()
            await asyncio.Event().wait()  # other targets may be configured, also where there are none

    def _start(self) -> None:
        if self._group is None:
            return
        for name, target in self.targets.items():
            if name not in self._tasks:
                self._tasks[name] = self._group.create_task(target.run())
        self._group.create_task(self._forget_removed())

    async def replace(self, configs: Mapping[str, NotifyConfig]) -> None:
        """Have other targets from now on; those that did not change go on."""
        gone = [name for name, config in self._configs.items() if config != configs.get(name)]
        tasks = [self._tasks.pop(name) for name in gone if name in self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        former = {name: self.targets.pop(name) for name in gone}
        for name, config in configs.items():
            if name not in self.targets:
                self.targets[name] = self._make(config)
                if name in former:
                    self.targets[name].continue_counts(former[name])
        self._configs = dict(configs)
        self._start()

    async def _forget_removed(self) -> None:
        """Delete what was stored of targets that are no longer configured: it would be sent when they come back."""
        while True:
            try:
                await self._replace_names()
            except OutboxError as error:
                _LOG.warning("notify: %s; trying again in %g s", error, DISK_RETRY_DELAY)
                await asyncio.sleep(DISK_RETRY_DELAY)
            else:
                return

    async def _replace_names(self) -> None:
        before = self._outbox.checkpoint(OWNER, NAMES) or ""
        for name in sorted(set(before.split()) - self.targets.keys()):
            text = self._outbox.checkpoint(OWNER, name)
            if text:
                _LOG.warning(
                    "notify.%s is no longer configured; %d notifications of it are dropped", name, count_waiting(text)
                )
                await self._outbox.save_checkpoints(OWNER, {name: "", name + OPEN: ""})
        if (names := " ".join(sorted(self.targets))) != before:
            await self._outbox.save_checkpoint(OWNER, NAMES, names)

    def figures(self) -> dict[str, dict[str, Any]]:
        """Return the numbers of each target."""
        return {name: target.figures() for name, target in self.targets.items()}
