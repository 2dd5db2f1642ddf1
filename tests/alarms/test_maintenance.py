"""Maintenance windows: once and recurring, across changes of the clock, selectors, storage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.alarms import maintenance
from fleet2mqtt.alarms.maintenance import MaintenanceWindow, MaintenanceWindows, Selector
from fleet2mqtt.devices.selection import Rule
from fleet2mqtt.errors import CommandError
from fleet2mqtt.outbox import open_outbox
from tests.sample_devices import device

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 3, 28, 22, tzinfo=UTC)
HOUR = timedelta(hours=1)
DEVICE = Selector(device="hq_1")


def window(**changes: Any) -> MaintenanceWindow:
    values: dict[str, Any] = {"id": "w", "selector": DEVICE, "start": START, "end": START + 2 * HOUR}
    return MaintenanceWindow(**(values | changes))


def test_window_is_active_from_start_to_end() -> None:
    once = window()
    moments = (START - HOUR, START, START + HOUR, START + 2 * HOUR)
    assert [once.is_active(moment) for moment in moments] == [False, True, True, False]
    assert [once.next_change(moment) for moment in moments] == [START, START + 2 * HOUR, START + 2 * HOUR, None]
    assert [once.is_over(moment) for moment in moments] == [False, False, False, True]


def test_window_without_end_lasts() -> None:
    lasting = window(end=None)
    assert lasting.is_active(START + 9999 * HOUR)
    assert (lasting.next_change(START + HOUR), lasting.is_over(START + HOUR)) == (None, False)


def test_recurring_window_comes_again() -> None:
    daily = window(recurrence="FREQ=DAILY;COUNT=3")
    day = timedelta(days=1)
    assert [daily.is_active(START + n * day + HOUR) for n in range(4)] == [True, True, True, False]
    assert daily.next_change(START + 3 * HOUR) == START + day
    assert daily.is_over(START + 3 * day)
    assert not daily.is_over(START + HOUR)


def test_recurring_window_keeps_its_local_time_when_clocks_change() -> None:
    # Clocks went forward in Berlin on 29 March 2026.
    start = datetime.fromisoformat("2026-03-28T22:00:00+01:00")
    daily = window(start=start, end=start + HOUR, recurrence="FREQ=DAILY", time_zone="Europe/Berlin")
    assert daily.next_change(start + 2 * HOUR) == datetime.fromisoformat("2026-03-29T22:00:00+02:00")
    fixed = window(start=start, end=start + HOUR, recurrence="FREQ=DAILY")
    assert fixed.next_change(start + 2 * HOUR) == start + timedelta(days=1)


def test_until_of_a_rule_is_in_utc() -> None:
    start = datetime.fromisoformat("2026-11-01T08:00:00+08:00")
    daily = window(start=start, end=start + HOUR, recurrence="FREQ=DAILY;UNTIL=20261102T000000Z")
    assert daily.is_active(datetime.fromisoformat("2026-11-02T08:30:00+08:00"))
    assert not daily.is_active(datetime.fromisoformat("2026-11-03T08:30:00+08:00"))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"end": START}, "end must be after start"),
        ({"recurrence": "FREQ=DAILY", "end": None}, "needs an end"),
        ({"recurrence": "every day"}, "RFC 5545"),
        ({"recurrence": "FREQ=SOMETIMES"}, "RFC 5545"),
        ({"recurrence": "FREQ=MINUTELY"}, "hourly"),
        ({"recurrence": "DTSTART:20260101\nRRULE:FREQ=DAILY"}, "RFC 5545"),
        ({}, "over already"),
    ],
)
def test_wrong_window_is_refused(changes: dict[str, Any], problem: str) -> None:
    valid: dict[str, Any] = {"selector": DEVICE, "start": START, "end": START + HOUR}
    with pytest.raises(ValueError, match=problem):
        maintenance.new_window(**(valid | changes))


def test_selector_includes_what_is_connected_through_a_device() -> None:
    gateway, line = device("hq_1", groups={"1": "North"}), device("hq_1_line", via="hq_1", kind="line")
    chain = (line, gateway)
    assert all(each.matches(chain) for each in (DEVICE, Selector(backend="hq"), Selector(rule=Rule(group="north"))))
    assert not any(each.matches(chain) for each in (Selector(device="hq_2"), Selector(rule=Rule(group="south"))))
    assert not Selector(device="hq_1_line").matches((gateway,))
    assert Selector(rule=Rule(kind="line")).matches(chain)
    assert not Selector(rule=Rule(kind="line")).matches((gateway,))


@pytest.mark.parametrize("given", [{}, {"devices": "hq_1"}])
def test_wrong_selector_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="device"):
        maintenance.selector(given)


def test_window_is_restored_as_it_was() -> None:
    whole = window(
        selector=Selector(backend="hq", rule=Rule(name="Branch*")),
        recurrence="FREQ=DAILY",
        time_zone="Asia/Shanghai",
        operator="Li",
        text="cables",
    )
    assert maintenance.restore(whole.json()) == whole


async def test_switch_opens_and_ends_a_window_that_outlives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    async with open_outbox(path) as outbox:
        await MaintenanceWindows(outbox).switch(None, device(), on=True)
    async with open_outbox(path) as outbox:
        windows = MaintenanceWindows(outbox)
        windows.restore(await outbox.managed())
        assert [each.id for each in windows.active(datetime.now(UTC))] == ["switch:hq_1"]
        await windows.switch(None, device(), on=False)
        assert (list(windows), await outbox.managed()) == ([], {})


async def test_switch_does_not_end_a_window_that_an_operator_made(tmp_path: Path) -> None:
    async with open_outbox(tmp_path / "outbox.sqlite") as outbox:
        windows = MaintenanceWindows(outbox)
        now = datetime.now(UTC)
        await windows.add(window(start=now, end=now + HOUR))
        with pytest.raises(CommandError, match="in maintenance by w"):
            await windows.switch(None, device(), on=False)


async def test_windows_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "MAX_WINDOWS", 1)
    async with open_outbox(tmp_path / "outbox.sqlite") as outbox:
        windows = MaintenanceWindows(outbox)
        await windows.add(window(end=None))
        with pytest.raises(CommandError, match="there are 1"):
            await windows.add(window(id="other"))


async def test_window_that_is_over_is_dropped(tmp_path: Path) -> None:
    async with open_outbox(tmp_path / "outbox.sqlite") as outbox:
        windows = MaintenanceWindows(outbox)
        await windows.add(window())
        await windows.drop_over(START + HOUR)
        assert len(list(windows)) == 1
        await windows.drop_over(START + 3 * HOUR)
        assert (list(windows), await outbox.managed()) == ([], {})
