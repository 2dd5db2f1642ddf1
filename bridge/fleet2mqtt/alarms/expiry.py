"""Expiry of vendor alarms: the rule `clear_after` clears alarms that nothing else clears."""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.devices.alarm_rules import AlarmRules
from fleet2mqtt.devices.model import Alarm, Severity, Update, UpdateOrigin
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox import DISK_RETRY_DELAY, AlarmEvent

_LOG = logging.getLogger(__name__)

LONGEST_SLEEP = 60.0
BATCH = 500


class AlarmExpiry:
    """Clears active alarms of vendors when their time is over, counted from when the bridge received them.

    While it runs, a clock that is set changes nothing.
    """

    def __init__(self, rules_of: Callable[[str], AlarmRules], is_active: Callable[[AlarmEvent], bool]) -> None:
        """`rules_of` returns a backend's rules as configured now; `is_active` says if a raised alarm still is."""
        self._rules_of = rules_of
        self._is_active = is_active
        self._due: list[tuple[float, int, AlarmEvent]] = []
        """A heap of raise events by when (of the monotonic clock) their alarms are cleared, and `seq`.

        Those that ended otherwise stay in it.
        """
        self._work = asyncio.Event()

    def restore(self, active: Iterable[AlarmEvent]) -> None:
        """Note again when active alarms are cleared: those of the last run, or after their rules have changed."""
        events = {event.id: event for event in active}
        self._due = [each for each in self._due if each[2].id not in events]
        heapq.heapify(self._due)
        for event in events.values():
            self.on_event(event)

    def on_event(self, event: AlarmEvent) -> None:
        """Note when an alarm that was raised is cleared by its rule."""
        body = event.body
        if event.cleared or not event.active or event.changes_alarm or body["source"] == UpdateOrigin.CONDITION:
            return
        seconds = self._rules_of(body["backend"]).seconds_until_clear(body["code"], body["name"])
        if seconds is not None:
            heapq.heappush(self._due, (time.monotonic() + seconds - _age(event).total_seconds(), event.seq, event))
            self._work.set()

    async def run(self, accept: Callable[[Update], Awaitable[object]]) -> None:
        """Clear alarms in time by updates to `accept`, until cancelled."""
        while True:
            self._work.clear()
            now = time.monotonic()
            while due := self._pop_due(now):
                try:
                    for update in _clear(due):
                        await accept(update)
                except OutboxError as error:
                    _LOG.warning("alarms cannot be cleared: %s; trying again in %g s", error, DISK_RETRY_DELAY)
                    for event in due:
                        heapq.heappush(self._due, (now, event.seq, event))
                    await asyncio.sleep(DISK_RETRY_DELAY)
            delay = self._due[0][0] - now if self._due else LONGEST_SLEEP
            await wait_for_event(self._work, max(0.0, min(LONGEST_SLEEP, delay)) + 0.001)

    def _pop_due(self, now: float) -> list[AlarmEvent]:
        """Return some events whose alarms are still active and to be cleared now."""
        found: list[AlarmEvent] = []
        while self._due and self._due[0][0] <= now and len(found) < BATCH:
            _, _, event = heapq.heappop(self._due)
            if self._is_active(event):
                found.append(event)
        return found


def _age(event: AlarmEvent) -> timedelta:
    """Return for how long an alarm has been known; nothing if the clock was set back before it was received."""
    return max(timedelta(), datetime.now(UTC) - event.received_at)


def _clear(events: Iterable[AlarmEvent]) -> Iterator[Update]:
    """Yield an update for each backend that clears the alarms of these events."""
    alarms: dict[str, list[Alarm]] = {}
    for event in events:
        alarms.setdefault(event.body["backend"], []).append(_cleared(event))
    for backend, listed in alarms.items():
        yield Update(
            backend=backend,
            origin=UpdateOrigin.CONDITION,
            requested_at=time.monotonic(),
            observed_at=datetime.now(UTC),
            alarms=tuple(listed),
        )


def _cleared(event: AlarmEvent) -> Alarm:
    body = event.body
    # By the vendor's clock, as the next raise of the alarm will be.
    moment = datetime.fromisoformat(body["raised_at"]) + _age(event)
    return Alarm(
        id=event.id,
        backend=body["backend"],
        device=event.device,
        severity=Severity.CLEARED,
        level=body["level"],
        name=body["name"],
        alarm_type=body["alarm_type"],
        raised_at=moment,
        source=UpdateOrigin.CONDITION,
        cleared=True,
        active=True,
        alarm_key=event.alarm_key,
        line=body["line"],
        code=body["code"],
        category=body["category"],
        description=body["description"],
        description_en=body["description_en"],
        tags=tuple(body["tags"]),
    )
