"""Expiry of vendor alarms: the rule `clear_after` clears alarms that nothing else clears."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.alarms.records import AlarmId, alarm_id
from fleet2mqtt.devices.alarm_rules import AlarmRules
from fleet2mqtt.devices.model import Alarm, Severity, Update, UpdateOrigin
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox import AlarmEvent

_LOG = logging.getLogger(__name__)

DISK_RETRY_DELAY = 5.0
LONGEST_SLEEP = 3600.0


class AlarmExpiry:
    """Clears active alarms of vendors when their time is over, counted from when the bridge received them."""

    def __init__(self, rules_of: Callable[[str], AlarmRules]) -> None:
        """`rules_of` returns a backend's rules as they are configured now."""
        self._rules_of = rules_of
        self._due: dict[AlarmId, tuple[datetime, AlarmEvent]] = {}
        self._work = asyncio.Event()

    def restore(self, active: Iterable[AlarmEvent]) -> None:
        """Continue with the active alarms of the last run."""
        for event in active:
            self.on_event(event)

    def on_event(self, event: AlarmEvent) -> None:
        """Note when an alarm that was raised is cleared by its rule; one that was cleared is not any more."""
        if event.cleared:
            self._due.pop(alarm_id(event), None)
            return
        body = event.body
        if not event.active or event.changes_alarm or body["source"] == UpdateOrigin.CONDITION:
            return
        seconds = self._rules_of(body["backend"]).seconds_until_clear(body["code"], body["name"])
        if seconds is not None:
            self._due[alarm_id(event)] = event.received_at + timedelta(seconds=seconds), event
            self._work.set()

    def on_removed(self, ids: Iterable[str]) -> None:
        """Forget the alarms of devices that are gone."""
        gone = set(ids)
        self._due = {id_: due for id_, due in self._due.items() if id_[0] not in gone}

    async def run(self, accept: Callable[[Update], Awaitable[object]]) -> None:
        """Clear alarms in time by updates to `accept`, until cancelled."""
        while True:
            self._work.clear()
            now = datetime.now(UTC)
            try:
                for event in [event for due, event in self._due.values() if due <= now]:
                    await accept(_clear(event, now))
                    self._due.pop(alarm_id(event), None)
            except OutboxError as error:
                _LOG.warning("an alarm cannot be cleared: %s; trying again in %g s", error, DISK_RETRY_DELAY)
                await asyncio.sleep(DISK_RETRY_DELAY)
                continue
            nearest = min((due for due, _ in self._due.values()), default=now + timedelta(seconds=LONGEST_SLEEP))
            await wait_for_event(self._work, max(0.0, min(LONGEST_SLEEP, (nearest - now).total_seconds())) + 0.001)


def _clear(event: AlarmEvent, now: datetime) -> Update:
    body = event.body
    alarm = Alarm(
        id=event.id,
        backend=body["backend"],
        device=event.device,
        severity=Severity.CLEARED,
        level=body["level"],
        name=body["name"],
        alarm_type=body["alarm_type"],
        raised_at=now,
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
    return Update(
        backend=body["backend"],
        origin=UpdateOrigin.CONDITION,
        requested_at=time.monotonic(),
        observed_at=now,
        alarms=(alarm,),
    )
