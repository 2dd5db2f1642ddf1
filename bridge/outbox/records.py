"""What the outbox holds: alarm events as they are announced, and what a push said that could not be understood."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from bridge.model import Alarm, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping

DEAD_LETTER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is kept. `rows` and `bytes` bound what the broker has not acknowledged; more is refused.

    The others drop the oldest: events kept for replay, identities kept beyond those, dead letters.
    """

    rows: int = 100_000
    bytes: int = 256 * 1024 * 1024
    history_rows: int = 20_000
    seen_rows: int = 500_000
    dead_letters: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of an alarm, numbered. `body` is the JSON of the alarm contract."""

    seq: int
    id: str
    device: str
    severity: Severity
    cleared: bool
    active: bool
    standing: str
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
class Draft:
    """An event before it has its number. `data` is the encoded body, in which `seq` is still 0."""

    id: str
    device: str
    severity: Severity
    cleared: bool
    active: bool
    standing: str
    raised: float
    received_at: datetime
    body: Mapping[str, Any]
    data: bytes

    @property
    def identity(self) -> tuple[str, bool]:
        """What makes two events the same one."""
        return self.id, self.cleared

    def event(self, seq: int) -> Event:
        """The event with its number."""
        return Event(
            seq=seq,
            id=self.id,
            device=self.device,
            severity=self.severity,
            cleared=self.cleared,
            active=self.active,
            standing=self.standing,
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


def draft(alarm: Alarm, received_at: datetime, device_name: str | None) -> Draft:
    """The event of an alarm, as the contract writes it."""
    body = _body(alarm, received_at, device_name)
    try:
        data = orjson.dumps(body)
    except TypeError:
        # Half a surrogate pair in a vendor's text: JSON may carry it, UTF-8 may not.
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        body = orjson.loads(data)
    return Draft(
        id=body["id"],
        device=body["device"],
        severity=alarm.severity,
        cleared=alarm.cleared,
        active=alarm.active,
        standing=storable(alarm.standing),
        raised=alarm.raised_at.timestamp(),
        received_at=received_at,
        body=body,
        data=data,
    )


def restore(seq: int, active: int, standing: str, data: bytes) -> Event:
    """The event of a stored row."""
    body = orjson.loads(data)
    body["seq"] = seq
    return Event(
        seq=seq,
        id=body["id"],
        device=body["device"],
        severity=Severity(body["severity"]),
        cleared=body["type"] == "cleared",
        active=bool(active),
        standing=standing,
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
