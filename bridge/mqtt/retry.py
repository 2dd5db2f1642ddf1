"""When to try again after a connection failed, and how loudly to say so."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from bridge.mqtt.dialect import Cause, LinkError

if TYPE_CHECKING:
    from bridge.mqtt.settings import Settings

_log = logging.getLogger(__name__)

_SLOW = 8  # times the ordinary back-off where someone has to act
_ENOUGH_DOUBLINGS = 30
_SUSPICIOUS = 3  # connections lost without a stable one between
_REMEDIES = MappingProxyType(
    {  # by MQTT 5 reason code; paho translates those of 3.1.1
        0x84: "set mqtt.protocol to one that the broker speaks, or to auto",
        0x85: "choose another mqtt.client_id",
        0x86: "check mqtt.username and mqtt.password",
        0x87: "check mqtt.username, mqtt.password and the broker's access rules",
        0x8A: "lift the ban at the broker",
        0x8C: "check how the broker authenticates its clients",
        0x95: "raise the broker's limit for packets",
        0x9C: "set mqtt.host to where the broker is now",
        0x9D: "set mqtt.host to where the broker is now",
    }
)


@dataclass(slots=True)
class Retry:
    """Exponential back-off with full jitter, begun anew only after a connection that was stable."""

    settings: Settings
    _failures: int = 0
    _losses: int = 0
    _told: str | None = None

    def succeeded(self) -> None:
        """There is a connection; whatever ends it is worth a warning."""
        self._told = None

    def stood(self, seconds: float) -> None:
        """A connection lasted so long."""
        if seconds >= self.settings.stable_after:
            self._failures = self._losses = 0

    def failed(self, error: LinkError, *, lost: bool) -> float:
        """Seconds to wait, told once for each reason; `lost` is a connection that had been made."""
        slow = error.cause in (Cause.REFUSED, Cause.TAKEN_OVER)
        ceiling = self.settings.backoff_first * (_SLOW if slow else 1) * 2 ** min(self._failures, _ENOUGH_DOUBLINGS)
        ceiling = min(ceiling, self.settings.backoff_max)
        delay = random.uniform(ceiling / 2 if slow else 0.0, ceiling)  # noqa: S311 - jitter is no secret
        self._failures += 1
        self._losses += lost
        reason = self.explain(error)
        level = logging.DEBUG if reason == self._told else logging.WARNING
        self._told = reason
        what = "lost" if lost else "no connection to"
        _log.log(level, "%s %s; trying again in %.1f s", what, reason, delay)
        return delay

    def explain(self, error: LinkError) -> str:
        """Which broker, what is wrong there, and what to do."""
        settings = self.settings
        broker = f"{settings.host}:{settings.port}"
        if error.cause is Cause.TAKEN_OVER:
            return (
                f"{broker}: another client uses the client id {settings.client_id!r}; "
                "give each its own mqtt.client_id or stop one of them"
            )
        if error.cause is Cause.REFUSED:
            remedy = _REMEDIES.get(error.code, "see the broker's log")
            return f"{broker}: the broker refuses us: {str(error).lower()}; {remedy}"
        if error.cause is Cause.CLOSED and self._losses >= _SUSPICIOUS:
            # Many brokers close the older of two clients with one id without giving a reason.
            return f"{broker}: {error}, again: does another client use the client id {settings.client_id!r}?"
        return f"{broker}: {error}"
