"""Keys of entities that are defined in the project: stable across restarts, and never shared by two identifiers."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from fleet2mqtt.devices.model import Severity
from fleet2mqtt.platforms.thingscloud.entities import DEVICE_ENTITIES

RESERVED_KEYS = frozenset(entity.key for entity in DEVICE_ENTITIES) | {
    *("alarm", "last_alarm", "last_alarm_time", "last_alarm_severity", "transaction", "expires_at"),
    *(f"alarms_{severity}" for severity in Severity),
}
"""Keys of the table, keys that the bridge adds to devices with alarms, and members of a `set` that are no keys."""
MAX_LENGTH = 48

_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS = re.compile(r"[^a-z0-9]+")


@dataclass(slots=True, kw_only=True)
class EntityKeys:
    """Identifier → key. `assignments` is saved with the device ids, so that the first user of a key keeps it."""

    backend: str
    assignments: dict[str, str]
    _cache: dict[tuple[str, str], str] = field(default_factory=dict)

    def __call__(self, identifier: str, prefix: str = "") -> str:
        """Return the identifier in lower snake case; with a hash if the key is another's, or characters were lost."""
        token = prefix, identifier
        if token not in self._cache:
            self._cache[token] = self._assign(prefix, identifier)
        return self._cache[token]

    def _assign(self, prefix: str, identifier: str) -> str:
        lower = _CAMEL_CASE.sub("_", identifier).lower()
        key = prefix + _SEPARATORS.sub("_", lower).strip("_")
        usable = identifier.isascii() and key != prefix and len(key) <= MAX_LENGTH and key not in RESERVED_KEYS
        assignment = f"{self.backend}/{key}"  # no device id has a slash
        if usable and self.assignments.setdefault(assignment, identifier) == identifier:
            return key
        digest = hashlib.sha256(identifier.encode("utf-8", "replace")).hexdigest()[:8]
        return f"{key[:MAX_LENGTH].rstrip('_')}_{digest}".lstrip("_")
