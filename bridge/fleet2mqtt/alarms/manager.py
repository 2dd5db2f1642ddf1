"""The alarm manager: active alarms, what operators did to them, maintenance windows, and what suppresses what."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.alarms.maintenance import ActiveWindows, MaintenanceWindow, MaintenanceWindows
from fleet2mqtt.alarms.records import (
    FLAPPING_RAISES,
    FLAPPING_WINDOW,
    AlarmId,
    AlarmRecord,
    AlarmState,
    EventType,
    alarm_id,
    announced_by,
    restore_ended,
    state_to_announce,
)
from fleet2mqtt.contract.payloads import dumps, stamp
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.alarm_rules import ActiveAlarm
from fleet2mqtt.devices.builtin_entities import ALARM_ACTIVE, MAINTENANCE
from fleet2mqtt.devices.model import Alarm, Device, Severity, UpdateOrigin
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import CommandError, OutboxError
from fleet2mqtt.outbox import DISK_RETRY_DELAY, AlarmEvent, Outbox
from fleet2mqtt.outbox.models import EventDraft, change_draft, storable
from fleet2mqtt.publishing.publisher import Publisher

_LOG = logging.getLogger(__name__)

KEY = "alarm/"
"""First part of the keys under which the outbox stores what is known of alarms."""
LONGEST_SLEEP = 60.0
SYSTEM = "fleet2mqtt"
"""Operator of changes that the bridge makes itself."""
BATCH = 500
"""Changes of alarms that are stored together."""
MAX_COUNTED = 10_000
"""Alarms of which the last raises are known, to find those that flap, and alarms of which the end is."""
SEVERITIES = tuple(severity.value for severity in Severity if severity is not Severity.CLEARED)


@dataclass(slots=True, kw_only=True)
class AlarmOptions:
    """Options of alarm management, in seconds: the longest shelf, and the delay before suppression by a parent ends."""

    max_shelve: float = 86_400.0
    suppression_delay: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """The operator of a change and a text, as the request gave them."""

    name: str
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """A change of an alarm that is to be stored: the alarm as it is, as it will be, and the event."""

    record: AlarmRecord
    changed: AlarmRecord
    members: tuple[str, ...]
    draft: EventDraft


class AlarmManager:
    """Knows every active alarm, decides where its events are published, and changes it for operators.

    `is_unreachable` says, by backend and key, whether a condition means that nothing is known of the sub-devices of its
    device. `on_events` is called when new events are in the outbox.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what alarms are stored in and shown by
        self,
        outbox: Outbox,
        registry: Registry,
        publisher: Publisher,
        topics: Topics,
        windows: MaintenanceWindows,
        options: AlarmOptions,
        is_unreachable: Callable[[str, str], bool],
        on_events: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._registry = registry
        self._publisher = publisher
        self._topics = topics
        self._windows = windows
        self._options = options
        self._is_unreachable = is_unreachable
        self._on_events = on_events
        self.records: dict[AlarmId, AlarmRecord] = {}
        """Active alarms, and those that have ended while they were shelved, or suppressed after their announcement."""
        self._windows_now = ActiveWindows(())
        self._by_device: defaultdict[str, set[AlarmId]] = defaultdict(set)
        self._active: Counter[str] = Counter()
        """Number of active alarms by device."""
        self._by_event: dict[str, AlarmId] = {}
        """Active alarms by the id of their raise event."""
        self._shelved: set[AlarmId] = set()
        self._uncovered: set[AlarmId] = set()
        """Alarms whose state was not announced and is no longer withheld."""
        self._ended: dict[AlarmId, tuple[datetime, str]] = {}
        """Time and event id of the last end of alarms: a raise that is older and arrives later changes nothing."""
        self._raises: dict[AlarmId, deque[float]] = {}
        """Times of the last raises of alarms, the one that was raised last at the end."""
        self._unreachable: dict[str, dict[AlarmId, str]] = {}
        """Active alarms that suppress those of sub-devices, by device: their event ids."""
        self._released: dict[str, tuple[str, float]] = {}
        """Devices whose own alarm has just ended: its event id, and when suppression by it ends."""
        self._changing = asyncio.Lock()
        """One change by an operator after another: each is stored as a whole."""
        self._in_change: dict[AlarmId, AlarmRecord] = {}
        """The alarm that is being changed, as it will be."""
        self._arriving: Counter[AlarmId] = Counter()
        """Alarms of which an event is being stored; a change waits for them."""
        self._raising: defaultdict[str, dict[str, Alarm]] = defaultdict(dict)
        """Raised alarms that are being stored, by device and id."""
        self._arrived = asyncio.Event()
        self._stored: set[AlarmId] = set()
        """Alarms of which the outbox stores a text."""
        self._outdated: set[AlarmId] = set()
        """Alarms whose texts are not as they should be, or are to be deleted."""
        self._wake = asyncio.Event()
        self.changed = asyncio.Event()
        """Set when the summary may have changed."""
        self._counts: dict[str, dict[str, int]] | None = None
        """Result of `counts`, until something changes."""
        self._subscribers: list[Callable[[Iterable[str]], None]] = []
        windows.subscribe(self._on_windows)

    def subscribe(self, on_changed: Callable[[Iterable[str]], None]) -> None:
        """Call `on_changed` with the ids of devices that got or lost an active alarm."""
        self._subscribers.append(on_changed)

    def has_active(self, device: str) -> bool:
        """Return True if an alarm of a device is active."""
        return device in self._active

    def is_active(self, event: AlarmEvent) -> bool:
        """Return True if the alarm that an event raised is active."""
        return event.id in self._by_event

    # What the outbox stored.

    async def restore(self) -> None:
        """Start from what the outbox stores: active alarms, their management, and maintenance windows."""
        stored = await self._outbox.managed()
        self._windows.restore(stored)
        self._windows_now = ActiveWindows(self._windows.active(datetime.now(UTC)))
        self._stored = {_alarm_of(key) for key in stored if key.startswith(KEY)}
        for ended in await self._outbox.ended_alarms():
            self._note_end((ended.device, ended.key), ended.at, ended.id)
            self._publisher.clear_retained(self._topic((ended.device, ended.key)))  # a crash may have come before
            passed = (datetime.now(UTC) - ended.at).total_seconds()
            left = self._options.suppression_delay - max(0.0, passed)  # the clock may have been set back
            if left > 0 and self._is_unreachable(ended.backend, ended.key):
                self._released[ended.device] = ended.id, time.monotonic() + left
        for event in await self._outbox.active_alarms():
            record = AlarmRecord(event=event, announced=announced_by(event))
            text = stored.pop(_key(record.id), None)
            if text is not None:
                record.load(text)
            self._add(record)
        for key, text in stored.items():
            if not key.startswith(KEY):
                continue
            record_of_ended = restore_ended(text)
            if record_of_ended is None or record_of_ended.id in self.records:
                self._outdated.add(_alarm_of(key))
            else:
                self._add(record_of_ended)
        for record in tuple(self.records.values()):
            self._find_suppressor(record)
            self._publish(record)
            self._settle(record)
        for each in tuple(self._registry.devices.values()):  # their values were saved up to a minute before a crash
            self._set_active(each.id)
            self._show_maintenance(each)
        self._note_change()
        self._wake.set()

    # Events on their way in.

    def classify(self, alarms: Iterable[Alarm]) -> tuple[list[Alarm], dict[str, str | None]]:
        """Return alarms, marked if their events are withheld, and the texts to store with them.

        Withheld is what is shelved, in maintenance, or behind a device that cannot be reached.
        """
        classified, managed = [], dict[str, str | None]()
        for alarm in alarms:
            suppressor = self._suppressor(alarm.device, alarm.backend)
            withheld = suppressor is not None
            if not alarm.active:
                classified.append(replace(alarm, suppressed=True, suppressed_by=suppressor) if withheld else alarm)
                continue
            id_ = _id_of(alarm)
            record = self._in_change.get(id_) or self.records.get(id_)
            if record is not None:
                withheld = withheld or record.shelved_until is not None or self._is_unannounced_end(alarm, record)
            classified.append(replace(alarm, suppressed=True, suppressed_by=suppressor) if withheld else alarm)
            if record is not None and not _is_outdated(alarm, record):
                text = self._text_after(alarm, record, withheld=withheld)
                if text is not None or id_ in self._in_change or id_ in self._stored:
                    managed[_key(id_)] = text
        return classified, managed

    def _is_unannounced_end(self, alarm: Alarm, record: AlarmRecord) -> bool:
        """Return True for the clear of an alarm whose raise was withheld and is not announced yet."""
        return alarm.cleared and record.active and record.announced is None and record.id in self._uncovered

    def _text_after(self, alarm: Alarm, record: AlarmRecord, *, withheld: bool) -> str | None:
        """Return the text to store with an event that changes an alarm, None for none."""
        if not alarm.cleared:
            return record.dump() if record.shelved_until else None  # of which only the shelf applies
        if not record.active:
            return record.text()
        announced = record.announced if withheld else AlarmState.CLEARED
        suppressor = self._suppressor(alarm.device, alarm.backend)
        ended = replace(
            record,
            state=AlarmState.CLEARED,
            cleared_at=alarm.raised_at.isoformat(),
            announced=announced,
            suppressed_by=suppressor,
        )
        return ended.text()

    @contextmanager
    def storing(self, alarms: Iterable[Alarm]) -> Iterator[None]:
        """Store classified alarms within this context, and record their events: operators' changes of them wait."""
        active = [alarm for alarm in alarms if alarm.active]
        ids = [_id_of(alarm) for alarm in active]
        raised = [alarm for alarm in active if not alarm.cleared]
        for id_ in ids:
            self._arriving[id_] += 1
        for alarm in raised:
            self._raising[alarm.device][alarm.id] = alarm
        try:
            yield
        finally:
            for alarm in raised:
                self._raising[alarm.device].pop(alarm.id, None)
                if not self._raising[alarm.device]:
                    del self._raising[alarm.device]
            for id_ in ids:
                self._arriving[id_] -= 1
                if not self._arriving[id_]:
                    del self._arriving[id_]
                    self._arrived.set()
                    if id_ in self._outdated or id_ in self._uncovered:
                        self._wake.set()

    def on_stored(self, managed: Mapping[str, str | None]) -> None:
        """Note the texts of alarms that were stored or deleted with events, which are recorded.

        A text is made before its event is stored. Where others of the same alarm came together with it, it may be about
        an earlier occurrence: then it is stored once more.
        """
        self._note_stored(managed)
        for key, text in managed.items():
            record = self.records.get(_alarm_of(key))
            if text != (None if record is None else record.text()):
                self._outdated.add(_alarm_of(key))
                self._wake.set()

    def _note_stored(self, managed: Mapping[str, str | None]) -> None:
        for key, text in managed.items():
            if text is None:
                self._stored.discard(_alarm_of(key))
            else:
                self._stored.add(_alarm_of(key))
                self._outdated.discard(_alarm_of(key))

    def on_event(self, event: AlarmEvent) -> None:
        """Record a stored event of an active alarm and publish the alarm's state."""
        if not event.active:
            return
        id_ = alarm_id(event)
        record = self.records.get(id_)
        if event.cleared:
            if record is not None and record.active and not _is_older(event, record.event):
                if not event.suppressed:
                    record.announced = AlarmState.CLEARED
                self._end(record, event.body["raised_at"])
            self._note_end(id_, _raised(event), event.id)
        elif record is not None and record.active:
            if not _is_older(event, record.event):
                self._raise(id_, event, record)
        elif not self._has_ended(id_, event):
            self._raise(id_, event, record)
        self._note_change()

    def _note_end(self, id_: AlarmId, moment: datetime, event_id: str) -> None:
        before = self._ended.pop(id_, None)
        self._ended[id_] = moment if before is None else max(moment, before[0]), event_id
        if len(self._ended) > MAX_COUNTED:
            del self._ended[next(iter(self._ended))]

    def _has_ended(self, id_: AlarmId, event: AlarmEvent) -> bool:
        """Return True for a raise that is older than the last end of its alarm, which arrived before it."""
        ended = self._ended.get(id_)
        return ended is not None and (
            event.id == ended[1] or (_raised(event) < ended[0] and not _is_of_condition(event))
        )

    def on_completed(self, event: AlarmEvent) -> None:
        """Publish facts that a stored event was completed by, where its alarm is retained."""
        record = self.records.get(alarm_id(event))
        if record is not None and record.active and record.event.id == event.id:
            record.event = event
            self._publish(record)

    def on_removed(self, devices: Iterable[str], events: Iterable[AlarmEvent]) -> None:
        """Remove the alarms of devices that are gone; `events` raised those that the outbox had as active."""
        for device in devices:
            for id_ in tuple(self._by_device.get(device, ())):
                record = self.records[id_]
                unreachable = id_ in self._unreachable.get(device, ())
                self._remove(record)
                self._clear(id_)
                if unreachable:
                    self._review_sub_devices(device)
            self._note_change()
        for event in events:
            self._note_end(alarm_id(event), _raised(event), event.id)
            self._clear(alarm_id(event))
            self._note_change()

    def on_devices(self, ids: Iterable[str]) -> None:
        """Look at devices that are new, or otherwise described: what suppresses their alarms, and their maintenance."""
        if not (self._windows_now or self._unreachable or self._released):
            return
        for id_ in ids:
            if (device := self._registry.devices.get(id_)) is not None:
                self._show_maintenance(device)
                self._review(tuple(self._by_device.get(id_, ())))

    def _raise(self, id_: AlarmId, event: AlarmEvent, former: AlarmRecord | None) -> None:
        record = AlarmRecord(event=event, announced=announced_by(event))
        if former is not None:
            record.shelved_until, record.shelved_by = former.shelved_until, former.shelved_by
            self._remove(former, stored=record.shelved_until is not None)
        self._add(record)
        record.flapping = self._count_raise(id_)
        self._find_suppressor(record)
        self._publish(record)
        if id_ in self._unreachable.get(event.device, ()):
            self._released.pop(event.device, None)
            self._review_sub_devices(event.device)
        self._settle(record)

    def _count_raise(self, id_: AlarmId) -> bool:
        """Count a raise; return True if the alarm flaps."""
        moment = time.monotonic()
        raises = self._raises.pop(id_, None) or deque(maxlen=FLAPPING_RAISES)
        raises.append(moment)
        self._raises[id_] = raises
        if len(self._raises) > MAX_COUNTED:
            del self._raises[next(iter(self._raises))]
        return len(raises) == FLAPPING_RAISES and raises[0] > moment - FLAPPING_WINDOW

    def _end(self, record: AlarmRecord, moment: str) -> None:
        """Record that an alarm has ended; one that is withheld is still known until that is over."""
        record.state, record.cleared_at = AlarmState.CLEARED, moment
        device = record.event.device
        self._by_event.pop(record.event.id, None)
        self._count_active(device, -1)
        if self._pop_unreachable(record) and device not in self._unreachable:
            self._released[device] = record.event.id, time.monotonic() + self._options.suppression_delay
            self._wake.set()
        self._clear(record.id)
        self._settle(record)

    def _settle(self, record: AlarmRecord) -> None:
        """Find out what is left to do with an alarm: announce it, wait, or forget it once it has ended."""
        if record.announced is state_to_announce(record):
            self._uncovered.discard(record.id)
            if not record.active and record.shelved_until is None:
                self._remove(record)
        elif record.withheld:
            self._uncovered.discard(record.id)
        elif record.id not in self._uncovered:
            self._uncovered.add(record.id)
            self._wake.set()

    def _suppresses_others(self, event: AlarmEvent) -> bool:
        condition = event.body["source"] == UpdateOrigin.CONDITION
        return condition and self._is_unreachable(event.body["backend"], event.alarm_key)

    def _count_active(self, device: str, change: int) -> None:
        self._active[device] += change
        if not self._active[device]:
            del self._active[device]

    def _add(self, record: AlarmRecord) -> None:
        self.records[record.id] = record
        self._by_device[record.event.device].add(record.id)
        if record.shelved_until:
            self._shelved.add(record.id)
        if record.active:
            self._count_active(record.event.device, 1)
            self._by_event[record.event.id] = record.id
            if self._suppresses_others(record.event):
                self._unreachable.setdefault(record.event.device, {})[record.id] = record.event.id

    def _remove(self, record: AlarmRecord, *, stored: bool = False) -> None:
        """Forget an alarm; unless it is `stored` for a later one, its text is deleted."""
        if self.records.pop(record.id, None) is None:
            return
        self._shelved.discard(record.id)
        self._uncovered.discard(record.id)
        if not stored and record.id in self._stored:
            self._outdated.add(record.id)
            self._wake.set()
        if record.active:
            self._count_active(record.event.device, -1)
        self._by_event.pop(record.event.id, None)
        self._by_device[record.event.device].discard(record.id)
        if not self._by_device[record.event.device]:
            del self._by_device[record.event.device]
        self._pop_unreachable(record)

    def _pop_unreachable(self, record: AlarmRecord) -> bool:
        """Forget that an alarm suppresses those of sub-devices; return False if it did not."""
        alarms = self._unreachable.get(record.event.device, {})
        found = alarms.pop(record.id, None) is not None
        if found and not alarms:
            del self._unreachable[record.event.device]
        return found

    # Suppression.

    def _chain(self, id_: str) -> Iterator[Device]:
        """Yield a device, those through which it is connected, and its backend's own device."""
        device = self._registry.devices.get(id_)
        backend = device.backend if device is not None else None
        seen = set[str]()
        while device is not None and device.id not in seen:
            seen.add(device.id)
            yield device
            device = self._registry.devices.get(device.via) if device.via else None
        if backend and backend not in seen and (own := self._registry.devices.get(backend)) is not None:
            yield own

    def _suppressor(self, id_: str, backend: str) -> str | None:
        """Return what suppresses the alarms of a device: `maintenance:<window>`, the id of an alarm, or None."""
        if not (self._windows_now or self._unreachable or self._released):
            return None
        device = self._registry.devices.get(id_)
        if not self._windows_now and device is not None and device.via == device.backend:  # as most are connected
            ancestors = [device.backend]
        else:
            chain = tuple(self._chain(id_))
            window = self._windows_now.find(chain) if chain else self._windows_now.find_unknown(id_, backend)
            if window is not None:
                return f"maintenance:{window.id}"
            ancestors = [above.id for above in chain[1:]] or [backend]
        for ancestor in ancestors:
            if ancestor == id_:
                continue
            if found := self._unreachable.get(ancestor):
                return next(iter(found.values()))
            if ancestor in self._released:
                return self._released[ancestor][0]
        return None

    def _find_suppressor(self, record: AlarmRecord) -> None:
        record.suppressed_by = self._suppressor(record.event.device, record.event.body["backend"])

    def _review(self, ids: Iterable[AlarmId]) -> None:
        """Find again what suppresses alarms; what is no longer withheld is announced by `run`."""
        for id_ in ids:
            record = self.records[id_]
            before = record.suppressed_by
            self._find_suppressor(record)
            if record.suppressed_by != before:
                self._publish(record)
                self._settle(record)
                self._note_change()

    def _review_sub_devices(self, device: str) -> None:
        known = self._registry.devices.get(device)
        if known is not None and known.backend == device:
            ids = [id_ for id_ in self.records if self._backend_of(id_) == device]
        else:
            ids = [id_ for each in self._registry.sub_devices(device) for id_ in self._by_device.get(each, ())]
        self._review(ids)

    def _backend_of(self, id_: AlarmId) -> str:
        device = self._registry.devices.get(id_[0])
        return device.backend if device is not None else ""

    # Publishing.

    def _topic(self, id_: AlarmId) -> str:
        return self._topics.alarm_active(*id_)

    def _publish(self, record: AlarmRecord) -> None:
        if record.active:
            self._publisher.set_retained(self._topic(record.id), dumps(record.body()))
        self._show_active(record.event.device)

    def _clear(self, id_: AlarmId) -> None:
        self._publisher.clear_retained(self._topic(id_))
        self._show_active(id_[0])

    def _set_active(self, device: str) -> None:
        if self._registry.set_values(device, {ALARM_ACTIVE: "ON" if self.has_active(device) else "OFF"}):
            self._publisher.request_state_publish(device)

    def _show_active(self, device: str) -> None:
        self._set_active(device)
        for on_changed in self._subscribers:
            on_changed((device,))

    def _show_maintenance(self, device: Device) -> None:
        if device.entity(MAINTENANCE) is None:
            return
        active = bool(self._windows_now) and self._windows_now.find(tuple(self._chain(device.id))) is not None
        if self._registry.set_values(device.id, {MAINTENANCE: "ON" if active else "OFF"}):
            self._publisher.request_state_publish(device.id)

    # Time.

    async def run(self) -> None:
        """End shelves, windows and suppression in time, and announce what that uncovers, until cancelled."""
        while True:
            self._wake.clear()
            try:
                delay = await self._advance()
            except OutboxError as error:
                _LOG.warning("alarms cannot be changed: %s; trying again in %g s", error, DISK_RETRY_DELAY)
                delay = DISK_RETRY_DELAY
            await wait_for_event(self._wake, delay)

    async def _advance(self) -> float:
        """Do what is due; return the seconds until something is."""
        now, moment = datetime.now(UTC), time.monotonic()
        await self._end_shelves(now)
        await self._windows.drop_over(now)
        self._apply_windows(now)
        for device in [device for device, (_, until) in self._released.items() if until <= moment]:
            del self._released[device]
            self._review_sub_devices(device)
        self._end_flapping(moment)
        await self._announce_uncovered()
        await self._store_outdated()
        due = [(shelf - now).total_seconds() for id_ in self._shelved if (shelf := self.records[id_].shelved_until)]
        due += [(change - now).total_seconds() for change in self._windows.changes(now)]
        due += [until - moment for _, until in self._released.values()]
        due += [DISK_RETRY_DELAY] if self._uncovered or self._outdated else []  # an event of them was being stored
        return min(LONGEST_SLEEP, max(0.0, min(due, default=LONGEST_SLEEP)) + 0.001)

    async def _end_shelves(self, now: datetime) -> None:
        records = [self.records[id_] for id_ in self._shelved]
        for record in [each for each in records if each.shelved_until and each.shelved_until <= now]:
            with suppress(CommandError):  # it was raised again meanwhile: then that one has the shelf
                async with self._exclusive(record):
                    if record.shelved_until and record.shelved_until <= now:
                        await self._unshelve(record, Operator(name=SYSTEM))

    def _on_windows(self) -> None:
        self._apply_windows(datetime.now(UTC))
        self._wake.set()

    def _apply_windows(self, now: datetime) -> None:
        before, self._windows_now = self._windows_now, ActiveWindows(self._windows.active(now))
        changed = before.difference(self._windows_now)
        if not changed:
            return
        devices = self._devices_of(changed)
        self._review(tuple(id_ for device in devices for id_ in self._by_device.get(device, ())))
        for id_ in devices:
            if (device := self._registry.devices.get(id_)) is not None:
                self._show_maintenance(device)

    def _devices_of(self, windows: Iterable[MaintenanceWindow]) -> set[str]:
        """Return the ids of all devices that windows may select."""
        found = set[str]()
        for window in windows:
            if (named := window.selector.device) is None:
                return {*self._registry.devices, *self._by_device}
            found |= {named, *self._registry.sub_devices(named)}
            device = self._registry.devices.get(named)
            if device is not None and device.backend == named:
                found.update(self._registry.of_backend(named))
        return found

    def _end_flapping(self, moment: float) -> None:
        while self._raises:
            id_, raises = next(iter(self._raises.items()))
            if raises[-1] > moment - FLAPPING_WINDOW:
                break
            del self._raises[id_]
            if (record := self.records.get(id_)) is not None and record.flapping:
                record.flapping = False
                self._publish(record)

    async def _announce_uncovered(self) -> None:
        """Announce each alarm that is no longer suppressed and whose state was not announced yet, once."""
        async with self._changing:
            due = [id_ for id_ in self._uncovered if id_ not in self._arriving]
            for start in range(0, len(due), BATCH):
                records = [self.records[id_] for id_ in due[start : start + BATCH] if id_ in self._uncovered]
                await self._commit(
                    [
                        self._prepare(
                            each, EventType.UNSUPPRESSED, Operator(name=SYSTEM), announced=state_to_announce(each)
                        )
                        for each in records
                    ]
                )

    async def _store_outdated(self) -> None:
        """Store the texts that are not as they should be, and delete those of alarms that are no longer known."""
        outdated = {id_ for id_ in self._outdated if id_ not in self._arriving and id_ not in self._in_change}
        if not outdated:
            return
        self._outdated -= outdated
        known = {id_: self.records.get(id_) for id_ in outdated}
        managed = {_key(id_): None if record is None else record.text() for id_, record in known.items()}
        try:
            await self._outbox.change((), managed)
        except OutboxError:
            self._outdated |= outdated
            raise
        for key, text in managed.items():
            (self._stored.discard if text is None else self._stored.add)(_alarm_of(key))

    # Operators.

    async def find(
        self, *, event: str | None = None, device: str | None = None, alarm: str | None = None
    ) -> AlarmRecord:
        """Return an alarm by its event's id, or an active one by device and last segment of its active topic.

        Raises CommandError.
        """
        if event is None:
            topic = self._topics.alarm_active(device or "", alarm or "")
            for id_ in self._by_device.get(device or "", ()):
                if self.records[id_].active and self._topic(id_) == topic:
                    return self.records[id_]
            raise CommandError("unknown_alarm", f"{device} has no active alarm {alarm}")
        if event in self._by_event:
            return self.records[self._by_event[event]]
        stored = await self._outbox.event_of(event)
        if stored is None:
            raise CommandError("unknown_alarm", f"there is no alarm {event}")
        return await self._past_record(stored)

    async def _past_record(self, event: AlarmEvent) -> AlarmRecord:
        """Return the record of an alarm that is not active: it has ended, or its vendor reports no end."""
        record = self.records.get(alarm_id(event))
        if record is not None and (record.event.id == event.id or (event.cleared and not record.active)):
            return record
        changes = await self._outbox.changes_of(event)
        record = AlarmRecord(event=event, state=AlarmState.CLEARED if event.active else None, stateless=True)
        for change in changes:
            if change.body["type"] in {EventType.ACKNOWLEDGED, EventType.UNACKNOWLEDGED}:
                record.acknowledged = change.body["acknowledged"]
                record.acknowledged_by = change.body["acknowledged_by"]
                record.acknowledged_at = change.body["acknowledged_at"]
            if change.cleared:
                record.cleared_at = change.body["raised_at"]
        return record

    async def acknowledge(self, record: AlarmRecord, operator: Operator) -> AlarmEvent | None:
        """Acknowledge an alarm; return the event, None if it was acknowledged before. Raises CommandError."""
        async with self._exclusive(record) as current:
            if current.acknowledged:
                return None
            return await self._change(
                current, EventType.ACKNOWLEDGED, operator,
                acknowledged=True, acknowledged_by=operator.name, acknowledged_at=stamp(),
            )  # fmt: skip

    async def unacknowledge(self, record: AlarmRecord, operator: Operator) -> AlarmEvent | None:
        """Take an acknowledgement back; return the event, None if there was none. Raises CommandError."""
        async with self._exclusive(record) as current:
            if not current.acknowledged:
                return None
            return await self._change(
                current, EventType.UNACKNOWLEDGED, operator,
                acknowledged=False, acknowledged_by=None, acknowledged_at=None,
            )  # fmt: skip

    async def shelve(self, record: AlarmRecord, until: datetime, operator: Operator) -> AlarmEvent | None:
        """Withhold the events of an alarm until a time; return the event. Raises CommandError."""
        now = datetime.now(UTC)
        if until <= now:
            raise CommandError("invalid_arguments", f"until is past: {until.isoformat()}")
        if (until - now).total_seconds() > self._options.max_shelve:
            hours = self._options.max_shelve / 3600
            raise CommandError("invalid_arguments", f"until is more than {hours:g} h ahead (alarms.max_shelve)")
        async with self._exclusive(record) as current:
            if not current.active:
                raise CommandError("not_active", f"{current.event.id} is not active: there is nothing to shelve")
            if current.shelved_until == until:
                return None
            event = await self._change(
                current, EventType.SHELVED, operator, until=until, shelved_until=until, shelved_by=operator.name
            )
        self._wake.set()
        return event

    async def unshelve(self, record: AlarmRecord, operator: Operator) -> AlarmEvent | None:
        """End a shelf; return the event, None if there was none. Raises CommandError."""
        async with self._exclusive(record) as current:
            return await self._unshelve(current, operator) if current.shelved_until else None

    async def close(self, record: AlarmRecord, operator: Operator) -> AlarmEvent | None:
        """End an alarm that its vendor does not clear. Raises CommandError for one whose condition still holds."""
        async with self._exclusive(record) as current:
            if not current.active:
                raise CommandError("not_active", f"{current.event.id} is not active: there is nothing to close")
            known = current.event.device in self._registry.devices
            if current.event.body["source"] == UpdateOrigin.CONDITION and known:
                raise CommandError(
                    "still_active",
                    f"the condition {current.event.alarm_key} still holds; acknowledge or shelve the alarm",
                )
            return await self._change(current, EventType.CLOSED, operator, ended=True)

    @asynccontextmanager
    async def _exclusive(self, record: AlarmRecord) -> AsyncIterator[AlarmRecord]:
        """Provide an alarm as it is, to change it: no other change, and no event of it, is being stored meanwhile.

        Raises CommandError if it has ended, or was raised again, since it was found.
        """
        async with self._changing:
            while record.id in self._arriving:
                self._arrived.clear()
                await self._arrived.wait()
            if record.stateless:
                yield await self._past_record(record.event)
            elif self.records.get(record.id) is record:
                yield record
            else:
                raise CommandError("not_active", f"{record.event.id} has ended, or was raised again, just now")

    async def _unshelve(self, record: AlarmRecord, operator: Operator) -> AlarmEvent:
        return await self._change(record, EventType.UNSHELVED, operator, shelved_until=None, shelved_by=None)

    async def _change(
        self,
        record: AlarmRecord,
        type_: EventType,
        operator: Operator,
        *,
        until: datetime | None = None,
        ended: bool = False,
        **members: Any,
    ) -> AlarmEvent:
        """Store an event about an alarm together with the alarm's new state; then show it."""
        [event] = await self._commit([self._prepare(record, type_, operator, until=until, ended=ended, **members)])
        return event

    def _prepare(
        self,
        record: AlarmRecord,
        type_: EventType,
        operator: Operator,
        *,
        until: datetime | None = None,
        ended: bool = False,
        **members: Any,
    ) -> _Change:
        changed = replace(record, **members)
        # The event that shelves is announced, and the one that ends a shelf or suppression; others are withheld.
        suppressed = record.withheld and changed.withheld
        if ended:
            changed.state, changed.cleared_at = AlarmState.CLEARED, stamp()
        if not suppressed:
            changed.announced = state_to_announce(changed)
        draft = self._draft(changed, type_, operator, until=until, suppressed=suppressed, ended=ended)
        return _Change(record=record, changed=changed, members=tuple(members), draft=draft)

    async def _commit(self, changes: Sequence[_Change]) -> tuple[AlarmEvent, ...]:
        """Store changes and the events about them together; then show them."""
        managed = {_key(each.record.id): each.changed.text() for each in changes if not each.record.stateless}
        self._in_change = {each.record.id: each.changed for each in changes if not each.record.stateless}
        try:
            events = await self._outbox.change([each.draft for each in changes], managed)
        finally:
            self._in_change = {}
        self._note_stored(managed)
        for each in changes:
            if self.records.get(each.record.id) is each.record:
                self._apply(each.record, each.changed, each.members)
            elif each.record.id in self._stored:  # its device was removed meanwhile
                self._outdated.add(each.record.id)
                self._wake.set()
        self._note_change()
        self._on_events()
        return events

    def _apply(self, record: AlarmRecord, changed: AlarmRecord, members: Iterable[str]) -> None:
        """Apply a change that is stored."""
        for name in (*members, "announced"):
            setattr(record, name, getattr(changed, name))
        if record.shelved_until:
            self._shelved.add(record.id)
        else:
            self._shelved.discard(record.id)
        if not changed.active and record.active:
            self._end(record, changed.cleared_at or stamp())
            self._note_end(record.id, _raised(record.event), record.event.id)
        else:
            self._publish(record)
            self._settle(record)

    def _draft(  # noqa: PLR0913 - the members of an event
        self,
        record: AlarmRecord,
        type_: EventType,
        operator: Operator,
        *,
        until: datetime | None,
        suppressed: bool,
        ended: bool,
    ) -> EventDraft:
        members = record.members() | {
            "type": type_.value,
            "operator": operator.name,
            "text": operator.text,
            "at": stamp(),
            "until": stamp(until) if until else None,
        }
        return change_draft(record.event, members, nonce=secrets.token_hex(8), suppressed=suppressed, cleared=ended)

    # What is shown.

    async def show(self, events: Sequence[AlarmEvent]) -> list[dict[str, Any]]:
        """Return events as requests show them: with the present state of their alarms."""
        past = [event.id for event in events if not self._is_current(event)]
        acknowledged = await self._outbox.acknowledgements(past) if past else {}
        return [event.body | self._members(event, acknowledged.get(event.id)) for event in events]

    def _is_current(self, event: AlarmEvent) -> bool:
        record = self.records.get(alarm_id(event))
        return record is not None and record.event.id == event.id

    def _members(self, event: AlarmEvent, acknowledged: AlarmEvent | None) -> dict[str, Any]:
        if self._is_current(event):
            return self.records[alarm_id(event)].members()
        members = AlarmRecord(event=event, state=AlarmState.CLEARED if event.active else None).members()
        members["suppressed_by"] = event.body.get("suppressed_by")
        if acknowledged is not None:
            members |= {name: acknowledged.body[name] for name in _ACKNOWLEDGEMENT}
        return members

    def groups_of(self, device: str) -> frozenset[str]:
        """Return the groups of a device and of those through which it is connected."""
        groups = [group for each in self._chain(device) for pair in (each.groups or {}).items() for group in pair]
        return frozenset(groups)

    def _note_change(self) -> None:
        self._counts = None
        self.changed.set()

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of active alarms by severity: active, unacknowledged, shelved, suppressed."""
        if self._counts is None:
            self._counts = self._count(self.records.values())
        return self._counts

    def _count(self, records: Iterable[AlarmRecord]) -> dict[str, dict[str, int]]:
        active, unacknowledged, shelved, suppressed = (dict.fromkeys(SEVERITIES, 0) for _ in range(4))
        for record in records:
            if record.state is not AlarmState.ACTIVE:
                continue
            severity = record.event.body["severity"]
            active[severity] += 1
            if not record.acknowledged:
                unacknowledged[severity] += 1
            if record.shelved_until is not None:
                shelved[severity] += 1
            if record.suppressed_by is not None:
                suppressed[severity] += 1
        return {"active": active, "unacknowledged": unacknowledged, "shelved": shelved, "suppressed": suppressed}

    def counts_by_backend(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return the same numbers for each backend that has devices."""
        backends = {device.backend for device in self._registry.devices.values()} - {""}
        listed: dict[str, list[AlarmRecord]] = {backend: [] for backend in backends}
        for record in self.records.values():
            listed.setdefault(record.event.body["backend"], []).append(record)
        return {backend: self._count(records) for backend, records in listed.items()}

    def counts_of(self, devices: AbstractSet[str]) -> dict[str, dict[str, int]]:
        """Return the same numbers for devices and those that are connected through them."""
        if len(self._by_device) < len(devices):  # few alarms: look at the devices that have them
            found = {device for device in self._by_device if self._connected_through(device) & devices}
        else:
            found = {sub for device in devices for sub in (device, *self._registry.sub_devices(device))}
        return self._count(self.records[id_] for device in found for id_ in self._by_device.get(device, ()))

    def _connected_through(self, id_: str) -> set[str]:
        """Return a device and those through which it is connected."""
        chain = {id_}
        device = self._registry.devices.get(id_)
        while device is not None and device.via and device.via not in chain:
            chain.add(device.via)
            device = self._registry.devices.get(device.via)
        return chain

    def of_device(self, device: str) -> list[AlarmRecord]:
        """Return the active alarms of a device, oldest first."""
        found = [self.records[id_] for id_ in self._by_device.get(device, ())]
        return sorted((each for each in found if each.active), key=by_seq)

    def active_or_arriving(self, device: str) -> list[ActiveAlarm]:
        """Return the active alarms of a device, and those that are being stored, for rules."""
        found = [
            ActiveAlarm(
                id=record.event.id,
                key=record.event.alarm_key,
                line=record.event.body["line"],
                raised_at=_raised(record.event),
            )
            for id_ in self._by_device.get(device, ())
            if (record := self.records[id_]).active
        ]
        found += [
            ActiveAlarm(id=alarm.id, key=alarm.alarm_key, line=alarm.line, raised_at=alarm.raised_at)
            for alarm in self._raising.get(device, {}).values()
        ]
        return found

    def active(self) -> list[AlarmRecord]:
        """Return all active alarms, oldest first."""
        active = AlarmState.ACTIVE
        return sorted([each for each in self.records.values() if each.state is active], key=by_seq)


by_seq = attrgetter("event.seq")
"""Sort key of records, by when their alarms were raised."""
_ACKNOWLEDGEMENT = ("acknowledged", "acknowledged_by", "acknowledged_at")


def _key(id_: AlarmId) -> str:
    return KEY + "/".join(id_)


def _alarm_of(key: str) -> AlarmId:
    device, _, alarm = key.removeprefix(KEY).partition("/")
    return device, alarm


def _id_of(alarm: Alarm) -> AlarmId:
    """Return what `alarm_id` returns for the event of an alarm."""
    return storable(alarm.device), storable(alarm.alarm_key or alarm.id)


def _raised(event: AlarmEvent) -> datetime:
    return datetime.fromisoformat(event.body["raised_at"])


def _is_older(event: AlarmEvent, other: AlarmEvent) -> bool:
    """Return True if an event is older than another one of its alarm, by the vendor's clock."""
    return event.id != other.id and _raised(event) < _raised(other) and not _is_of_condition(event)


def _is_of_condition(event: AlarmEvent) -> bool:
    """Return True for the raise of a condition: these come in their order, whatever the clock says that is set."""
    return not event.cleared and event.body["source"] == UpdateOrigin.CONDITION


def _is_outdated(alarm: Alarm, record: AlarmRecord) -> bool:
    """Return True for an alarm that changes nothing at its record: the same raise again, or an older event."""
    if storable(alarm.id) == record.event.id:
        return not alarm.cleared
    return alarm.source is not UpdateOrigin.CONDITION and alarm.raised_at < _raised(record.event)
