"""What goes out on MQTT as JSON: encoding, the state object, results and responses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from fleet2mqtt.devices.model import Device, StateMeta

ONLINE = b"online"
OFFLINE = b"offline"
EMPTY = b""


class ResultStatus(StrEnum):
    """How a command ended."""

    CONFIRMED = "confirmed"  # read back and equal
    UNCONFIRMED = "unconfirmed"  # the vendor said yes, the read-back does not show it in time
    REJECTED = "rejected"  # the vendor said no
    FAILED = "failed"  # transport
    EXPIRED = "expired"  # too old before anything was sent
    SUPERSEDED = "superseded"  # a newer command for the same key took its place
    INVALID = "invalid"  # nothing that could be tried


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetail:
    """Why a command or a request did not do what it asked."""

    code: int | str
    message: str

    def json(self) -> dict[str, Any]:
        """As in results and responses."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A result or response; `device` is whose state goes out before it, `short` stands in for one that is too large."""

    topic: str
    payload: bytes
    short: bytes = b""
    device: str | None = None
    correlation: bytes | None = None


def now() -> datetime:
    """The time, with an offset."""
    return datetime.now(UTC)


def stamp(moment: datetime | None = None) -> str:
    """ISO 8601 with offset, in milliseconds."""
    return (moment or now()).isoformat(timespec="milliseconds")


def dumps(value: Any) -> bytes:
    """JSON in UTF-8. What that cannot say (lone surrogates, integers beyond 64 bit) is escaped as ASCII."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return json.dumps(value, default=str).encode("ascii")


def state(device: Device, state_meta: StateMeta | None) -> bytes:
    """The state object of a device: a key per entity that has a state, and `_meta`."""
    meta = (
        {"source": None, "observed_at": None}
        if state_meta is None
        else {"source": state_meta.origin, "observed_at": state_meta.observed_at}
    )
    return dumps({**device.state, "_meta": meta})


def response(transaction: str | int | None, data: Any = None, error: ErrorDetail | None = None) -> dict[str, Any]:
    """The one response to a request."""
    return {
        "transaction": transaction,
        "status": "error" if error else "ok",
        "data": data,
        "error": error.json() if error else None,
    }


def availability(available: Any) -> bytes:
    """`online` or `offline`."""
    return ONLINE if available else OFFLINE
