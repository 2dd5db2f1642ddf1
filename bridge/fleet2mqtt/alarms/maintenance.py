"""Maintenance windows: devices, groups or backends whose alarms are suppressed for a time, once or recurring."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from dateutil.rrule import rrulestr

from fleet2mqtt.aio import run_to_end
from fleet2mqtt.devices.model import Device
from fleet2mqtt.devices.selection import Rule
from fleet2mqtt.errors import CommandError
from fleet2mqtt.outbox import Outbox

KEY = "maintenance/"
"""First part of the keys under which the outbox stores windows."""

ATTRIBUTES = ("id", "name", "model", "group", "tag", "location", "kind")
MAX_WINDOWS = 1_000
_TOO_FREQUENT = ("SECONDLY", "MINUTELY")
_UNTIL = re.compile(r"UNTIL=(\d{8}T\d{6})Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Devices that a maintenance window is about, and with them their sub-devices.

    `backend` and `device` are ids, `rule` has the patterns of the options `include` and `exclude`. What is given must
    all match.
    """

    backend: str | None = None
    device: str | None = None
    rule: Rule | None = None

    def matches(self, devices: Iterable[Device]) -> bool:
        """Return True if a device matches, or one through which it is connected; `devices` has it first."""
        return any(self._matches(device) for device in devices)

    def _matches(self, device: Device) -> bool:
        if self.backend is not None and device.backend != self.backend:
            return False
        if self.device is not None and device.id != self.device:
            return False
        if self.rule is None:
            return True
        rule = self.rule if self.rule.kind is not None else replace(self.rule, kind=device.kind)
        return rule.matches(device)

    def json(self) -> dict[str, str]:
        """Return the selector as requests and responses contain it."""
        given = {"backend": self.backend, "device": self.device}
        if self.rule is not None:
            given |= asdict(self.rule)
        return {key: value for key, value in given.items() if value is not None}


def selector(given: Mapping[str, str]) -> Selector:
    """Return the selector that a request names. Raises ValueError for an unknown or a missing member."""
    unknown = sorted(given.keys() - {"backend", "device", *ATTRIBUTES})
    if unknown or not given:
        allowed = ", ".join(("backend", "device", *ATTRIBUTES))
        raise ValueError(f"{unknown[0]} is no member of a selector" if unknown else f"expected one of {allowed}")
    attributes = {key: given[key] for key in ATTRIBUTES if key in given}
    return Selector(
        backend=given.get("backend"), device=given.get("device"), rule=Rule(**attributes) if attributes else None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceWindow:
    """One window, or a recurring one: then `start` and `end` are its first occurrence.

    `end` None is a window that lasts until it is removed. `recurrence` is an RFC 5545 RRULE; with `time_zone` the
    occurrences keep their local time when clocks change.
    """

    id: str
    selector: Selector
    start: datetime
    end: datetime | None = None
    recurrence: str | None = None
    time_zone: str | None = None
    operator: str | None = None
    text: str | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def is_active(self, now: datetime) -> bool:
        """Return True within the window."""
        start = self._last_start(now)
        return start is not None and (self.end is None or now < start + (self.end - self.start))

    def next_change(self, now: datetime) -> datetime | None:
        """Return when the window begins or ends next, None if it does neither any more."""
        start = self._last_start(now)
        if start is not None and self.end is not None and now < (ended := start + (self.end - self.start)):
            return ended
        return self._next_start(now)

    def is_over(self, now: datetime) -> bool:
        """Return True if the window will not be active any more."""
        return not self.is_active(now) and self._next_start(now) is None

    def _last_start(self, now: datetime) -> datetime | None:
        if self.recurrence is None:
            return self.start if self.start <= now else None
        found = self._occurrences().before(self._local(now), inc=True)
        return None if found is None else found.replace(tzinfo=self._zone).astimezone(UTC)

    def _next_start(self, now: datetime) -> datetime | None:
        if self.recurrence is None:
            return self.start if self.start > now else None
        found = self._occurrences().after(self._local(now))
        return None if found is None else found.replace(tzinfo=self._zone).astimezone(UTC)

    @property
    def _zone(self) -> Any:
        return ZoneInfo(self.time_zone) if self.time_zone else self.start.tzinfo

    def _local(self, moment: datetime) -> datetime:
        """Return the wall clock time of a moment, in which a rule counts."""
        return moment.astimezone(self._zone).replace(tzinfo=None)

    def _occurrences(self) -> Any:
        return rrulestr(_UNTIL.sub(self._local_until, self.recurrence or ""), dtstart=self._local(self.start))

    def _local_until(self, found: re.Match[str]) -> str:
        """Return an UNTIL, which is in UTC beside a DTSTART with a zone (RFC 5545 3.3.10), in local time."""
        moment = datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        return f"UNTIL={self._local(moment):%Y%m%dT%H%M%S}"

    def json(self) -> dict[str, Any]:
        """Return the window as responses contain it and as it is stored."""
        return {
            "id": self.id,
            "selector": self.selector.json(),
            "start": self.start.isoformat(),
            "end": self.end.isoformat() if self.end else None,
            "recurrence": self.recurrence,
            "time_zone": self.time_zone,
            "operator": self.operator,
            "text": self.text,
            "created_at": self.created_at.isoformat(),
        }


def restore(stored: Mapping[str, Any]) -> MaintenanceWindow:
    """Return the window that `MaintenanceWindow.json` gave."""
    return MaintenanceWindow(
        id=stored["id"],
        selector=selector(stored["selector"]),
        start=datetime.fromisoformat(stored["start"]),
        end=datetime.fromisoformat(stored["end"]) if stored["end"] else None,
        recurrence=stored["recurrence"],
        time_zone=stored["time_zone"],
        operator=stored["operator"],
        text=stored["text"],
        created_at=datetime.fromisoformat(stored["created_at"]),
    )


def new_window(  # noqa: PLR0913 - the members of a window
    *,
    selector: Selector,
    start: datetime,
    end: datetime | None,
    recurrence: str | None = None,
    time_zone: str | None = None,
    operator: str | None = None,
    text: str | None = None,
) -> MaintenanceWindow:
    """Return a new window. Raises ValueError when times and recurrence contradict each other."""
    if end is not None and end <= start:
        raise ValueError("end must be after start")
    if recurrence is not None:
        if end is None:
            raise ValueError("a recurring window needs an end, that of its first occurrence")
        recurrence = recurrence.strip().removeprefix("RRULE:")
        _validate_recurrence(recurrence)
    window = MaintenanceWindow(
        id=secrets.token_hex(8),
        selector=selector,
        start=start,
        end=end,
        recurrence=recurrence,
        time_zone=time_zone,
        operator=operator,
        text=text,
    )
    if window.is_over(datetime.now(UTC)):
        raise ValueError("the window is over already")
    return window


def _validate_recurrence(recurrence: str) -> None:
    if "\n" in recurrence or "DTSTART" in recurrence.upper() or not recurrence.upper().startswith("FREQ="):
        raise ValueError("recurrence is not one RFC 5545 rule such as FREQ=WEEKLY;BYDAY=SU; start is its DTSTART")
    if any(f"FREQ={each}" in recurrence.upper() for each in _TOO_FREQUENT):
        raise ValueError("a window recurs hourly at most")
    try:
        rrulestr(_UNTIL.sub(r"UNTIL=\1", recurrence), dtstart=datetime(2026, 1, 1))  # noqa: DTZ001 - only parsed
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"recurrence is not an RFC 5545 rule such as FREQ=WEEKLY;BYDAY=SU: {error}") from error


SWITCH_PREFIX = "switch:"
"""Begin of the id of the window that a device's switch "Maintenance" opens."""


def switch_window(device: str) -> MaintenanceWindow:
    """Return the window of a device's switch: from now until it is switched off."""
    now = datetime.now(UTC)
    return MaintenanceWindow(
        id=SWITCH_PREFIX + device, selector=Selector(device=device), start=now - timedelta(seconds=1), operator="switch"
    )


class ActiveWindows:
    """The windows that are active at a time, found by device."""

    def __init__(self, windows: Iterable[MaintenanceWindow]) -> None:
        self._windows = {window.id: window for window in windows}
        self._of_one_device: dict[str, MaintenanceWindow] = {}
        self._others: list[MaintenanceWindow] = []
        for window in self._windows.values():
            if window.selector == Selector(device=window.selector.device):
                self._of_one_device.setdefault(window.selector.device or "", window)
            else:
                self._others.append(window)

    def __bool__(self) -> bool:
        """Return True if there is any."""
        return bool(self._windows)

    def find(self, devices: tuple[Device, ...]) -> MaintenanceWindow | None:
        """Return a window that selects a device, which comes first, or one through which it is connected."""
        for device in devices:
            if (found := self._of_one_device.get(device.id)) is not None:
                return found
        return next((window for window in self._others if window.selector.matches(devices)), None)

    def find_unknown(self, device: str, backend: str) -> MaintenanceWindow | None:
        """Return a window that selects a device of which nothing but its id and backend is known."""
        ids = (device, backend)
        if (found := next((self._of_one_device[id_] for id_ in ids if id_ in self._of_one_device), None)) is not None:
            return found
        return next((window for window in self._others if window.selector == Selector(backend=backend)), None)

    def difference(self, other: ActiveWindows) -> list[MaintenanceWindow]:
        """Return the windows that only one of both has."""
        mine, others = self._windows, other._windows
        return [mine.get(id_) or others[id_] for id_ in sorted(mine.keys() ^ others.keys())]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Schedule:
    """State of a window from a time on, active or not, and until when that holds."""

    since: datetime
    active: bool
    until: datetime | None

    def holds(self, now: datetime) -> bool:
        return self.since <= now and (self.until is None or now < self.until)


class MaintenanceWindows:
    """The maintenance windows of the bridge, stored in the outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._windows: dict[str, MaintenanceWindow] = {}
        self._schedules: dict[str, _Schedule] = {}
        self._on_change: list[Callable[[], None]] = []

    def restore(self, stored: Mapping[str, str]) -> None:
        """Start from the texts of alarm management that the outbox stores."""
        found = (restore(orjson.loads(text)) for key, text in stored.items() if key.startswith(KEY))
        self._windows = {window.id: window for window in sorted(found, key=lambda window: window.created_at)}

    def replace(self, stored: Mapping[str, str]) -> None:
        """Apply the texts that are stored now, where another process may have changed them."""
        self.restore(stored)
        self._schedules.clear()
        self._notify()

    def subscribe(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` after each window that is added or removed."""
        self._on_change.append(on_change)

    def __iter__(self) -> Iterator[MaintenanceWindow]:
        """Iterate over the windows in the order in which they were added."""
        return iter(tuple(self._windows.values()))

    def __bool__(self) -> bool:
        """Return True if there is any."""
        return bool(self._windows)

    def active(self, now: datetime) -> tuple[MaintenanceWindow, ...]:
        """Return the windows that are active."""
        return tuple(window for window in self._windows.values() if self._schedule(window, now).active)

    def changes(self, now: datetime) -> list[datetime]:
        """Return when each window begins or ends next."""
        found = (self._schedule(window, now).until for window in self._windows.values())
        return [until for until in found if until is not None]

    def _schedule(self, window: MaintenanceWindow, now: datetime) -> _Schedule:
        """Return the schedule of a window at a time; a recurrence is costly, so it is kept until the next change."""
        known = self._schedules.get(window.id)
        if known is None or not known.holds(now):
            known = _Schedule(since=now, active=window.is_active(now), until=window.next_change(now))
            self._schedules[window.id] = known
        return known

    async def add(self, window: MaintenanceWindow) -> None:
        """Store a window and apply it. Raises CommandError when there are too many, OutboxError."""
        if len(self._windows) >= MAX_WINDOWS and window.id not in self._windows:
            raise CommandError("too_many", f"there are {MAX_WINDOWS} maintenance windows; remove some")
        await run_to_end(self._add(window))

    async def _add(self, window: MaintenanceWindow) -> None:
        await self._outbox.change((), {KEY + window.id: orjson.dumps(window.json()).decode()})
        self._windows[window.id] = window
        self._schedules.pop(window.id, None)
        self._notify()

    async def remove(self, id_: str) -> MaintenanceWindow:
        """Remove a window, which ends it; return it. Raises CommandError if there is none with this id, OutboxError."""
        window = self._windows.get(id_)
        if window is None:
            raise CommandError("unknown_window", f"there is no maintenance window {id_}")
        await run_to_end(self._remove([id_]))
        return window

    async def remove_of_devices(self, devices: Iterable[str]) -> list[MaintenanceWindow]:
        """Remove the windows that name one of these devices, which are gone; return them. Raises OutboxError.

        A window that selects by a pattern, a group or a backend stays: it is about later devices, too.
        """
        gone = frozenset(devices)
        found = [window for window in self._windows.values() if window.selector.device in gone]
        if found:
            await run_to_end(self._remove([window.id for window in found]))
        return found

    async def _remove(self, ids: Iterable[str]) -> None:
        ids = tuple(ids)
        await self._outbox.change((), {KEY + id_: None for id_ in ids})
        for id_ in ids:
            self._drop(id_)
        self._notify()

    def _drop(self, id_: str) -> None:
        self._windows.pop(id_, None)
        self._schedules.pop(id_, None)

    async def drop_over(self, now: datetime) -> None:
        """Remove the windows that will not be active any more. Raises OutboxError."""
        schedules = {window.id: self._schedule(window, now) for window in self._windows.values()}
        over = [id_ for id_, schedule in schedules.items() if not schedule.active and schedule.until is None]
        if over:
            await self._outbox.change((), {KEY + id_: None for id_ in over})
            for id_ in over:
                self._drop(id_)

    async def switch(self, _: object, device: Device, on: bool) -> None:  # noqa: FBT001 - a write function
        """Open or end the window of a device: the write function of its switch. Raises CommandError, OutboxError."""
        id_ = SWITCH_PREFIX + device.id
        if on:
            if id_ not in self._windows:
                await self.add(switch_window(device.id))
            return
        if id_ in self._windows:
            await self.remove(id_)
        others = [window.id for window in self.active(datetime.now(UTC)) if window.selector.matches((device,))]
        if others:
            listed = ", ".join(others)
            raise CommandError("in_maintenance", f"{device.id} is in maintenance by {listed}: see maintenance_remove")

    def _notify(self) -> None:
        for on_change in self._on_change:
            on_change()
