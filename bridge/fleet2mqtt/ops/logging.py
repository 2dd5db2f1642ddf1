"""Logging: one line per record, without secrets; warnings also on MQTT."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from fleet2mqtt.contract.payloads import dumps, stamp
from fleet2mqtt.redaction import Redaction

MAX_WAITING = 200
PER_SECOND = 10.0
BURST = 50.0


class TextFormatter(logging.Formatter):
    """Formats records as `2026-11-22T08:00:00.000+00:00 WARNING fleet2mqtt.polling: text`."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return one record, redacted, with its traceback."""
        return self._redact(f"{stamp()} {super().format(record)}")


class JsonFormatter(logging.Formatter):
    """Formats records as one JSON object per line."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return one record, redacted."""
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
    """Queue of warnings for `bridge/logging`, bounded and rate-limited; what does not fit is counted."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__(logging.WARNING)
        self._redact = redact
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._allowance = BURST
        self._last = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._available = asyncio.Event()
        self.dropped = 0

    def add_secrets(self, secrets: Iterable[str]) -> None:
        """Replace these secrets, too, in all log output that shares this handler's redaction."""
        self._redact.add(secrets)

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake this event loop when there is a line; records may come from any thread."""
        self._loop = loop

    def emit(self, record: logging.LogRecord) -> None:
        """Enqueue one record, or count it as dropped."""
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
        self._loop.call_soon_threadsafe(self._available.set)

    async def dequeue(self) -> bytes:
        """Wait for the next line and return it."""
        while not self._waiting:
            self._available.clear()
            await self._available.wait()
        return self._waiting.popleft()


def configure(level: str, *, as_json: bool, redact: Redaction) -> MqttLog:
    """Log to standard error from `level` up; return the handler whose lines go to MQTT."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(redact) if as_json else TextFormatter(redact))
    mqtt = MqttLog(redact)
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.addHandler(mqtt)
    root.setLevel(logging.WARNING)
    logging.getLogger("fleet2mqtt").setLevel(level.upper())
    return mqtt
