"""State of one notification target: what was notified, what waits, and how far the events were read."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Protocol

import orjson

from fleet2mqtt.alarms.records import FLAPPING_WINDOW, AlarmId, EventType, alarm_id
from fleet2mqtt.config.models import NotifyConfig, QuietHours
from fleet2mqtt.devices.model import Severity
from fleet2mqtt.outbox import AlarmEvent

MAX_QUEUE = 200
MAX_OPEN = 2_000
"""Alarms whose ends are notified and which escalate; of more, raises are notified and ends are not."""
MAX_EXAMPLES = 10
LONGEST_STORM = 10
"""A digest is sent after so many times `storm_within` at the latest."""
MAX_TEXT = 1_000
"""Characters that are kept of a vendor's text."""
_KEPT = ("id", "seq", "backend", "device", "device_name", "line", "severity", "level", "code", "name", "alarm_type",
         "description", "description_en", "raised_at", "source")  # fmt: skip

_UNCOVERING = frozenset((EventType.UNSHELVED, EventType.UNSUPPRESSED))
_ACKNOWLEDGING = frozenset((EventType.ACKNOWLEDGED, EventType.UNACKNOWLEDGED))


@dataclass(slots=True, kw_only=True)
class Notified:
    """An alarm that was notified `count` times; `due` is when it is notified again, None for never."""

    body: dict[str, Any]
    count: int = 0
    due: float | None = None
    active: bool = True
    """False for an alarm whose vendor reports no end."""


@dataclass(slots=True, kw_only=True)
class Digest:
    """Content of one message about many alarms: numbers by severity, the first alarms. Times are epoch seconds."""

    since: float
    due: float
    raised: dict[str, int] = field(default_factory=dict)
    cleared: int = 0
    reminders: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, kind: str, body: Mapping[str, Any]) -> None:
        """Count one notification. The examples are alarms that have not ended, each once."""
        if kind == "cleared":
            self.cleared += 1
            self.examples = [each for each in self.examples if each["id"] != body["id"]]
            return
        if kind == "reminder":
            self.reminders += 1
        else:
            self.raised[body["severity"]] = self.raised.get(body["severity"], 0) + 1
        if len(self.examples) < MAX_EXAMPLES and all(each["id"] != body["id"] for each in self.examples):
            self.examples.append(_kept(body))


class ManagedAlarm(Protocol):
    """Alarm management's facts about an active alarm."""

    @property
    def acknowledged(self) -> bool:
        """True once an operator has acknowledged it."""
        ...

    @property
    def withheld(self) -> bool:
        """True while it is shelved or suppressed."""
        ...

    @property
    def flapping(self) -> bool:
        """True while it was raised very often lately."""
        ...


class TargetState:
    """Decides what a target is told. `selects` returns True for the id of a device that it is about.

    `find` returns an active alarm. Times are epoch seconds: they outlive restarts.
    """

    def __init__(
        self, config: NotifyConfig, selects: Callable[[str], bool], find: Callable[[AlarmId], ManagedAlarm | None]
    ) -> None:
        self._config = config
        self._selects = selects
        self._find = find
        self.seq = 0
        self.number = 0
        """Number of the last message."""
        self.queue: deque[dict[str, Any]] = deque()
        self.open: dict[str, Notified] = {}
        self.open_changed = False
        """True if open alarms changed since this was set to False."""
        self.digest: Digest | None = None
        self._recent: deque[float] = deque(maxlen=config.storm_count)
        self._earliest = math.inf
        """No open alarm is due before."""
        self._seen_at = math.inf
        """Time of the last `advance`: an earlier one means that the clock was set back."""

    def load(self, text: str, open_text: str | None) -> None:
        """Continue with what `dump` and `dump_open` returned. Raises ValueError for a text that they did not return."""
        try:
            stored = orjson.loads(text)
            in_one = stored.get("open")  # as earlier versions stored them
            stored_open = orjson.loads(open_text or "{}") if in_one is None else in_one
            followed = {key: _build(Notified, each) for key, each in stored_open.items()}
            digest = _build(Digest, stored["digest"]) if stored["digest"] else None
            queue = [message for message in stored["queue"] if message["kind"] and message["number"]]
            self.seq, self.number, recent = int(stored["seq"]), int(stored["number"]), list(stored["recent"])
        except (TypeError, KeyError, AttributeError, orjson.JSONDecodeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        self.queue.extend(queue)
        self.open, self.digest, self.open_changed = followed, digest, in_one is not None
        self._earliest = min((each.due for each in followed.values() if each.due is not None), default=math.inf)
        self._recent.extend(recent)

    def dump(self) -> str:
        """Return the state as JSON, without the open alarms."""
        return orjson.dumps(
            {
                "seq": self.seq,
                "number": self.number,
                "queue": list(self.queue),
                "digest": self.digest,
                "recent": list(self._recent),
            }
        ).decode()

    def dump_open(self) -> str:
        """Return the open alarms as JSON: up to a megabyte."""
        return orjson.dumps(self.open).decode()

    def take(self, event: AlarmEvent, now: float) -> None:
        """Take the next event of the outbox."""
        self.seq = event.seq
        if event.backlog:
            return
        id_ = alarm_id(event)
        key = "\n".join(id_)
        type_ = event.body["type"]
        uncovers = type_ in _UNCOVERING
        known = self.open.get(key)
        if event.cleared or (uncovers and event.body.get("state") == "cleared"):
            self._end(key, event, now)
        elif known is not None and type_ in _ACKNOWLEDGING:
            after = self._config.escalate_after if known.count else self._config.delay or FLAPPING_WINDOW
            self._set_due(known, now + after if type_ == EventType.UNACKNOWLEDGED and after else None)
            self.open_changed = True
        elif (type_ == EventType.RAISED or uncovers) and self._wants(event, known):
            self._raise(key, id_, event, now)

    def _wants(self, event: AlarmEvent, known: Notified | None) -> bool:
        """Return True for an alarm that is not suppressed, not known yet, and selected."""
        if event.suppressed or (known is not None and known.body["id"] == event.id):
            return False
        return event.severity in self._config.severities and self._selects(event.device)

    def _raise(self, key: str, id_: AlarmId, event: AlarmEvent, now: float) -> None:
        alarm = Notified(body=event.body, active=event.active)
        record = self._find(id_)
        flapping = record is not None and record.flapping
        if flapping:  # told once it stays
            if not event.active:
                return
            self._set_due(alarm, now + FLAPPING_WINDOW)
        elif self._config.delay:
            self._set_due(alarm, event.received_at.timestamp() + self._config.delay)
        else:
            self._notify(alarm, now)
        if (alarm.active or alarm.due is not None) and (len(self.open) < MAX_OPEN or key in self.open):
            alarm.body = _kept(event.body)
            self.open[key] = alarm
            self.open_changed = True
        elif not alarm.count and not flapping:  # too many to wait for: better now than never
            self._notify(alarm, now)

    def _set_due(self, alarm: Notified, due: float | None) -> None:
        alarm.due = due
        if due is not None and due < self._earliest:
            self._earliest = due

    def _end(self, key: str, event: AlarmEvent, now: float) -> None:
        alarm = self.open.pop(key, None)
        self.open_changed |= alarm is not None
        if alarm is not None and alarm.count:
            self._emit("cleared", alarm.body | {"cleared_at": event.body["raised_at"]}, now)

    def _notify(self, alarm: Notified, now: float) -> None:
        self._emit("reminder" if alarm.count else "raised", alarm.body, now)
        alarm.count += 1
        again = self._config.escalate_after is not None and alarm.count <= self._config.escalate_repeat
        self._set_due(alarm, now + (self._config.escalate_after or 0) if again else None)

    def _emit(self, kind: str, body: dict[str, Any], now: float) -> None:
        quiet = self._config.quiet_hours
        urgent = quiet is not None and Severity(body["severity"]) in quiet.but and is_quiet(quiet, now)
        silent = quiet is not None and not urgent and is_quiet(quiet, now)
        within = self._config.storm_within
        storm = len(self._recent) == self._config.storm_count and 0 <= now - self._recent[0] < within
        gathering = self.digest is not None and not urgent
        if not (silent or storm or gathering or len(self.queue) >= MAX_QUEUE):
            self._recent.append(now)
            self._append({"kind": kind, "alarm": body if kind == "cleared" else _kept(body)}, now)
            return
        if self.digest is None:
            self.digest = Digest(since=now, due=now)
        if not silent:
            self.digest.due = min(now + within, self.digest.since + LONGEST_STORM * within)
        self.digest.add(kind, body)

    def _append(self, message: dict[str, Any], now: float) -> None:
        self.number += 1
        self.queue.append(message | {"number": self.number, "at": now})

    @property
    def oldest(self) -> float | None:
        """Time at which the first message of the queue was made, None without one."""
        return self.queue[0].get("at") if self.queue else None

    def looked_at(self, now: float, *, all_read: bool) -> set[AlarmId]:
        """Return the alarms that `advance` finds."""
        if not all_read and now < self._earliest:
            return set()
        return {
            _id(key)
            for key, alarm in self.open.items()
            if (all_read and alarm.active) or (alarm.due is not None and alarm.due <= now)
        }

    def advance(self, now: float, *, all_read: bool = False) -> bool:
        """Notify what is due: escalations, and a digest once its storm or the quiet hours are over.

        `all_read` is True if no event is left to read: then an alarm that management does not know is over, with no
        event of that, as its device was removed. Returns True if something changed.
        """
        changed = self._follow_clock(now)
        if all_read or now >= self._earliest:
            changed |= self._advance_alarms(now, all_read=all_read)
        if self.digest is not None and self.digest.due <= now and self._takes_digest(now):
            digest, self.digest = self.digest, None
            self._append({"kind": "digest", "digest": _members(digest)}, now)
            changed = True
        return changed

    def _advance_alarms(self, now: float, *, all_read: bool) -> bool:
        """Do what `advance` does to the open alarms."""
        changed, self._earliest = False, math.inf
        for key, alarm in tuple(self.open.items()):
            if all_read and alarm.active and self._find(_id(key)) is None:
                changed = True
                del self.open[key]
                continue
            if alarm.due is not None and alarm.due <= now:
                changed = True
                self._escalate(key, alarm, now)
            if key in self.open:
                self._set_due(alarm, alarm.due)
        self.open_changed |= changed
        return changed

    def _takes_digest(self, now: float) -> bool:
        quiet = self._config.quiet_hours
        return len(self.queue) < MAX_QUEUE and not (quiet is not None and is_quiet(quiet, now))

    def _follow_clock(self, now: float) -> bool:
        """Bring forward what a clock that was set back would keep for too long."""
        config, changed = self._config, False
        set_back, self._seen_at = now < self._seen_at, now
        latest = now + max(config.delay, config.escalate_after or 0.0, FLAPPING_WINDOW)
        for alarm in self.open.values() if set_back else ():
            if alarm.due is not None and alarm.due > latest:
                self._set_due(alarm, latest)
                self.open_changed = changed = True
        if self.digest is not None and self.digest.due > now + LONGEST_STORM * config.storm_within:
            self.digest.since, self.digest.due, changed = now, now + config.storm_within, True
        return changed

    def _escalate(self, key: str, alarm: Notified, now: float) -> None:
        record = self._find(_id(key))
        if record is not None and (record.withheld or record.flapping):
            self._set_due(alarm, now + max(self._config.escalate_after or 0, 60))
        elif (record is None and alarm.active) or (record is not None and record.acknowledged):
            alarm.due = None  # its end is among the events to come
        else:
            self._notify(alarm, now)
            if not alarm.active and alarm.due is None:
                del self.open[key]

    def next_due(self, now: float) -> float | None:
        """Return when `advance` has something to do, None for nothing that is known yet."""
        due = self._earliest if self.open else math.inf
        if self.digest is not None and self._takes_digest(now):
            due = min(due, self.digest.due)
        return None if due == math.inf else due


def _id(key: str) -> AlarmId:
    device, _, name = key.partition("\n")
    return device, name


def _kept(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of an event that are kept, its texts cut."""
    kept = {name: body.get(name) for name in _KEPT}
    for name, value in kept.items():
        if isinstance(value, str) and len(value) > MAX_TEXT:
            kept[name] = value[:MAX_TEXT]
    return kept


def _members(digest: Digest) -> dict[str, Any]:
    return {each.name: getattr(digest, each.name) for each in fields(digest)}


def _build(kind: type[Any], stored: Mapping[str, Any]) -> Any:
    """Return an object from its stored members; those of another version are left out."""
    names = {each.name for each in fields(kind)}
    return kind(**{name: value for name, value in stored.items() if name in names})


def count_waiting(text: str) -> int:
    """Return the number of messages in the queue of a stored state, 0 if it is not readable."""
    try:
        return len(orjson.loads(text)["queue"])
    except (TypeError, KeyError, ValueError):
        return 0


def is_quiet(hours: QuietHours, now: float) -> bool:
    """Return True within quiet hours, which may span midnight."""
    clock = datetime.fromtimestamp(now, hours.zone).time()
    if hours.start <= hours.end:
        return hours.start <= clock < hours.end
    return clock >= hours.start or clock < hours.end
