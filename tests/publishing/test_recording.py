"""When acknowledged alarm events are recorded as published."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

from fleet2mqtt.outbox.sqlite import outbox as sqlite
from fleet2mqtt.publishing import alarm_publisher
from tests.publishing.harness import open_parts
from tests.sample_alarms import alarm
from tests.sample_devices import update
from tests.waiting import wait_for_answer, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.broker import Broker

TURNS = 50


async def test_acknowledged_event_is_recorded_while_the_disk_works_for_the_next_alarm(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm_publisher, "TRANSACTION_WAIT", 3600.0)
    monkeypatch.setattr(alarm_publisher, "RECORD_INTERVAL", 0.0)
    monkeypatch.setattr(sqlite, "LONGEST_WAIT", 0.0)  # nothing else keeps it waiting
    async with open_parts(broker.port, tmp_path) as parts:
        await parts.hub.accept(update(alarms=(alarm(1),)))
        await wait_until(lambda: parts.mqtt.published == 1, "the acknowledgement")
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert [event.seq for event in await parts.outbox.unpublished(0)] == [1]
        numbers = count(2)

        async def is_recorded_with_another() -> bool:
            await parts.hub.accept(update(alarms=(alarm(next(numbers)),)))
            return (await parts.outbox.unpublished(0))[0].seq > 1

        await wait_for_answer(is_recorded_with_another, "the record of the first")
