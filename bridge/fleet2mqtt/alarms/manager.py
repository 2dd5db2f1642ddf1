"""The alarm manager: active alarms, what operators did to them, maintenance windows, and what suppresses what."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.alarms.maintenance import MaintenanceWindow, MaintenanceWindows
from fleet2mqtt.alarms.records import (
    FLAPPING_RAISES,
    FLAPPING_WINDOW,
    AlarmId,
    AlarmRecord,
    AlarmState,
    EventType,
    alarm_id,
    restore_ended,
)
from fleet2mqtt.contract.payloads import dumps, stamp
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import ALARM_ACTIVE, MAINTENANCE
from fleet2mqtt.devices.model import Alarm, Device, Severity, UpdateOrigin
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import CommandError, OutboxError
from fleet2mqtt.outbox import AlarmEvent, Outbox
from fleet2mqtt.outbox.models import EventDraft, change_draft
from fleet2mqtt.publishing.publisher import Publisher

_LOG = logging.getLogger(__name__)

KEY = "alarm/"
"""First part of the keys under which the outbox stores what is known of alarms."""
DISK_RETRY_DELAY = 5.0
LONGEST_SLEEP = 60.0
SYSTEM = "fleet2mqtt"
"""Operator of changes that the bridge makes itself."""
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


class AlarmManager:
    """Knows every active alarm, decides where its events are published, and changes it for operators.

    `is_unreachable` says whether an alarm means that nothing is known of the sub-devices of its device. `on_events` is
    called when new events are in the outbox.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what alarms are stored in and shown by
        self,
        outbox: Outbox,
        registry: Registry,
        publisher: Publisher,
        topics: Topics,
        windows: MaintenanceWindows,
        options: AlarmOptions,
        is_unreachable: Callable[[AlarmEvent], bool],
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
        self._active_windows: tuple[MaintenanceWindow, ...] = ()
        self._by_device: defaultdict[str, set[AlarmId]] = defaultdict(set)
        self._by_event: dict[str, AlarmId] = {}
        """Active alarms by the id of their raise event."""
        self._unreachable: dict[str, dict[AlarmId, str]] = {}
        """Active alarms that suppress those of sub-devices, by device: their event ids."""
        self._released: dict[str, tuple[str, float]] = {}
        """Devices whose own alarm has just ended: its event id, and when suppression by it ends."""
        self._changing = asyncio.Lock()
        """One change of an alarm after another: each is stored as a whole."""
        self._wake = asyncio.Event()
        self.changed = asyncio.Event()
        """Set when the summary may have changed."""
        self._subscribers: list[Callable[[Iterable[str]], None]] = []
        windows.subscribe(self._on_windows)

    def subscribe(self, on_changed: Callable[[Iterable[str]], None]) -> None:
        """Call `on_changed` with the ids of devices that got or lost an active alarm."""
        self._subscribers.append(on_changed)

    def has_active(self, device: str) -> bool:
        """Return True if an alarm of a device is active."""
        return any(self.records[id_].active for id_ in self._by_device.get(device, ()))

    # What the outbox stored.

    async def restore(self) -> None:
        """Start from what the outbox stores: active alarms, their management, and maintenance windows."""
        stored = await self._outbox.managed()
        self._windows.restore(stored)
        self._active_windows = self._windows.active(datetime.now(UTC))
        for event in await self._outbox.active_alarms():
            record = AlarmRecord(event=event, announced=_announced(event))
            text = stored.pop(_key(record.id), None)
            if text is not None:
                record.load(text)
            self._add(record)
        outdated = dict[str, str | None]()
        for key, text in stored.items():
            if not key.startswith(KEY):
                continue
            if (ended := restore_ended(text)) is None:
                outdated[key] = None
            else:
                self._add(ended)
        if outdated:
            await self._outbox.change((), outdated)
        for record in self.records.values():
            self._find_suppressor(record)
            self._publish(record)
        for device in self._registry.devices.values():
            self._show_maintenance(device)
        self.changed.set()
        self._wake.set()

    # Events on their way in.

    def classify(self, alarms: Iterable[Alarm]) -> tuple[list[Alarm], dict[str, str | None]]:
        """Return alarms, marked if their events are withheld, and the texts to store with them.

        Withheld is what is shelved, in maintenance, or behind a device that cannot be reached.
        """
        classified, managed = [], dict[str, str | None]()
        for alarm in alarms:
            record = self.records.get((alarm.device, alarm.alarm_key or alarm.id)) if alarm.active else None
            suppressor = self._suppressor(alarm.device)
            shelved = record is not None and record.shelved_until is not None
            withheld = shelved or suppressor is not None
            classified.append(replace(alarm, suppressed=True, suppressed_by=suppressor) if withheld else alarm)
            if alarm.cleared and record is not None and record.active:
                ended = replace(record, state=AlarmState.CLEARED, cleared_at=alarm.raised_at.isoformat())
                if withheld:
                    managed[_key(record.id)] = ended.dump()
                elif not record.is_plain:
                    managed[_key(record.id)] = None
        return classified, managed

    def on_event(self, event: AlarmEvent) -> None:
        """Record a stored event of a active alarm and publish the alarm's state."""
        if not event.active:
            return
        id_ = alarm_id(event)
        record = self.records.get(id_)
        if event.cleared:
            if record is not None and record.active and not _is_older(event, record.event):
                self._end(record, event.body["raised_at"])
        elif record is None or not record.active or not _is_older(event, record.event):
            self._raise(id_, event, record)
        self.changed.set()

    def on_completed(self, event: AlarmEvent) -> None:
        """Publish facts that a stored event was completed by, where its alarm is retained."""
        record = self.records.get(alarm_id(event))
        if record is not None and record.active and record.event.id == event.id:
            record.event = event
            self._publish(record)

    def on_ended(self, events: Iterable[AlarmEvent]) -> None:
        """Remove the alarms of devices that are gone."""
        for event in events:
            if (record := self.records.get(alarm_id(event))) is not None:
                self._remove(record)
            self._clear(alarm_id(event))
            self.changed.set()

    def on_devices(self, ids: Iterable[str]) -> None:
        """Show at new devices whether they are in maintenance."""
        if self._active_windows:
            for id_ in ids:
                if (device := self._registry.devices.get(id_)) is not None:
                    self._show_maintenance(device)

    def _raise(self, id_: AlarmId, event: AlarmEvent, former: AlarmRecord | None) -> None:
        record = AlarmRecord(event=event, announced=_announced(event))
        if former is not None:
            record.shelved_until, record.shelved_by = former.shelved_until, former.shelved_by
            record.raised = former.raised
            self._remove(former)
        self._add(record)
        moment = time.monotonic()
        record.raised.append(moment)
        record.flapping = len(record.raised) == FLAPPING_RAISES and record.raised[0] > moment - FLAPPING_WINDOW
        self._find_suppressor(record)
        self._publish(record)
        if id_ in self._unreachable.get(event.device, ()):
            self._released.pop(event.device, None)
            self._review_sub_devices(event.device)
        if record.flapping:
            self._wake.set()

    def _end(self, record: AlarmRecord, moment: str) -> None:
        """Record that an alarm has ended; one that is withheld, or flaps, is still known until that is over."""
        record.state, record.cleared_at = AlarmState.CLEARED, moment
        device = record.event.device
        self._by_event.pop(record.event.id, None)
        if self._pop_unreachable(record) and device not in self._unreachable:
            self._released[device] = record.event.id, time.monotonic() + self._options.suppression_delay
            self._wake.set()
        self._clear(record.id)
        if not record.withheld and len(record.raised) < 2:
            self._remove(record)

    def _add(self, record: AlarmRecord) -> None:
        self.records[record.id] = record
        self._by_device[record.event.device].add(record.id)
        if record.active:
            self._by_event[record.event.id] = record.id
            if self._is_unreachable(record.event):
                self._unreachable.setdefault(record.event.device, {})[record.id] = record.event.id

    def _remove(self, record: AlarmRecord) -> None:
        self.records.pop(record.id, None)
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

    def _suppressor(self, id_: str) -> str | None:
        """Return what suppresses the alarms of a device: `maintenance:<window>`, the id of an alarm, or None."""
        if not (self._active_windows or self._unreachable or self._released):
            return None
        chain = tuple(self._chain(id_))
        for window in self._active_windows:
            if window.selector.matches(chain):
                return f"maintenance:{window.id}"
        for ancestor in chain[1:]:
            if found := self._unreachable.get(ancestor.id):
                return next(iter(found.values()))
            if ancestor.id in self._released:
                return self._released[ancestor.id][0]
        return None

    def _find_suppressor(self, record: AlarmRecord) -> None:
        record.suppressed_by = self._suppressor(record.event.device)

    def _review(self, ids: Iterable[AlarmId]) -> None:
        """Find again what suppresses alarms; what is no longer withheld is announced by `run`."""
        for id_ in ids:
            record = self.records[id_]
            before = record.suppressed_by
            self._find_suppressor(record)
            if record.suppressed_by != before:
                self._publish(record)
                self.changed.set()
                self._wake.set()

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

    def _show_active(self, device: str) -> None:
        if self._registry.set_values(device, {ALARM_ACTIVE: "ON" if self.has_active(device) else "OFF"}):
            self._publisher.request_state_publish(device)
        for on_changed in self._subscribers:
            on_changed((device,))

    def _show_maintenance(self, device: Device) -> None:
        if device.entity(MAINTENANCE) is None:
            return
        active = any(window.selector.matches(tuple(self._chain(device.id))) for window in self._active_windows)
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
        ended = [device for device, (_, until) in self._released.items() if until <= moment]
        for device in ended:
            del self._released[device]
            self._review_sub_devices(device)
        self._end_flapping(moment)
        await self._announce_uncovered()
        due = [(shelf - now).total_seconds() for record in self.records.values() if (shelf := record.shelved_until)]
        due += [(change - now).total_seconds() for each in self._windows if (change := each.next_change(now))]
        due += [until - moment for _, until in self._released.values()]
        due += [each.raised[-1] + FLAPPING_WINDOW - moment for each in self.records.values() if each.raised]
        return min(LONGEST_SLEEP, max(0.0, min(due, default=LONGEST_SLEEP)) + 0.001)

    async def _end_shelves(self, now: datetime) -> None:
        for record in [each for each in self.records.values() if each.shelved_until and each.shelved_until <= now]:
            await self._unshelve(record, Operator(name=SYSTEM))

    def _on_windows(self) -> None:
        self._apply_windows(datetime.now(UTC))
        self._wake.set()

    def _apply_windows(self, now: datetime) -> None:
        before = self._active_windows
        self._active_windows = self._windows.active(now)
        if before != self._active_windows:
            self._review(tuple(self.records))
            for device in self._registry.devices.values():
                self._show_maintenance(device)

    def _end_flapping(self, moment: float) -> None:
        for record in list(self.records.values()):
            if not record.raised or record.raised[-1] > moment - FLAPPING_WINDOW:
                continue
            record.raised.clear()
            if not record.active and not record.withheld:
                self._remove(record)
            elif record.flapping:
                record.flapping = False
                self._publish(record)

    async def _announce_uncovered(self) -> None:
        """Announce each alarm that is no longer suppressed and whose state was not announced yet, once."""
        uncovered = [
            record
            for record in self.records.values()
            if not record.withheld and record.announced is not _to_announce(record)
        ]
        for record in uncovered:
            await self._change(record, EventType.UNSUPPRESSED, Operator(name=SYSTEM), announced=_to_announce(record))
        self._drop_ended()

    def _drop_ended(self) -> None:
        for record in [each for each in self.records.values() if not (each.active or each.withheld or each.raised)]:
            self._remove(record)

    # Operators.

    async def find(
        self, *, event: str | None = None, device: str | None = None, alarm: str | None = None
    ) -> AlarmRecord:
        """Return an alarm by its event's id, or a active one by device and last segment of its active topic.

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
        if event.cleared and (record := self.records.get(alarm_id(event))) is not None and not record.active:
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
        """Acknowledge an alarm; return the event, None if it was acknowledged before."""
        if record.acknowledged:
            return None
        return await self._change(
            record, EventType.ACKNOWLEDGED, operator,
            acknowledged=True, acknowledged_by=operator.name, acknowledged_at=stamp(),
        )  # fmt: skip

    async def unacknowledge(self, record: AlarmRecord, operator: Operator) -> AlarmEvent | None:
        """Take an acknowledgement back; return the event, None if there was none."""
        if not record.acknowledged:
            return None
        return await self._change(
            record, EventType.UNACKNOWLEDGED, operator, acknowledged=False, acknowledged_by=None, acknowledged_at=None
        )

    async def shelve(self, record: AlarmRecord, until: datetime, operator: Operator) -> AlarmEvent | None:
        """Withhold the events of an alarm until a time; return the event. Raises CommandError."""
        now = datetime.now(UTC)
        if until <= now:
            raise CommandError("invalid_arguments", f"until is past: {until.isoformat()}")
        if (until - now).total_seconds() > self._options.max_shelve:
            hours = self._options.max_shelve / 3600
            raise CommandError("invalid_arguments", f"until is more than {hours:g} h ahead (alarms.max_shelve)")
        if record.stateless:
            raise CommandError("not_active", f"{record.event.id} is not active: there is nothing to shelve")
        if record.shelved_until == until:
            return None
        event = await self._change(
            record, EventType.SHELVED, operator, until=until, shelved_until=until, shelved_by=operator.name
        )
        self._wake.set()
        return event

    async def unshelve(self, record: AlarmRecord, operator: Operator) -> AlarmEvent | None:
        """End a shelf; return the event, None if there was none."""
        return await self._unshelve(record, operator) if record.shelved_until else None

    async def close(self, record: AlarmRecord, operator: Operator) -> AlarmEvent | None:
        """End an alarm that its vendor does not clear. Raises CommandError for one whose condition still holds."""
        if record.stateless:
            raise CommandError("not_active", f"{record.event.id} is not active: there is nothing to close")
        if record.event.body["source"] == UpdateOrigin.CONDITION:
            raise CommandError(
                "still_active", f"the condition {record.event.alarm_key} still holds; acknowledge or shelve the alarm"
            )
        return await self._change(record, EventType.CLOSED, operator, ended=True)

    async def _unshelve(self, record: AlarmRecord, operator: Operator) -> AlarmEvent | None:
        event = await self._change(record, EventType.UNSHELVED, operator, shelved_until=None, shelved_by=None)
        self._drop_ended()
        return event

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
        async with self._changing:
            event = await self._store_change(record, type_, operator, until=until, ended=ended, members=members)
        self.changed.set()
        self._on_events()
        return event

    async def _store_change(  # noqa: PLR0913 - the members of a change
        self,
        record: AlarmRecord,
        type_: EventType,
        operator: Operator,
        *,
        until: datetime | None,
        ended: bool,
        members: Mapping[str, Any],
    ) -> AlarmEvent:
        changed = replace(record, **members)
        # The event that shelves is announced, and the one that ends a shelf or suppression; others are withheld.
        suppressed = record.withheld and changed.withheld
        if not suppressed:
            changed.announced = _to_announce(changed)
        if ended:
            changed.state, changed.cleared_at = AlarmState.CLEARED, stamp()
        draft = self._draft(changed, type_, operator, until=until, suppressed=suppressed, ended=ended)
        dropped = changed.is_plain or (ended and not changed.withheld)
        managed = {} if record.stateless else {_key(record.id): None if dropped else changed.dump()}
        [event] = await self._outbox.change((draft,), managed)
        current = self.records.get(record.id)
        if current is record:  # else it was raised again, or cleared, meanwhile
            for name in (*members, "announced"):
                setattr(record, name, getattr(changed, name))
            if ended:
                self._end(record, changed.cleared_at or stamp())
            else:
                self._publish(record)
        return event

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

    def counts(self, records: Iterable[AlarmRecord] | None = None) -> dict[str, dict[str, int]]:
        """Return the number of active alarms by severity: active, unacknowledged, shelved, suppressed."""
        found = {name: dict.fromkeys(SEVERITIES, 0) for name in ("active", "unacknowledged", "shelved", "suppressed")}
        for record in self.records.values() if records is None else records:
            if not record.active:
                continue
            severity = record.event.severity.value
            found["active"][severity] += 1
            found["unacknowledged"][severity] += not record.acknowledged
            found["shelved"][severity] += record.shelved_until is not None
            found["suppressed"][severity] += record.suppressed_by is not None
        return found

    def counts_by_backend(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return the same numbers for each backend that has devices."""
        backends = {device.backend for device in self._registry.devices.values()} - {""}
        listed: dict[str, list[AlarmRecord]] = {backend: [] for backend in backends}
        for record in self.records.values():
            listed.setdefault(record.event.body["backend"], []).append(record)
        return {backend: self.counts(records) for backend, records in listed.items()}

    def counts_of(self, devices: Iterable[str]) -> dict[str, dict[str, int]]:
        """Return the same numbers for devices and those that are connected through them."""
        found = {sub for device in devices for sub in (device, *self._registry.sub_devices(device))}
        return self.counts(self.records[id_] for device in found for id_ in self._by_device.get(device, ()))

    def of_device(self, device: str) -> list[AlarmRecord]:
        """Return the active alarms of a device, oldest first."""
        found = [self.records[id_] for id_ in self._by_device.get(device, ())]
        return sorted((each for each in found if each.active), key=lambda each: each.event.seq)

    def active(self) -> list[AlarmRecord]:
        """Return all active alarms, oldest first."""
        return sorted((each for each in self.records.values() if each.active), key=lambda each: each.event.seq)


_ACKNOWLEDGEMENT = ("acknowledged", "acknowledged_by", "acknowledged_at")


def _key(id_: AlarmId) -> str:
    return KEY + "/".join(id_)


def _announced(event: AlarmEvent) -> AlarmState | None:
    return None if event.body.get("suppressed") else AlarmState.ACTIVE


def _to_announce(record: AlarmRecord) -> AlarmState | None:
    """Return the state that `alarm/event` should have shown last: none for an alarm that came and went withheld."""
    if record.active:
        return AlarmState.ACTIVE
    return AlarmState.CLEARED if record.announced is not None else None


def _is_older(event: AlarmEvent, other: AlarmEvent) -> bool:
    """Return True if an event is older than another one of its alarm, by the vendor's clock."""
    if event.id == other.id:
        return False
    return datetime.fromisoformat(event.body["raised_at"]) < datetime.fromisoformat(other.body["raised_at"])
