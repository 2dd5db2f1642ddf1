"""Content of the outbox: alarm events as they are published, and pushes that could not be parsed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from fleet2mqtt.devices.model import Alarm, Severity

DEAD_LETTER_BYTES = 64 * 1024
DISK_RETRY_DELAY = 5.0
"""Seconds before a failed read or write of the outbox is tried again."""
TRANSACTION_WAIT = 0.004
"""Seconds for which work that can wait for `Outbox.transaction_began` does so: the event loop has time then."""
_VENDOR_TYPES = frozenset(("raised", "cleared"))
_ENDS = frozenset(("cleared", "closed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """Bounds of the outbox. `rows` and `bytes` bound what the broker has not acknowledged; more is refused.

    The other bounds delete the oldest: events stored for replay, identities stored beyond those, dead letters.
    `announce_backlog` is True if alarms that were raised before the bridge was responsible for them are published
    as events; without it they are in the history only.
    """

    rows: int = 100_000
    bytes: int = 256 * 1024 * 1024
    history_rows: int = 20_000
    seen_rows: int = 500_000
    dead_letters: int = 1_000
    announce_backlog: bool = False


@dataclass(slots=True, kw_only=True)  # made for each event: frozen takes three times as long
class AlarmEvent:
    """One event of an alarm, numbered. `body` is the object of the alarm contract, `data` the same as JSON.

    A `backlog` event is about an alarm raised before the bridge was responsible for it.
    """

    seq: int
    id: str
    device: str
    severity: Severity
    cleared: bool
    active: bool
    alarm_key: str
    received_at: datetime
    body: dict[str, Any]
    data: bytes
    backlog: bool = False

    @property
    def changes_alarm(self) -> bool:
        """True for an event about an alarm that was raised before, such as its acknowledgement; not for its clear."""
        return self.body["type"] not in _VENDOR_TYPES

    @property
    def suppressed(self) -> bool:
        """True if the event is withheld from `alarm/event`."""
        return bool(self.body.get("suppressed"))


@dataclass(slots=True, kw_only=True)  # made for each event: frozen takes three times as long
class Addition:
    """Alarms that one caller adds, and what is written with them.

    `checkpoints` are by backend and device, `managed` are texts of alarm management by key, None to delete one.
    `stored_push` is the number of the push in the push inbox that all of this came by, which ends there with it.
    """

    alarms: Sequence[Alarm]
    checkpoints: Mapping[tuple[str, str], str] = field(default_factory=dict)
    managed: Mapping[str, str | None] = field(default_factory=dict)
    stored_push: int | None = None


@dataclass(slots=True, kw_only=True)  # made for each event: frozen takes three times as long
class Stored:
    """Result of adding alarms: events that are new, and stored events that were completed by facts they lacked."""

    new: tuple[AlarmEvent, ...] = ()
    completed: tuple[AlarmEvent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A push that could not be parsed, cut at 64 KiB. The same one again is counted; `at` is when it last came."""

    id: int
    backend: str
    kind: str
    error: str
    at: datetime
    body: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedAlarm:
    """The last end of an alarm that is not active; `backend` is empty for one of a device that was removed."""

    device: str
    key: str
    at: datetime
    id: str
    backend: str


@dataclass(slots=True, kw_only=True)  # made for each event: frozen takes three times as long
class EventDraft:
    """An event that has no `seq` yet. `data` is the encoded body, in which `seq` is 0; `raised` is epoch seconds.

    `nonce` tells an event about an alarm that was raised before from others of its type. Such an event is neither a
    raise nor, unless it is `cleared`, the end of the alarm.
    """

    id: str
    device: str
    severity: Severity
    cleared: bool
    active: bool
    alarm_key: str
    raised: float
    received_at: datetime
    body: dict[str, Any]
    data: bytes
    backlog: bool = False
    nonce: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        """Identity of the event, its id, type and nonce: two drafts with one identity are the same event."""
        return self.id, self.body["type"], self.nonce

    @property
    def columns(self) -> tuple[Any, ...]:
        """Values of the table's columns, in their order: from the id to the alarm key."""
        return (
            self.id,
            self.body["type"],
            self.nonce,
            self.device,
            self.body["severity"],
            self.raised,
            _format_received(self.received_at)[0],
            int(self.active),
            self.alarm_key,
        )

    def event(self, seq: int) -> AlarmEvent:
        """Return the event with its number, which has the draft's body from now on."""
        self.body["seq"] = seq
        return AlarmEvent(
            seq=seq,
            id=self.id,
            device=self.device,
            severity=self.severity,
            cleared=self.cleared,
            active=self.active,
            alarm_key=self.alarm_key,
            received_at=self.received_at,
            body=self.body,
            data=number(self.data, seq),
            backlog=self.backlog,
        )


@lru_cache(maxsize=1)
def _format_received(moment: datetime) -> tuple[float, str]:
    """Return when alarms were received as epoch seconds and as text: those of a batch were at the same time."""
    return moment.timestamp(), moment.isoformat()


def number(data: bytes, seq: int) -> bytes:
    """Return an encoded body with its number, in which `seq` is 0. No text within JSON has a bare quote."""
    return data.replace(b',"seq":0,', b',"seq":%d,' % seq, 1)


def storable(text: str) -> str:
    """Return a text without what UTF-8 (half a surrogate pair) or SQLite's JSON (NUL) cannot carry."""
    if "\0" not in text:
        if text.isascii():
            return text
        try:
            text.encode()
        except UnicodeEncodeError:
            pass
        else:
            return text
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def clip(body: bytes) -> str:
    """Return the part of a pushed body that a dead letter stores, as text."""
    return body[:DEAD_LETTER_BYTES].decode("utf-8", "replace")


def draft(alarm: Alarm, received_at: datetime, device_name: str | None) -> EventDraft:
    """Return the event draft of an alarm, as docs/mqtt.md defines it."""
    body = _body(alarm, received_at, device_name)
    try:
        data = orjson.dumps(body)
    except TypeError:
        # Half a surrogate pair in a vendor's text: JSON may carry it, UTF-8 may not.
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        body = orjson.loads(data)
    return EventDraft(
        id=body["id"],
        device=body["device"],
        severity=alarm.severity,
        cleared=alarm.cleared,
        active=alarm.active,
        alarm_key=storable(alarm.alarm_key),
        raised=alarm.raised_at.timestamp(),
        received_at=received_at,
        body=body,
        data=data,
        backlog=alarm.backlog,
    )


def change_draft(
    event: AlarmEvent, members: Mapping[str, Any], *, nonce: str, suppressed: bool, cleared: bool
) -> EventDraft:
    """Return the draft of an event about an alarm that `event` raised: its body with other `members`.

    `members` have its `type`. `nonce` tells it from others of that type; `cleared` ends the alarm.
    """
    received_at = datetime.now(UTC)
    body = {key: value for key, value in event.body.items() if key not in {"suppressed", "backlog"}}
    body |= {"seq": 0, "received_at": received_at.isoformat(), **members}
    if suppressed:
        body["suppressed"] = True
    return EventDraft(
        id=event.id,
        device=event.device,
        severity=event.severity,
        cleared=cleared,
        active=event.active,
        alarm_key=event.alarm_key,
        raised=datetime.fromisoformat(event.body["raised_at"]).timestamp(),
        received_at=received_at,
        body=body,
        data=_encode(body),
        nonce=nonce,
    )


def _encode(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # half a surrogate pair in an operator's text
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def restore(seq: int, active: int, alarm_key: str, data: bytes) -> AlarmEvent:
    """Return the event of a stored database row."""
    body = orjson.loads(data)
    body["seq"] = seq
    body.setdefault("alarm_type", body["name"])  # not in events of version 0.1.0
    return AlarmEvent(
        seq=seq,
        id=body["id"],
        device=body["device"],
        severity=Severity(body["severity"]),
        cleared=body["type"] in _ENDS,
        active=bool(active),
        alarm_key=alarm_key,
        received_at=datetime.fromisoformat(body["received_at"]),
        body=body,
        data=number(data, seq),
        backlog=bool(body.get("backlog")),
    )


def _body(alarm: Alarm, received_at: datetime, device_name: str | None) -> dict[str, Any]:
    body = {
        "id": storable(alarm.id),
        "seq": 0,
        "type": "cleared" if alarm.cleared else "raised",
        "backend": alarm.backend,
        "device": storable(alarm.device),
        "device_name": device_name,
        "line": alarm.line,
        "severity": str(alarm.severity),
        "level": alarm.level,
        "code": alarm.code,
        "category": alarm.category,
        "name": alarm.name,
        "description": alarm.description,
        "description_en": alarm.description_en,
        "raised_at": alarm.raised_at.isoformat(),
        "received_at": _format_received(received_at)[1],
        "source": str(alarm.source),
        "tags": list(alarm.tags),
        "alarm_type": alarm.alarm_type or alarm.name,
    }
    if alarm.backlog:
        body["backlog"] = True
    if alarm.suppressed:
        body |= {"suppressed": True, "suppressed_by": alarm.suppressed_by}
    return body


def complete(body: Mapping[str, Any], draft: EventDraft) -> dict[str, Any] | None:
    """Return a stored event's body with the facts that it lacks and the draft of the same event has, None for none.

    A poll may tell less about an alarm than the push that follows: line, tags, texts. Nothing that is known changes.
    """
    added = {key: draft.body[key] for key in _COMPLETED if not body.get(key) and draft.body.get(key)}
    return {**body, **added} if added else None


_COMPLETED = ("line", "code", "category", "description", "description_en", "tags", "device_name")
