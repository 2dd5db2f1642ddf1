"""The evaluator: when conditions raise and clear, and what changes nothing."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fleet2mqtt.alarms import evaluator as module
from fleet2mqtt.alarms.evaluator import ConditionEvaluator
from fleet2mqtt.devices.conditions import (
    BACKEND,
    Comparison,
    Condition,
    ConditionOptions,
    ConditionTable,
    WaitingChanges,
)
from fleet2mqtt.devices.model import Alarm, Device, Name, Severity, Update, UpdateOrigin, Value
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.devices.selection import Detail, Selection, SelectionFilter
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox.models import draft
from tests.sample_devices import AT, device, update
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

OFF = Condition(key="off", severity=Severity.MAJOR, text=Name("off", "关"), entity="enable", values=("OFF",))
DELAYED = Condition(
    key="weak", severity=Severity.MINOR, text=Name("weak", "弱"), entity="signal", values=(-90,), on_delay=3600
)


@dataclass(slots=True)
class Running:
    """An evaluator with a registry, and what it raised and cleared."""

    registry: Registry
    evaluator: ConditionEvaluator
    alarms: list[Alarm] = field(default_factory=list)
    failures: int = 0
    tables: dict[str, ConditionTable] = field(default_factory=dict)
    _request: int = 0

    async def accept(self, accepted: Update) -> None:
        if self.failures:
            self.failures -= 1
            raise OutboxError("the disk is full")
        assert accepted.origin is UpdateOrigin.CONDITION
        self.alarms += accepted.alarms

    def read(self, *devices: Device) -> None:
        self._request += 1
        changes = self.registry.accept(update(*devices, requested_at=self._request), str(AT))
        self.evaluator.on_devices([each.id for each in devices], changes.state_changed | changes.values_changed)

    def shows(self, **state: Value) -> None:
        self.read(device(state={"signal": -60, "enable": "ON"} | state))

    async def have(self, *cleared: bool) -> None:
        await wait_until(
            lambda: [alarm.cleared for alarm in self.alarms] == list(cleared), lambda: str(self.alarms), PATIENCE
        )

    async def settle(self) -> None:
        """Wait until everything so far was evaluated: by an alarm of another device that came after it."""
        count = len(self.alarms)
        self.read(device(f"hq_settle_{self._request}", state={"enable": "OFF"}))
        await wait_until(lambda: len(self.alarms) > count, "another alarm", PATIENCE)
        self.alarms[:] = [alarm for alarm in self.alarms if not alarm.device.startswith("hq_settle")]


@asynccontextmanager
async def running(
    *conditions: Condition,
    restored: tuple[Any, ...] = (),
    waiting: WaitingChanges | None = None,
    selection: SelectionFilter | None = None,
) -> AsyncIterator[Running]:
    tables = {"hq": ConditionTable(conditions or (OFF, DELAYED))}
    registry = Registry(time.monotonic, lambda _: (), selection)
    found = Running(registry, ConditionEvaluator(registry, lambda name: tables[name], "zh-Hans"), tables=tables)
    found.evaluator.restore(restored)
    found.evaluator.restore_waiting(waiting or {})
    task = asyncio.create_task(found.evaluator.run(found.accept))
    try:
        yield found
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_condition_raises_once_and_clears_under_one_id() -> None:
    async with running() as each:
        each.shows(enable="OFF")
        await each.have(False)
        each.shows(enable="OFF", signal=-61)
        each.shows(enable="ON")
        await each.have(False, True)
        raised, cleared = each.alarms
        assert raised.id == cleared.id
        assert (raised.alarm_key, raised.alarm_type, raised.category) == ("off", "off", "condition")
        assert (raised.severity, cleared.severity) == (Severity.MAJOR, Severity.CLEARED)
        assert (raised.description, raised.description_en) == ("关", "off")
        each.shows(enable="OFF")
        await each.have(False, True, False)
        assert each.alarms[2].id != raised.id


async def test_unknown_value_changes_nothing() -> None:
    async with running() as each:
        each.shows(enable="OFF")
        await each.have(False)
        each.shows(enable=None)
        await each.settle()
        assert len(each.alarms) == 1


async def test_condition_that_ends_within_its_delay_raises_nothing() -> None:
    async with running() as each:
        each.shows(signal=-90)
        each.shows(signal=-60)
        await each.settle()
        assert each.alarms == []


async def test_delayed_condition_raises_later_with_the_time_at_which_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = time.monotonic
    async with running() as each:
        each.shows(signal=-90)
        await each.settle()
        assert each.alarms == []
        monkeypatch.setattr(time, "monotonic", lambda: clock() + 3600)
        await each.settle()
        await each.have(False)
        assert each.alarms[0].alarm_key == "weak"


async def test_delay_of_the_last_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, hours = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 3600 * hours[0])
    waiting: WaitingChanges = {}
    for _ in range(3):  # half an hour each, between which the bridge is not there for ten
        async with running(waiting=waiting) as each:
            assert each.evaluator.waiting() == waiting
            each.shows(signal=-90)
            await each.settle()
            assert each.alarms == []
            hours[0] += 0.4
            waiting = each.evaluator.waiting()
        hours[0] += 10
    async with running(waiting=waiting) as each:
        each.shows(signal=-90)
        await each.have(False)
        assert each.alarms[0].raised_at.isoformat() == waiting["hq_1"]["weak"].since
        assert each.evaluator.waiting() == {}
    async with running(waiting=waiting) as again:  # killed before the file was written
        again.shows(signal=-90)
        await again.have(False)
        assert again.alarms[0].id != each.alarms[0].id
    async with running(waiting=waiting) as each:
        each.shows(signal=-60)
        await each.settle()
        assert (each.alarms, each.evaluator.waiting()) == ([], {})


async def test_waiting_raise_of_an_alarm_that_is_active_by_now_delays_no_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as before:
        before.shows(signal=-90)
        await before.settle()
        waiting, clock = before.evaluator.waiting(), time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: clock() + 3600)
        await before.settle()
        await before.have(False)
    async with running(restored=(draft(before.alarms[0], AT, None).event(1),), waiting=waiting) as each:
        each.shows(signal=-60)
        await each.have(True)
        assert each.alarms[0].raised_at > before.alarms[0].raised_at


async def test_active_alarm_of_the_last_run_is_not_raised_again() -> None:
    async with running() as before:
        before.shows(enable="OFF")
        await before.have(False)
    event = draft(before.alarms[0], AT, None).event(1)
    async with running(restored=(event,)) as each:
        each.shows(enable="OFF")
        await each.settle()
        assert each.alarms == []
        each.shows(enable="ON")
        await each.have(True)
        assert each.alarms[0].id == event.id


async def test_clear_has_the_text_of_its_raise() -> None:
    above = Condition(
        key="loud", severity=Severity.MAJOR, text=Name("{value} dB", "{value} 分贝"), entity="signal",
        comparison=Comparison.ABOVE, threshold=-70,
    )  # fmt: skip
    async with running(above) as each:
        each.shows(signal=-60)
        await each.have(False)
        each.shows(signal=-80)
        await each.have(False, True)
        assert [(alarm.description, alarm.description_en) for alarm in each.alarms] == [("-60 分贝", "-60 dB")] * 2
    event = draft(each.alarms[0], AT, None).event(1)
    async with running(above, restored=(event,)) as each:
        each.shows(signal=-80)
        await each.have(True)
        assert each.alarms[0].description == "-60 分贝"


async def test_condition_that_is_no_longer_enabled_clears() -> None:
    async with running() as each:
        each.shows(enable="OFF")
        await each.have(False)
        each.tables["hq"] = ConditionTable((OFF,), {"off": ConditionOptions(enabled=False)})
        each.evaluator.on_options("hq")
        await each.have(False, True)


async def test_failing_disk_delays_alarms_and_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DISK_RETRY_DELAY", 0)
    async with running() as each:
        each.failures = 2
        each.shows(enable="OFF")
        await each.have(False)


async def test_removed_device_is_forgotten() -> None:
    async with running() as each:
        each.shows(enable="OFF")
        await each.have(False)
        each.registry.forget(["hq_1"])
        each.evaluator.on_removed(["hq_1"])
        each.shows(enable="OFF")
        await each.have(False, False)


async def test_value_of_an_entity_that_is_not_published_counts() -> None:
    async with running(selection=SelectionFilter(lambda _: Selection(entities=Detail.MINIMAL))) as each:
        each.shows(enable="OFF")
        assert each.registry.devices["hq_1"].state == {}
        await each.have(False)
        each.shows(enable="ON")
        await each.have(False, True)


async def test_condition_of_a_backend_is_about_its_own_device_only() -> None:
    own = Condition(key="own", severity=Severity.MINOR, text=Name("", ""), entity="enable", kind=BACKEND)
    async with running(own) as each:
        each.read(device("hq", scope="backend", state={"enable": "ON"}), device(state={"enable": "ON"}))
        await each.have(False)
        assert each.alarms[0].device == "hq"
