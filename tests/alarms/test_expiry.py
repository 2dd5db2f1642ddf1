"""The rule `clear_after`, by a clock that is set while an alarm is active."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.alarms.expiry import AlarmExpiry
from fleet2mqtt.devices.alarm_rules import AlarmRules
from fleet2mqtt.outbox.models import draft
from tests.sample_alarms import RAISED, alarm
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from fleet2mqtt.devices.model import Update


@pytest.mark.parametrize("hours", [0, 8])
async def test_alarm_is_cleared_in_time_though_the_clock_was_set_back(hours: int) -> None:
    cleared: asyncio.Future[Update] = asyncio.get_running_loop().create_future()

    async def accept(update: Update) -> None:
        cleared.set_result(update)

    rules = AlarmRules(clear_after={"33": 0.2})
    expiry = AlarmExpiry(lambda _: rules, lambda _: True)
    received_at = datetime.now(UTC) + timedelta(hours=hours)
    expiry.on_event(draft(alarm(0, code=33, active=True, alarm_key="33"), received_at, None).event(1))
    running = asyncio.create_task(expiry.run(accept))
    async with asyncio.timeout(PATIENCE):
        [end] = (await cleared).alarms
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert (end.id, end.cleared) == ("hq:0", True)
    assert end.raised_at >= RAISED
