"""The bridge's topics that this integration uses."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_NOT_SEGMENT = re.compile(r"[^a-z0-9_-]+")
_MAX_SEGMENT = 64


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics below a base topic."""

    base: str

    @property
    def info(self) -> str:
        return f"{self.base}/bridge/info"

    @property
    def state(self) -> str:
        return f"{self.base}/bridge/state"

    @property
    def health(self) -> str:
        return f"{self.base}/bridge/health"

    @property
    def summary(self) -> str:
        return f"{self.base}/alarm/summary"

    @property
    def backend_health(self) -> str:
        return f"{self.base}/backend/+/health"

    @property
    def alarms(self) -> str:
        return f"{self.base}/alarm/event/+/+"

    @property
    def responses(self) -> tuple[str, str]:
        return f"{self.base}/bridge/response/+", f"{self.base}/backend/+/response/+"

    def request(self, backend: str | None, name: str) -> str:
        """Return the request topic of a backend, or without one of the bridge."""
        return (
            f"{self.base}/bridge/request/{name}" if backend is None else f"{self.base}/backend/{backend}/request/{name}"
        )

    def backend_of(self, topic: str) -> str:
        """Return the backend of a topic: `hq` of <base>/backend/hq/health."""
        return topic.removeprefix(f"{self.base}/backend/").split("/")[0]

    def device_of(self, identifier: str) -> str | None:
        """Return the device of an identifier in Home Assistant, `<base slug>_<device>`; None for others' devices."""
        prefix = f"{_slug(self.base)}_"
        return identifier.removeprefix(prefix) if identifier.startswith(prefix) else None


def _slug(text: str) -> str:
    """Return the base topic as identifiers have it: plain, or with a hash of what was replaced (docs/mqtt.md)."""
    lower = text.lower()
    plain = _NOT_SEGMENT.sub("_", lower).strip("_")
    if plain == lower and 0 < len(plain) <= _MAX_SEGMENT:
        return plain
    return f"{plain[: _MAX_SEGMENT - 9]}_{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("_")
