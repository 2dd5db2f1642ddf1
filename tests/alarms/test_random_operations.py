"""Random operations on alarms: the manager, the disk and what is retained agree, and a restart changes nothing."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.alarms.maintenance import Selector, new_window
from fleet2mqtt.alarms.manager import Operator
from fleet2mqtt.devices.conditions import Condition, ConditionTable
from fleet2mqtt.devices.model import Name, Severity, UpdateOrigin
from fleet2mqtt.errors import CommandError
from tests.alarms.test_manager import Alarms, opened
from tests.sample_alarms import RAISED, alarm
from tests.sample_devices import device, update
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from pathlib import Path

OFFLINE = Condition(
    key="offline", severity=Severity.CRITICAL, text=Name("", ""), entity="enable", values=("OFF",), unreachable=True
)
DEVICES = {
    each.id: each
    for each in (
        device("hq", scope="backend"),
        device("hq_1", via="hq"),
        device("hq_1_line", via="hq_1", kind="line"),
        device("hq_2", via="hq"),
    )
}
OPERATIONS = (
    *("raise", "raise", "raise", "clear", "clear", "late", "again", "offline", "online", "forget"),
    *("acknowledge", "unacknowledge", "shelve", "unshelve", "close", "add_window", "remove_window"),
)


@dataclass(slots=True)
class Operations:
    """Operations at random on the alarms of a bridge."""

    rng: random.Random
    number: int = 0
    raised: dict[tuple[str, str], int] = field(default_factory=dict)

    async def several(self, alarms: Alarms) -> None:
        """Do one, or some at once."""
        count = self.rng.choice((1, 1, 1, 4))
        names = [self.rng.choice(OPERATIONS) for _ in range(count)]
        # Of a device that is removed nothing else happens, and a condition has one evaluator.
        alone = {"forget", "offline", "online"} & {*names}
        await asyncio.gather(*(self.one(alarms, name) for name in (names[:1] if alone else names)))

    async def one(self, alarms: Alarms, name: str) -> None:
        self.number += 1
        number, id_, key = self.number, self.rng.choice(("hq_1", "hq_1_line", "hq_2")), self.rng.choice("ab")
        about: dict[str, Any] = {"device": id_, "active": True, "alarm_key": key}
        match name:
            case "raise":
                self.raised[id_, key] = number
                await self.accept(alarms, number, **about)
            case "late":
                at = RAISED + timedelta(seconds=number - self.rng.randint(1, 8))
                await self.accept(alarms, number, raised_at=at, **about)
            case "clear":
                await self.accept(alarms, number, cleared=True, **about)
            case "again" if (id_, key) in self.raised:
                await self.accept(alarms, self.raised[id_, key], **about)
            case "offline" | "online":
                await self.evaluate(alarms, self.rng.choice(("hq", "hq_1")), number, online=name == "online")
            case "forget":
                await alarms.hub.forget([id_])
                await alarms.hub.accept(update(*DEVICES.values(), requested_at=number))
            case "add_window":
                selector = self.rng.choice((Selector(device=id_), Selector(backend="hq")))
                await alarms.windows.add(new_window(selector=selector, start=datetime.now(UTC), end=None))
            case "remove_window" if alarms.windows:
                with suppress(CommandError):  # another one removed it
                    await alarms.windows.remove(self.rng.choice(list(alarms.windows)).id)
            case _:
                await self.operate(alarms, name)

    async def accept(self, alarms: Alarms, number: int, **about: Any) -> None:
        await alarms.hub.accept(update(alarms=(alarm(number, **about),)))

    async def evaluate(self, alarms: Alarms, gateway: str, number: int, *, online: bool) -> None:
        """Raise or clear a condition as the evaluator does, by a clock that is set again and again."""
        record = alarms.manager.records.get((gateway, "offline"))
        active = record is not None and record.active
        if active is not online:
            return
        about: dict[str, Any] = {"device": gateway, "active": True, "alarm_key": "offline", "cleared": online}
        about |= {"source": UpdateOrigin.CONDITION, "raised_at": RAISED + timedelta(seconds=self.rng.randint(0, 500))}
        id_ = {"id": record.event.id} if record is not None and active else {}
        await self.accept(alarms, number, **about, **id_)

    async def operate(self, alarms: Alarms, name: str) -> None:
        records, operator = list(alarms.manager.records.values()), Operator(name=f"operator {self.number}")
        if not records or not hasattr(alarms.manager, name):
            return
        record = self.rng.choice(records)
        with suppress(CommandError):  # it has just ended, or is no alarm that can be closed
            if name == "shelve":
                await alarms.manager.shelve(record, datetime.now(UTC) + timedelta(hours=1), operator)
            else:
                await getattr(alarms.manager, name)(record, operator)


async def settled(alarms: Alarms) -> dict[Any, Any]:
    """Return the state of each alarm, once nothing is left to be announced; it is the same on disk and as retained."""
    manager = alarms.manager
    left = (manager._uncovered, manager._released, manager._outdated)  # noqa: SLF001
    await wait_until(lambda: not any(left), lambda: f"nothing left to do: {left}", PATIENCE)
    active = {record.id: record.event.id for record in manager.records.values() if record.active}
    assert {(each.device, each.alarm_key): each.id for each in await alarms.outbox.active_alarms()} == active
    assert sum(manager.counts()["active"].values()) == len(active)
    return {
        record.id: (
            *(record.event.id, record.state, record.announced, record.suppressed_by),
            *(record.acknowledged_by, record.shelved_until, record.shelved_by),
        )
        for record in manager.records.values()
    }


@pytest.mark.parametrize("seed", range(16))
async def test_restart_changes_nothing_whatever_happened(tmp_path: Path, seed: int) -> None:
    operations = Operations(random.Random(seed))  # noqa: S311 - to be repeated, not to be secret
    table, before = ConditionTable((OFFLINE,)), dict[Any, Any]()
    for _ in range(3):
        async with opened(tmp_path, restored=tuple(DEVICES.values()), table=table) as alarms:
            assert await settled(alarms) == before
            for _ in range(60):
                await operations.several(alarms)
            before = await settled(alarms)
    assert operations.number > 180
