"""Alarms for tests."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from fleet2mqtt.alarms.records import AlarmId, AlarmRecord
from fleet2mqtt.devices.model import Alarm, Severity, UpdateOrigin
from fleet2mqtt.outbox.models import draft

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleet2mqtt.outbox import AlarmEvent, Outbox

RAISED = datetime(2021, 3, 9, 9, 55, 40, tzinfo=UTC)


def alarm(number: int, **changes: Any) -> Alarm:
    """Alarm `number` of backend hq, raised that many seconds after `RAISED`."""
    values: dict[str, Any] = {
        "id": f"hq:{number}",
        "backend": "hq",
        "device": "hq_voip_1",
        "severity": Severity.CRITICAL,
        "level": "serious",
        "name": "eEMS_NOTIFY_IPEXT_OFFLINE",
        "raised_at": RAISED + timedelta(seconds=number),
        "source": UpdateOrigin.PUSH,
    }
    return Alarm(**(values | changes))


def nameless(_device: str) -> None:
    """For tests to which the name of a device does not matter."""


async def add(outbox: Outbox, *numbers: int, **changes: Any) -> tuple[AlarmEvent, ...]:
    """The events of these alarms, in one call."""
    return (await outbox.add([alarm(number, **changes) for number in numbers], nameless)).new


async def add_and_disconnect(outbox: Outbox, number: int) -> None:
    """Hand an alarm over to an outbox, and do not wait for its answer."""
    leaving = asyncio.create_task(add(outbox, number), name="leaving")
    await asyncio.sleep(0)  # it has handed its alarm over
    leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving


def ids(events: Iterable[AlarmEvent]) -> list[str]:
    return [event.id for event in events]


class AllActive(dict[AlarmId, AlarmRecord]):
    """Records of alarm management in which every alarm is active."""

    def get(self, _key: AlarmId, _default: Any = None) -> AlarmRecord:
        return AlarmRecord(event=draft(alarm(0, active=True), RAISED, None).event(1))
