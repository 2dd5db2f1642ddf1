"""Logging: one line a record, secrets blotted out, warnings also on MQTT."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from bridge import wire
from bridge.payload import dumps, stamp

MAX_WAITING = 200
PER_SECOND = 10.0
BURST = 50.0
_SHORTEST = 4
"""A configured secret shorter than this would blot out half the log."""
_SCHEME = re.compile(r"(?:basic|bearer|digest|token|apikey) +", re.IGNORECASE)
"""What an Authorization header begins with; a vendor may repeat what follows it alone."""


class Redaction:
    """Replaces configured secrets, and values behind secret names, by ***."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        whole = frozenset(secrets)
        alone = {_SCHEME.sub("", word, count=1) for word in whole if _SCHEME.match(word)}
        words = sorted((word for word in whole | alone if len(word) >= _SHORTEST), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, words))) if words else None

    def __call__(self, text: str) -> str:
        """The text as it may be shown."""
        if self._known is not None:
            text = self._known.sub("***", text)
        return wire.redact(text)


class Plain(logging.Formatter):
    """`2026-11-22T08:00:00.000+00:00 WARNING bridge.polling: text`."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """One record, redacted, traceback included."""
        return self._redact(f"{stamp()} {super().format(record)}")


class Json(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """One record, redacted."""
        fields: dict[str, Any] = {
            "ts": stamp(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redact(record.getMessage()),
        }
        if record.exc_info:
            fields["exception"] = self._redact(self.formatException(record.exc_info))
        return dumps(fields).decode()


class MqttLog(logging.Handler):
    """Keeps warnings for `bridge/logging`: bounded and rate-limited, what is over is counted."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__(logging.WARNING)
        self._redact = redact
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._allowance = BURST
        self._last = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self.dropped = 0

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake this loop when there is something to say; records may come from any thread."""
        self._loop = loop

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record, or count it."""
        now = time.monotonic()
        self._allowance = min(BURST, self._allowance + (now - self._last) * PER_SECOND)
        self._last = now
        if self._allowance < 1 or self._loop is None or self._loop.is_closed():
            self.dropped += 1
            return
        self._allowance -= 1
        line = {
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redact(record.getMessage()),
        }
        self._waiting.append(dumps(line))
        self._loop.call_soon_threadsafe(self._news.set)

    async def take(self) -> bytes:
        """The next line, waiting for one."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()


def configure(level: str, *, as_json: bool, redact: Redaction) -> MqttLog:
    """Log to standard error from `level` up; gives the handler that feeds MQTT."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json(redact) if as_json else Plain(redact))
    mqtt = MqttLog(redact)
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.addHandler(mqtt)
    root.setLevel(logging.WARNING)
    logging.getLogger("bridge").setLevel(level.upper())
    return mqtt
