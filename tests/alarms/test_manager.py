"""The alarm manager with a real outbox: what operators and events do at the same time, and what a restart finds."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.alarms import handling
from fleet2mqtt.alarms.handling import AlarmHandling, AlarmSources
from fleet2mqtt.alarms.maintenance import MaintenanceWindows, Selector, new_window
from fleet2mqtt.alarms.manager import AlarmOptions, Operator
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.alarm_rules import AlarmRules, RecoveryPair
from fleet2mqtt.devices.builtin_entities import ALARM_ACTIVE
from fleet2mqtt.devices.conditions import NO_CONDITIONS, ConditionTable
from fleet2mqtt.devices.model import Component, Device, UpdateOrigin
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import CommandError, OutboxFull
from fleet2mqtt.hub import Hub
from fleet2mqtt.mqtt import MqttClient, Settings
from fleet2mqtt.outbox import Outbox, OutboxLimits, open_outbox
from fleet2mqtt.publishing.publisher import Publisher
from tests.full_disk import files_end_at
from tests.sample_alarms import RAISED, alarm
from tests.sample_devices import device, row, update
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fleet2mqtt.alarms.manager import AlarmManager
    from fleet2mqtt.alarms.records import AlarmRecord

TOPICS = Topics("fleet2mqtt", "homeassistant")
POWER = ("hq_1", "power")
LI = Operator(name="Li")


@dataclass(slots=True, kw_only=True)
class Alarms:
    """A hub that is connected to no broker, and the parts of it that are asked here."""

    hub: Hub
    handling: AlarmHandling
    windows: MaintenanceWindows
    outbox: Outbox
    registry: Registry
    requests: int = 0

    @property
    def manager(self) -> AlarmManager:
        return self.handling.manager

    @property
    def record(self) -> AlarmRecord:
        return self.manager.records[POWER]

    async def power(self, number: int, **changes: Any) -> Any:
        """The alarm of this number, raised unless it is `cleared`."""
        self.requests += 1
        values: dict[str, Any] = {"device": "hq_1", "active": True, "alarm_key": "power"}
        return await self.hub.accept(
            update(device(), requested_at=self.requests, alarms=(alarm(number, **(values | changes)),))
        )

    async def events(self) -> list[tuple[str, bool]]:
        """Type of each event so far, and True if it was withheld."""
        return [(event.body["type"], event.suppressed) for event in (await self.outbox.history(0, 1000))[0]]

    async def types(self) -> list[str]:
        return [type_ for type_, _ in await self.events()]

    async def have(self, *types: str) -> None:
        count = len(types)

        def stored() -> bool:
            return self.outbox.last_seq >= count and not self.manager._uncovered  # noqa: SLF001

        await wait_until(stored, f"{types}", PATIENCE)
        assert await self.types() == list(types)

    async def in_maintenance(self) -> str:
        window = new_window(selector=Selector(device="hq_1"), start=datetime.now(UTC), end=None)
        await self.windows.add(window)
        return window.id

    async def forget_without_disk(self) -> None:
        """Remove the device while nothing can be stored; its alarm is still active then."""
        with files_end_at(0):
            await self.hub.forget(["hq_1"])
            assert self.manager.has_active("hq_1")

    async def has_no_text(self) -> None:
        """Wait until nothing is stored about alarms beside their events."""

        def gone() -> bool:
            return not (self.manager._stored or self.manager._outdated)  # noqa: SLF001

        await wait_until(gone, "the deletion of texts", PATIENCE)
        assert [key for key in await self.outbox.managed() if key.startswith("alarm/")] == []


@asynccontextmanager
async def opened(
    folder: Path,
    *,
    limits: OutboxLimits | None = None,
    rules: AlarmRules | None = None,
    restored: tuple[Device, ...] = (),
    table: ConditionTable = NO_CONDITIONS,
) -> AsyncIterator[Alarms]:
    async with open_outbox(folder / "outbox.sqlite", limits) as outbox:
        registry = Registry(time.monotonic, lambda _: ())
        registry.restore(restored, {}, {})
        publisher = Publisher(
            MqttClient(Settings(host="", port=1, client_id="", will_topic=""), []), registry, None, TOPICS, 1
        )
        windows = MaintenanceWindows(outbox)
        sources = AlarmSources(tables=lambda _: table, rules_of=lambda _: rules or AlarmRules())
        options = AlarmOptions(suppression_delay=0)
        alarms = AlarmHandling(outbox, registry, publisher, TOPICS, windows, lambda: None, options, sources)
        hub = Hub(outbox, registry, publisher, TOPICS, alarms, lambda: None)
        await hub.restore_alarms()
        loops = (alarms.manager.run(), alarms.expiry.run(hub.accept), alarms.run())
        work = [asyncio.create_task(each) for each in loops]
        try:
            yield Alarms(hub=hub, handling=alarms, windows=windows, outbox=outbox, registry=registry)
        finally:
            for task in work:
                task.cancel()
            for task in work:
                with suppress(asyncio.CancelledError):
                    await task


async def test_end_of_maintenance_is_announced_once_whatever_is_restarted(tmp_path: Path) -> None:
    async with opened(tmp_path) as each:
        window = await each.in_maintenance()
        await each.power(1)
        await each.windows.remove(window)
        await each.have("raised", "unsuppressed")
    async with opened(tmp_path) as each:
        await each.have("raised", "unsuppressed")
        assert each.record.active
        await each.power(2, cleared=True)
        await each.has_no_text()


async def test_alarm_that_ended_in_maintenance_is_announced_as_ended_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as each:
        await each.power(1)
        window = await each.in_maintenance()
        await each.power(2, cleared=True)
    async with opened(tmp_path) as each:
        assert not each.manager.has_active("hq_1")
        await each.windows.remove(window)
        await each.have("raised", "cleared", "unsuppressed")
        [*_, last] = (await each.outbox.history(0, 10))[0]
        assert (last.body["state"], last.suppressed) == ("cleared", False)
        await each.has_no_text()
        assert not each.manager.records
    async with opened(tmp_path) as each:
        await each.have("raised", "cleared", "unsuppressed")


async def test_alarm_that_came_and_went_in_maintenance_leaves_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as each:
        window = await each.in_maintenance()
        await each.power(1)
        await each.power(2, cleared=True)
        assert not each.manager.records
        await each.windows.remove(window)
        assert await each.events() == [("raised", True), ("cleared", True)]
        await each.has_no_text()


@pytest.mark.parametrize("polled_first", [True, False])
async def test_alarm_and_recovery_meet_of_which_one_was_polled_without_its_line(
    tmp_path: Path, *, polled_first: bool
) -> None:
    rules = AlarmRules(recovers=(RecoveryPair(raised="41", by="42"),))
    pair: dict[str, Any] = {"active": False, "alarm_key": ""}
    async with opened(tmp_path, rules=rules) as each:
        for line in (None, "7") if polled_first else ("7", None):
            await each.power(1, code=41, line=line, **pair)
        assert each.manager.has_active("hq_1")
    async with opened(tmp_path, rules=rules) as each:
        assert each.manager.has_active("hq_1")
        for line in ("7", None) if polled_first else (None, "7"):
            await each.power(2, code=42, line=line, **pair)
        assert not each.manager.has_active("hq_1")
        assert await each.types() == ["raised", "cleared"]
    async with opened(tmp_path, rules=rules) as each:
        assert not each.manager.has_active("hq_1")


async def test_alarm_that_is_raised_again_and_again_flaps_and_is_announced_as_any(tmp_path: Path) -> None:
    async with opened(tmp_path) as each:
        for number in range(1, 9, 2):
            await each.power(number)
            assert not each.record.flapping
            await each.power(number + 1, cleared=True)
        await each.power(9)
        assert each.record.flapping
        each.manager._end_flapping(time.monotonic() + 601)  # noqa: SLF001
        assert not each.record.flapping
        await each.power(10, cleared=True)
        await each.have(*["raised", "cleared"] * 5)
        assert not each.manager.records


async def test_clear_that_is_read_once_more_does_not_end_the_next_occurrence(tmp_path: Path) -> None:
    async with opened(tmp_path) as each:
        await each.power(1)
        await each.power(2, cleared=True)
        await each.power(2, id="hq:3")  # at the same second
        await each.manager.acknowledge(each.record, LI)
        await each.power(2, cleared=True)
        assert each.record.acknowledged
    async with opened(tmp_path) as each:
        assert each.record.acknowledged_by == "Li"


async def test_entity_that_was_saved_before_a_crash_shows_if_an_alarm_is_active(tmp_path: Path) -> None:
    async def shows(saved: str, right: str) -> None:
        entities = (row(ALARM_ACTIVE, Component.BINARY_SENSOR),)
        async with opened(tmp_path, restored=(device(entities=entities, state={ALARM_ACTIVE: saved}),)) as each:
            assert each.registry.devices["hq_1"].state == {ALARM_ACTIVE: right}

    await shows("ON", "OFF")
    async with opened(tmp_path) as each:
        await each.power(1)
    await shows("OFF", "ON")
    async with opened(tmp_path) as each:
        await each.power(2, cleared=True)
    await shows("ON", "OFF")


async def test_shelf_that_ended_while_the_bridge_was_down_is_announced_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as each:
        await each.power(1)
        until = datetime.now(UTC) + timedelta(seconds=0.5)
        await each.manager.shelve(each.record, until, LI)
        await each.power(2, cleared=True)
        await each.power(3, device="hq_2")
        await each.manager.shelve(each.manager.records["hq_2", "power"], until, LI)
    await wait_until(lambda: datetime.now(UTC) > until, "the end of the shelf", PATIENCE)
    for _ in range(2):
        async with opened(tmp_path) as each:
            await each.have("raised", "shelved", "cleared", "raised", "shelved", "unshelved", "unshelved")
            assert (await each.events())[-2:] == [("unshelved", False)] * 2
            assert each.manager.records["hq_2", "power"].shelved_until is None
            assert not each.manager.has_active("hq_1")


async def test_raise_that_arrives_after_its_clear_is_not_active(tmp_path: Path) -> None:
    for _ in range(2):  # as it happens, then after a restart
        async with opened(tmp_path) as each:
            await each.power(5, cleared=True)
            await each.power(4)
            assert not each.manager.has_active("hq_1")
    async with opened(tmp_path) as each:
        await each.power(3)
        assert not each.manager.has_active("hq_1")
        await each.power(6)
        assert each.manager.has_active("hq_1")


async def test_two_operators_at_once_acknowledge_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as each:
        await each.power(1)
        done = await asyncio.gather(*(each.manager.acknowledge(each.record, LI) for _ in range(3)))
        assert [event is not None for event in done] == [True, False, False]
        [past] = await each.power(7, active=False, alarm_key="")
        found = [await each.manager.find(event=past.id) for _ in range(2)]
        done = await asyncio.gather(*(each.manager.acknowledge(record, LI) for record in found))
        assert [event is not None for event in done] == [True, False]


async def test_acknowledgement_during_a_clear_is_refused_and_before_it_comes_first(tmp_path: Path) -> None:
    async with opened(tmp_path) as each:
        await each.power(1)
        _, refused = await asyncio.gather(
            each.power(2, cleared=True), each.manager.acknowledge(each.record, LI), return_exceptions=True
        )
        assert isinstance(refused, CommandError)
        await each.power(3)
        await asyncio.gather(each.manager.acknowledge(each.record, LI), each.power(4, cleared=True))
        await each.have("raised", "cleared", "raised", "acknowledged", "cleared")
        await each.has_no_text()


async def test_alarm_raised_while_it_is_being_shelved_is_withheld(tmp_path: Path) -> None:
    async with opened(tmp_path) as each:
        await each.power(1)
        until = datetime.now(UTC) + timedelta(hours=1)
        await asyncio.gather(each.manager.shelve(each.record, until, LI), each.power(2))
        assert await each.events() == [("raised", False), ("shelved", False), ("raised", True)]
        assert each.record.shelved_until == until
    async with opened(tmp_path) as each:
        assert (each.record.event.id, each.record.shelved_until, each.record.announced) == ("hq:2", until, None)


async def test_shelf_of_an_ended_alarm_can_be_ended_by_its_id(tmp_path: Path) -> None:
    async with opened(tmp_path) as each:
        await each.power(1)
        await each.manager.shelve(each.record, datetime.now(UTC) + timedelta(hours=1), LI)
        await each.power(2, cleared=True)
        found = await each.manager.find(event="hq:1")
        with pytest.raises(CommandError, match="not active"):
            await each.manager.shelve(found, datetime.now(UTC) + timedelta(hours=2), LI)
        await each.manager.unshelve(found, LI)
        await each.have("raised", "shelved", "cleared", "unshelved")
        assert not each.manager.records
        await each.has_no_text()


async def test_removed_device_takes_its_shelved_alarm_with_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as each:
        await each.power(1)
        await each.manager.shelve(each.record, datetime.now(UTC) + timedelta(hours=1), LI)
        await each.power(2, cleared=True)
        await each.power(3)
        await each.hub.forget(["hq_1"])
        assert not each.manager.records
        await each.has_no_text()
        assert each.manager.counts()["shelved"]["critical"] == 0
    async with opened(tmp_path) as each:
        assert not each.manager.records


async def test_removed_device_takes_its_maintenance_windows_with_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as each:
        await each.power(1)
        await each.in_maintenance()
        await each.windows.switch(None, device(), on=True)
        backend = new_window(selector=Selector(backend="hq"), start=datetime.now(UTC), end=None)
        await each.windows.add(backend)
        await each.hub.forget(["hq_1"])
        assert [window.id for window in each.windows] == [backend.id]
        await each.power(2)
        assert each.record.suppressed_by == f"maintenance:{backend.id}"
    async with opened(tmp_path) as each:
        assert [window.id for window in each.windows] == [backend.id]


@pytest.mark.parametrize("removed", [False, True], ids=["raised", "removed"])
async def test_cancelled_poll_is_accepted_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, removed: bool
) -> None:
    """A reload cancels the poll right after the disk has what it brought."""
    async with opened(tmp_path) as each:
        if removed:
            await each.power(1)
        poll = asyncio.create_task(each.hub.forget(["hq_1"]) if removed else each.power(1))
        name = "forget" if removed else "add_all"
        store = getattr(each.outbox, name)

        async def store_and_cancel(*arguments: Any) -> Any:
            stored = await store(*arguments)
            poll.cancel()
            await asyncio.sleep(0)
            return stored

        monkeypatch.setattr(each.outbox, name, store_and_cancel)
        with pytest.raises(asyncio.CancelledError):
            await poll
        assert each.manager.has_active("hq_1") is not removed


async def test_cancelled_request_applies_the_window_that_it_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as each:
        await each.power(1)
        request = asyncio.create_task(each.in_maintenance())
        change = each.outbox.change

        async def change_and_cancel(*arguments: Any) -> Any:
            stored = await change(*arguments)
            request.cancel()
            await asyncio.sleep(0)
            return stored

        monkeypatch.setattr(each.outbox, "change", change_and_cancel)
        with pytest.raises(asyncio.CancelledError):
            await request
        [window] = each.windows
        assert each.record.suppressed_by == f"maintenance:{window.id}"


async def test_closed_alarm_is_not_cleared_once_more_and_can_be_raised_again(tmp_path: Path) -> None:
    """The vendor's clock is behind: its next alarm is older than the operator's action."""
    rules = AlarmRules(clear_after={"eEMS_NOTIFY_IPEXT_OFFLINE": 0.2})
    async with opened(tmp_path, rules=rules) as each:
        await each.power(1)
        await each.manager.close(each.record, LI)
        await each.power(2)
        await each.have("raised", "closed", "raised", "cleared")
        await each.power(9)
    async with opened(tmp_path, rules=rules) as each:
        await each.have("raised", "closed", "raised", "cleared", "raised", "cleared")
        [*_, last] = (await each.outbox.history(0, 10))[0]
        assert (last.id, last.body["raised_at"][:16]) == ("hq:9", RAISED.isoformat()[:16])


async def test_change_for_which_there_is_no_room_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, limits=OutboxLimits(rows=1)) as each:
        await each.power(1)
        with pytest.raises(OutboxFull):
            await each.manager.acknowledge(each.record, LI)
        assert not each.record.acknowledged
        await each.outbox.published([1])
        assert await each.manager.acknowledge(each.record, LI) is not None


async def test_window_about_many_alarms_ends_in_few_transactions(tmp_path: Path) -> None:
    async with opened(tmp_path) as each:
        window = await each.in_maintenance()
        many = tuple(replace(alarm(n, device="hq_1", active=True), alarm_key=f"key_{n}") for n in range(300))
        await each.hub.accept(update(device(), requested_at=1, alarms=many))
        before = each.outbox.commits
        await each.windows.remove(window)
        await each.have(*["raised"] * 300, *["unsuppressed"] * 300)
        assert each.outbox.commits - before < 20


async def test_raise_older_than_that_of_a_removed_device_is_not_active(tmp_path: Path) -> None:
    async with opened(tmp_path) as each:
        await each.power(5)
        await each.hub.forget(["hq_1"])
        await each.power(4)
        assert not each.manager.has_active("hq_1")
    async with opened(tmp_path) as each:
        assert not each.manager.has_active("hq_1")
        await each.power(6)
        assert each.manager.has_active("hq_1")


async def test_windows_stay_in_their_order_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as each:
        windows = [await each.in_maintenance() for _ in range(5)]
        await each.power(1)
        assert each.record.suppressed_by == f"maintenance:{windows[0]}"
    async with opened(tmp_path) as each:
        assert [window.id for window in each.windows] == windows
        assert each.record.suppressed_by == f"maintenance:{windows[0]}"


async def test_condition_is_active_again_after_the_clock_was_set_back(tmp_path: Path) -> None:
    def condition(hours: int) -> dict[str, Any]:
        return {"source": UpdateOrigin.CONDITION, "raised_at": RAISED + timedelta(hours=hours)}

    async with opened(tmp_path) as each:
        await each.power(1, **condition(8))
        await each.power(1, cleared=True, **condition(9))
        await each.power(2, **condition(1))
        assert each.manager.has_active("hq_1")
    async with opened(tmp_path) as each:
        assert each.record.event.id == "hq:2"
        await each.power(2, cleared=True, **condition(2))
        assert not each.manager.has_active("hq_1")
    async with opened(tmp_path) as each:
        assert not each.manager.has_active("hq_1")


async def test_disk_that_fails_while_a_device_is_removed_leaves_no_active_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handling, "DISK_RETRY_DELAY", 0)
    async with opened(tmp_path) as each:
        await each.power(1)
        await each.in_maintenance()
        await each.forget_without_disk()
        await wait_until(lambda: not each.manager.records and not each.windows, "the end of the alarm", PATIENCE)
        assert await each.outbox.active_alarms() == []


async def test_alarm_of_a_device_that_is_back_before_the_disk_works_stays_active(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handling, "DISK_RETRY_DELAY", 0.5)
    async with opened(tmp_path) as each:
        await each.power(1)
        await each.forget_without_disk()
        await each.hub.accept(update(device(), requested_at=9))
        await wait_until(lambda: not each.handling._removed, "another attempt", PATIENCE)  # noqa: SLF001
        await each.power(2, device="hq_2")
        assert each.record.event.id == "hq:1"
        assert await each.types() == ["raised", "raised"]


async def test_condition_of_a_device_that_is_not_known_can_be_closed(tmp_path: Path) -> None:
    condition = {"source": UpdateOrigin.CONDITION}
    async with opened(tmp_path) as each:
        await each.power(1, **condition)
        with pytest.raises(CommandError, match="still holds"):
            await each.manager.close(each.record, LI)
    async with opened(tmp_path) as each:  # without its inventory
        await each.manager.close(each.record, LI)
        assert not each.manager.has_active("hq_1")
