"""Messages over which the broker closes the connection, and which are therefore withheld for a time.

MQTT 3.1.1 has no way to refuse a message, and some brokers close the connection with MQTT 5, too: over a message that
an access rule forbids, or that is too large. Sent again on the next connection, the message would close that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fleet2mqtt.errors import Refused

MIN_SUSPECT_SIZE = 10_000
"""Bytes; no sensible broker refuses smaller messages for their size."""
CLOSINGS_ALONE = 2
"""Connections that the broker has to close over a message alone, without a reason, before the message is withheld."""
TOPICS_OF_A_LEVEL = 2
"""Withheld topics after which all topics with the same first level are withheld, if none was ever acknowledged."""

_PACKET_TOO_LARGE = 0x95
_NOT_AUTHORIZED = 0x87
_ABOUT_A_MESSAGE = frozenset((0x80, 0x82, 0x83, _NOT_AUTHORIZED, 0x90, _PACKET_TOO_LARGE, 0x99, 0x9A, 0x9B))
"""Reason codes of a DISCONNECT that may be caused by a message; the others are about the broker or the client."""


@dataclass(slots=True)
class _Entry:
    """A withheld message: until when, and the reason."""

    closings: int
    until: float
    text: str
    size: int = 0


@dataclass(slots=True)
class WithheldMessages:
    """Finds the messages over which the broker closes the connection, over all connections; times in seconds.

    Every message in flight when the broker closes a connection is a suspect. Suspects are sent alone on the next
    connection: acknowledged, one is no suspect any more; if the broker closes the connection again, it is withheld for
    `first` seconds, then sent again alone, and withheld twice as long each time, up to `longest`.
    """

    first: float
    longest: float
    _suspects: dict[str, int] = field(default_factory=dict)
    _topics: dict[str, _Entry] = field(default_factory=dict)
    _levels: dict[str, _Entry] = field(default_factory=dict)
    _size: _Entry | None = None
    _largest_acknowledged: int = 0
    _acknowledged_levels: set[str] = field(default_factory=set)

    def check(self, topic: str, size: int, now: float) -> None:
        """Raise Refused, temporary, for a message that is withheld; `size` is that of its payload in bytes."""
        if not self._topics:
            return
        for reason, entry in (
            ("too_large", self._size if self._size is not None and size >= self._size.size else None),
            ("refused_closed_connection", self._topics.get(topic)),
            ("refused_closed_connection", self._levels.get(_first_level(topic))),
        ):
            if entry is not None and entry.until > now:
                wait = entry.until - now
                raise Refused(
                    f"{topic}: {size} bytes are withheld for {wait:.0f} s: {entry.text}",
                    reason=reason,
                    temporary=True,
                    retry_after=wait,
                )

    def is_suspect(self, topic: str, size: int) -> bool:
        """Return True for a message that is to be sent alone."""
        if topic in self._suspects:
            return True
        if not self._topics:
            return False
        too_large = self._size is not None and size >= self._size.size
        return too_large or topic in self._topics or _first_level(topic) in self._levels

    @property
    def has_suspects(self) -> bool:
        """True if any message is to be sent alone."""
        return bool(self._suspects or self._topics)

    def on_acknowledged(self, topic: str, size: int) -> None:
        """Record that the broker acknowledged a message: it is neither forbidden nor too large."""
        self._largest_acknowledged = max(self._largest_acknowledged, size)
        if not self.has_suspects:  # levels count from the first closing on, after which everything is sent again
            return
        level = _first_level(topic)
        self._acknowledged_levels.add(level)
        self._suspects.pop(topic, None)
        if self._topics:
            self._topics.pop(topic, None)
            self._levels.pop(level, None)
            if self._size is not None and size >= self._size.size:
                self._size = None

    def on_stable(self) -> None:
        """Record a connection on which everything was sent again: what was not acknowledged is no suspect any more."""
        self._suspects.clear()

    def on_closed(self, inflight: Sequence[tuple[str, int]], code: int, reason: str, now: float) -> str | None:
        """Record topics and payload sizes in flight when the broker closed the connection.

        `code` is the reason code of its DISCONNECT, 0 for none. Returns a text for the log if a message is withheld.
        """
        if code and code not in _ABOUT_A_MESSAGE:
            return None
        if len(inflight) != 1:
            self._suspects = {topic: 0 for topic, _ in inflight} | self._suspects
            return None
        [(topic, size)] = inflight
        too_large = code == _PACKET_TOO_LARGE or (
            code != _NOT_AUTHORIZED and size >= MIN_SUSPECT_SIZE and size > self._largest_acknowledged
        )
        seen_before = topic in self._suspects
        certain = bool(code) or topic in self._topics or _first_level(topic) in self._levels
        closings = self._suspects.get(topic, 0) + (seen_before or certain)
        self._suspects[topic] = closings
        if not (certain or closings >= CLOSINGS_ALONE or (too_large and closings)):
            return None
        del self._suspects[topic]
        return self._withhold(topic, size, reason if code else "", now, too_large=too_large)

    def _withhold(self, topic: str, size: int, reason: str, now: float, *, too_large: bool) -> str:
        because = f" ({reason})" if reason else ""
        text = f"the broker closes the connection over {size} bytes on {topic}{because}: "
        text += "it is too large, or an access rule forbids it" if too_large else "does an access rule forbid it?"
        entry = self._topics[topic] = self._extend(self._topics.get(topic), text, now)
        if too_large:
            smallest = size if self._size is None else min(size, self._size.size)
            self._size = self._extend(self._size, text, now, size=smallest)
            return f"{text}; {size} bytes and more are withheld for {self._size.until - now:.0f} s"
        level = _first_level(topic)
        same_level = [each for each in self._topics if _first_level(each) == level]
        if level not in self._acknowledged_levels and len(same_level) >= TOPICS_OF_A_LEVEL:
            entry = self._levels[level] = self._extend(self._levels.get(level), text, now)
            return f"{text}; everything on {level}/# is withheld for {entry.until - now:.0f} s"
        return f"{text}; it is withheld for {entry.until - now:.0f} s"

    def _extend(self, entry: _Entry | None, text: str, now: float, *, size: int = 0) -> _Entry:
        closings = 0 if entry is None else entry.closings + 1
        seconds = min(self.first * 2 ** min(closings, 30), self.longest)
        return _Entry(closings=closings, until=now + seconds, text=text, size=size)


def _first_level(topic: str) -> str:
    return topic.partition("/")[0]
