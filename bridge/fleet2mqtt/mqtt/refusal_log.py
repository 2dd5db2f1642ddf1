"""Log messages about refused messages: one line per reason with a count, however many are refused."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

_LOG = logging.getLogger(__name__)

FIRST_REPORT = 1.0
"""Seconds in which the refusals of the first line are counted."""
NEXT_REPORT = 60.0
"""Seconds until the next line while the broker goes on to refuse; twice as many after each."""
MAX_REPORT_INTERVAL = 3600.0


@dataclass(slots=True)
class _Reason:
    """Refusals for one reason: their number in all and since the last line, the last topic, the next interval."""

    total: int = 0
    unreported: int = 0
    topic: str = ""
    interval: float = FIRST_REPORT


@dataclass(slots=True)
class RefusalLog:
    """Counts the messages that the broker refuses and that are sent again, and logs them by reason."""

    _reasons: dict[str, _Reason] = field(default_factory=dict)

    def add(self, text: str, topic: str) -> None:
        """Count a refusal; `text` is that of its exception."""
        text = text.removeprefix("the broker says: ")
        reason = self._reasons.get(text)
        if reason is None:
            reason = self._reasons[text] = _Reason()
            self._schedule(text, reason)
        reason.total += 1
        reason.unreported += 1
        reason.topic = topic

    def _schedule(self, text: str, reason: _Reason) -> None:
        asyncio.get_running_loop().call_later(reason.interval, self._report, text)

    def _report(self, text: str) -> None:
        reason = self._reasons[text]
        if not reason.unreported:
            _LOG.info("the broker no longer refuses messages (%s); it refused %d", text, reason.total)
            del self._reasons[text]
            return
        _LOG.warning(
            "the broker refuses messages (%s): %d so far, the last on %s; they are sent again",
            text,
            reason.total,
            reason.topic,
        )
        reason.unreported = 0
        reason.interval = min(max(NEXT_REPORT, reason.interval * 2), MAX_REPORT_INTERVAL)
        self._schedule(text, reason)
