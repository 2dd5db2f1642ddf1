"""Keys of rows whose names only the vendor knows: the same in every run, and never one for two identifiers."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from fleet2mqtt.devices.model import Severity
from fleet2mqtt.platforms.thingscloud.entities import DEVICE_ROWS

TAKEN = frozenset(row.key for row in DEVICE_ROWS) | {
    *("alarm", "last_alarm", "last_alarm_time", "last_alarm_severity", "transaction", "expires_at"),
    *(f"alarms_{severity}" for severity in Severity),
}
"""What the table has, what the bridge adds to devices with alarms, and what a `set` has beside keys."""
MOST = 48

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_OTHER = re.compile(r"[^a-z0-9]+")


@dataclass(slots=True, kw_only=True)
class Keys:
    """Identifier → key. `claims` is kept on disk with the ids, so that the first to have a key keeps it."""

    backend: str
    assignments: dict[str, str]
    _given: dict[tuple[str, str], str] = field(default_factory=dict)

    def __call__(self, identifier: str, prefix: str = "") -> str:
        """The identifier in lower snake case; with a hash behind it where that is another's, or lost something."""
        token = prefix, identifier
        if token not in self._given:
            self._given[token] = self._made(prefix, identifier)
        return self._given[token]

    def _made(self, prefix: str, identifier: str) -> str:
        words = _HUMP.sub("_", identifier).lower()
        plain = prefix + _OTHER.sub("_", words).strip("_")
        whole = identifier.isascii() and plain != prefix and len(plain) <= MOST and plain not in TAKEN
        claim = f"{self.backend}/{plain}"  # no device id has a slash
        if whole and self.assignments.setdefault(claim, identifier) == identifier:
            return plain
        digest = hashlib.sha256(identifier.encode("utf-8", "replace")).hexdigest()[:8]
        return f"{plain[:MOST].rstrip('_')}_{digest}".lstrip("_")
