"""JSON payloads that the bridge publishes: encoding, state, results, responses, availability."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from fleet2mqtt.devices.model import DeviceEvent, StateMeta, Value
from fleet2mqtt.sdk.limits import limit_attributes

ONLINE = b"online"
OFFLINE = b"offline"
EMPTY = b""


class ResultStatus(StrEnum):
    """The status of a result."""

    CONFIRMED = "confirmed"  # read back and equal
    UNCONFIRMED = "unconfirmed"  # the vendor accepted, the read-back does not show it in time
    REJECTED = "rejected"  # the vendor refused
    FAILED = "failed"  # no connection to the vendor, or no valid response
    EXPIRED = "expired"  # too old before anything was sent
    SUPERSEDED = "superseded"  # replaced by a newer command for the same key
    INVALID = "invalid"  # cannot be tried


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetail:
    """Code and message of the error of a command or request."""

    code: int | str
    message: str

    def json(self) -> dict[str, Any]:
        """Return the error as results and responses contain it."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A result or response. The state of `device` is published before it; `short` replaces a payload too large.

    `on_acknowledged` is called once the broker has it, or refuses it for good.
    """

    topic: str
    payload: bytes
    short: bytes = b""
    device: str | None = None
    correlation: bytes | None = None
    on_acknowledged: Callable[[], None] | None = field(default=None, compare=False)


def device_event(event: DeviceEvent, observed_at: datetime) -> bytes:
    """Return the payload of a device's event: the attributes, with its type and time."""
    attributes = limit_attributes(event.attributes)
    return dumps({**attributes, "event_type": event.event_type, "observed_at": stamp(observed_at)})


def now() -> datetime:
    """Return the time, with an offset."""
    return datetime.now(UTC)


def stamp(moment: datetime | None = None) -> str:
    """Return a moment, now if None, as ISO 8601 with offset and milliseconds."""
    return (moment or now()).isoformat(timespec="milliseconds")


def dumps(value: Any) -> bytes:
    """Return a value as JSON in UTF-8; with lone surrogates or integers beyond 64 bit it is escaped as ASCII."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return json.dumps(value, default=str).encode("ascii")


def state(values: Mapping[str, Value], state_meta: StateMeta | None) -> bytes:
    """Return the state payload of a device: one key per entity that has a state, and `_meta`."""
    meta = (
        {"source": None, "observed_at": None}
        if state_meta is None
        else {"source": state_meta.origin, "observed_at": state_meta.observed_at}
    )
    return dumps({**values, "_meta": meta})


def response(transaction: str | int | None, data: Any = None, error: ErrorDetail | None = None) -> dict[str, Any]:
    """Return the response to a request."""
    return {
        "transaction": transaction,
        "status": "error" if error else "ok",
        "data": data,
        "error": error.json() if error else None,
    }


def availability(available: Any) -> bytes:
    """Return the payload of an availability topic: `online` or `offline`."""
    return ONLINE if available else OFFLINE
