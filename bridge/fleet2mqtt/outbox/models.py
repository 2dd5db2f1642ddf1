"""What the outbox holds: alarm events as they are announced, and what a push said that could not be understood."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from fleet2mqtt.devices.model import Alarm, Severity

DEAD_LETTER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """How much is kept. `rows` and `bytes` bound what the broker has not acknowledged; more is refused.

    The others drop the oldest: events kept for replay, identities kept beyond those, dead letters.
    """

    rows: int = 100_000
    bytes: int = 256 * 1024 * 1024
    history_rows: int = 20_000
    seen_rows: int = 500_000
    dead_letters: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmEvent:
    """One event of an alarm, numbered. `body` is the JSON of the alarm contract."""

    seq: int
    id: str
    device: str
    severity: Severity
    cleared: bool
    active: bool
    alarm_key: str
    received_at: datetime
    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A push that could not be understood, cut at 64 KiB. The same one again only counts; `at` is when it last came."""

    id: int
    backend: str
    kind: str
    error: str
    at: datetime
    body: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDraft:
    """An event before it has its number. `data` is the encoded body, in which `seq` is still 0."""

    id: str
    device: str
    severity: Severity
    cleared: bool
    active: bool
    alarm_key: str
    raised: float
    received_at: datetime
    body: Mapping[str, Any]
    data: bytes

    @property
    def identity(self) -> tuple[str, bool]:
        """What makes two events the same one."""
        return self.id, self.cleared

    def event(self, seq: int) -> AlarmEvent:
        """The event with its number."""
        return AlarmEvent(
            seq=seq,
            id=self.id,
            device=self.device,
            severity=self.severity,
            cleared=self.cleared,
            active=self.active,
            alarm_key=self.alarm_key,
            received_at=self.received_at,
            body={**self.body, "seq": seq},
        )


def storable(text: str) -> str:
    """The text without what UTF-8 (half a surrogate pair) or SQLite's JSON (NUL) cannot carry."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def clip(body: bytes) -> str:
    """As much of a pushed body as a dead letter holds, as text."""
    return body[:DEAD_LETTER_BYTES].decode("utf-8", "replace")


def draft(alarm: Alarm, received_at: datetime, device_name: str | None) -> EventDraft:
    """The event of an alarm, as the contract writes it."""
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
    )


def restore(seq: int, active: int, alarm_key: str, data: bytes) -> AlarmEvent:
    """The event of a stored row."""
    body = orjson.loads(data)
    body["seq"] = seq
    return AlarmEvent(
        seq=seq,
        id=body["id"],
        device=body["device"],
        severity=Severity(body["severity"]),
        cleared=body["type"] == "cleared",
        active=bool(active),
        alarm_key=alarm_key,
        received_at=datetime.fromisoformat(body["received_at"]),
        body=body,
    )


def _body(alarm: Alarm, received_at: datetime, device_name: str | None) -> dict[str, Any]:
    return {
        "id": storable(alarm.id),
        "seq": 0,
        "type": "cleared" if alarm.cleared else "raised",
        "backend": alarm.backend,
        "device": storable(alarm.device),
        "device_name": device_name,
        "line": alarm.line,
        "severity": alarm.severity.value,
        "level": alarm.level,
        "code": alarm.code,
        "category": alarm.category,
        "name": alarm.name,
        "description": alarm.description,
        "description_en": alarm.description_en,
        "raised_at": alarm.raised_at.isoformat(),
        "received_at": received_at.isoformat(),
        "source": alarm.source.value,
        "tags": list(alarm.tags),
    }


@dataclass(slots=True, kw_only=True)
class Counters:
    """As of the last commit. A transaction works on a copy, which takes the place of the old one only afterwards.

    `seq` is the last number given; `held` counts all events, `depth` and `size` those the broker has not acknowledged;
    `refused` counts events for which there was no room, `displaced` dead letters that had to go. Within a transaction
    `oldest` is None once it may have changed; `minute` is the newest that was tallied.
    """

    seq: int
    first_seq: int
    held: int
    depth: int
    size: int
    oldest: datetime | None
    seen: int
    dead: int
    refused: int = 0
    displaced: int = 0
    minute: int = 0


def measure(db: sqlite3.Connection) -> Counters:
    """The figures of a file just opened."""
    (seq,) = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'event'").fetchone()
    depth, size = db.execute("SELECT count(*), coalesce(sum(size), 0) FROM pending").fetchone()
    levels = Counters(
        seq=seq,
        first_seq=0,
        held=_count(db, "event"),
        depth=depth,
        size=size,
        oldest=None,
        seen=_count(db, "seen"),
        dead=_count(db, "dead_letter"),
    )
    _find_first(db, levels)
    _find_oldest(db, levels)
    return levels


def settle(db: sqlite3.Connection, levels: Counters, limits: OutboxLimits) -> None:
    """Drops what is beyond the bounds, at the end of a transaction."""
    excess = levels.held - levels.depth - limits.history_rows
    if excess > 0:
        db.execute(
            "DELETE FROM event WHERE seq IN (SELECT seq FROM event"
            " WHERE NOT EXISTS (SELECT 1 FROM pending WHERE pending.seq = event.seq) ORDER BY seq LIMIT ?)",
            (excess,),
        )
        levels.held -= excess
        _find_first(db, levels)
        db.execute("DELETE FROM standing WHERE NOT open AND seq < ?", (levels.first_seq,))
    if levels.depth == 0:
        levels.oldest = None
    elif levels.oldest is None:
        _find_oldest(db, levels)
    if levels.seen > limits.seen_rows:
        # What is still held keeps its identity, or it would be taken in once more.
        gone = db.execute(
            "DELETE FROM seen WHERE seq IN (SELECT seq FROM seen WHERE seq < ? ORDER BY seq LIMIT ?)",
            (levels.first_seq, levels.seen - limits.seen_rows),
        )
        levels.seen -= gone.rowcount


def _find_first(db: sqlite3.Connection, levels: Counters) -> None:
    (first,) = db.execute("SELECT min(seq) FROM event").fetchone()
    levels.first_seq = levels.seq + 1 if first is None else first


def _find_oldest(db: sqlite3.Connection, levels: Counters) -> None:
    row = db.execute(
        "SELECT json_extract(CAST(body AS TEXT), '$.received_at') FROM event WHERE seq = (SELECT min(seq) FROM pending)"
    ).fetchone()
    levels.oldest = None if row is None else datetime.fromisoformat(row[0])


def _count(db: sqlite3.Connection, table: str) -> int:
    (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - the callers are above
    return int(count)
