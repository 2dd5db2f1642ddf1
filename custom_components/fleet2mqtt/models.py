"""The bridge's topics as this integration reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One backend of the bridge, and the names of its actions."""

    name: str
    platform: str
    actions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """The retained bridge/info; `raw` is the whole payload."""

    id: str
    version: str
    started_at: str
    backends: Mapping[str, Backend] = field(default_factory=dict)
    raw: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The newest data of one bridge.

    `connected` is Home Assistant's own connection to the broker, `online` what the bridge (or its last will) says;
    None until it has said anything.
    """

    connected: bool = False
    online: bool | None = None
    info: Info | None = None
    health: Json | None = None
    summary: Json | None = None
    backends: Mapping[str, Json] = field(default_factory=dict)

    @property
    def reachable(self) -> bool:
        """True while the bridge is online and Home Assistant connected."""
        return self.connected and self.online is True


def as_object(payload: str | bytes | bytearray) -> Json | None:
    """Return the JSON object in a payload, None for anything else."""
    try:
        value = json.loads(payload)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def as_info(payload: str | bytes | bytearray) -> Info | None:
    """Return a bridge/info, None if the payload is none: other programs have topics of this name, too."""
    raw = as_object(payload)
    if raw is None or not isinstance(raw.get("backends"), dict):
        return None
    named = [raw.get(key) for key in ("id", "version", "started_at")]
    backends = [_backend(name, each) for name, each in raw["backends"].items()]
    if not all(isinstance(text, str) and text for text in named) or None in backends or moment(named[2]) is None:
        return None
    known = {backend.name: backend for backend in backends if backend is not None}
    return Info(id=raw["id"], version=raw["version"], started_at=raw["started_at"], backends=known, raw=raw)


def _backend(name: str, raw: Any) -> Backend | None:
    if not isinstance(raw, dict) or not isinstance(raw.get("platform"), str):
        return None
    listed = raw.get("actions")
    actions = [action.get("name") for action in listed if isinstance(action, dict)] if isinstance(listed, list) else []
    return Backend(name=name, platform=raw["platform"], actions=tuple(str(action) for action in actions))


def moment(text: Any) -> datetime | None:
    """Return a time with offset, None for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None


def figure(source: Json | None, *path: str) -> Any:
    """Return the number or text at a path, None if there is none."""
    value: Any = source
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return None if isinstance(value, bool | dict | list) else value
