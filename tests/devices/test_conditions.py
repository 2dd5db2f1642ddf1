"""Conditions: comparison with hysteresis, what they require, and options for all devices and for selected ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleet2mqtt.devices.conditions import Comparison, Condition, ConditionOptions, ConditionTable
from fleet2mqtt.devices.model import Name, Severity
from fleet2mqtt.devices.selection import Rule
from tests.sample_devices import device

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def condition(**changes: Any) -> Condition:
    values: dict[str, Any] = {"key": "hot", "severity": Severity.MAJOR, "text": Name("{value}/{threshold}", "热")}
    return Condition(**({"entity": "signal"} | values | changes))


def holds(each: Condition, value: Any, *, active: bool = False, **other: Any) -> bool | None:
    return each.holds(device(state={"signal": value, **other}), active=active, now=NOW)


@pytest.mark.parametrize(
    ("value", "active", "expected"),
    [(61, False, True), (60, False, False), (59, True, True), (58, True, False), (None, True, None), ("x", True, None)],
)
def test_above_with_hysteresis(value: Any, active: bool, expected: bool | None) -> None:
    above = condition(comparison=Comparison.ABOVE, threshold=60, hysteresis=2)
    assert holds(above, value, active=active) is expected


@pytest.mark.parametrize(("value", "active", "expected"), [(9, False, True), (11, True, True), (12, True, False)])
def test_below_with_hysteresis(value: Any, active: bool, expected: bool) -> None:
    below = condition(comparison=Comparison.BELOW, threshold=10, hysteresis=2)
    assert holds(below, value, active=active) is expected


@pytest.mark.parametrize(("days", "expected"), [(29, True), (31, False), (-1, True)])
def test_timestamp_within_seconds(days: int, expected: bool) -> None:
    within = condition(comparison=Comparison.WITHIN, threshold=30 * 86400)
    assert holds(within, (NOW + timedelta(days=days)).isoformat()) is expected


def test_timestamp_older_than_seconds() -> None:
    older = condition(comparison=Comparison.OLDER, threshold=3600)
    assert holds(older, (NOW - timedelta(hours=2)).isoformat()) is True
    assert holds(older, (NOW - timedelta(minutes=2)).isoformat()) is False
    assert holds(older, "2026-11-28 08:00") is None
    assert holds(older, "never") is None


@pytest.mark.parametrize(("enable", "expected"), [("ON", True), ("OFF", False), (None, None)])
def test_condition_requires_the_value_of_another_key(enable: str | None, expected: bool | None) -> None:
    assert holds(condition(values=(0,), requires={"enable": "ON"}), 0, enable=enable) is expected


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        ("2026-12-20T00:00:00+08:00", "2026-12-20"),
        ("2026-12-20T09:30:15.250+08:00", "2026-12-20 09:30"),
        ("soon", "soon"),
    ],
)
def test_text_names_a_time_to_the_minute_in_its_own_zone(moment: str, shown: str) -> None:
    within = condition(comparison=Comparison.WITHIN, threshold=60)
    assert within.describe(device(state={"signal": moment}), "en") == f"{shown}/60"


def test_text_names_value_and_threshold() -> None:
    above = condition(comparison=Comparison.ABOVE, threshold=60)
    assert above.describe(device(state={"signal": 61.5}), "en") == "61.5/60"
    assert above.describe(device(state={"signal": 61.5}), "zh-Hans") == "热"


def test_options_for_the_backend_win_over_those_for_all() -> None:
    table = ConditionTable(
        (condition(),),
        {"hot": ConditionOptions(severity=Severity.MINOR, on_delay=1)},
        {"hot": ConditionOptions(on_delay=2)},
    )
    [each] = table.of(device())
    assert (each.severity, each.on_delay) == (Severity.MINOR, 2)


def test_options_for_every_condition_give_way_to_those_of_one() -> None:
    table = ConditionTable(
        (condition(), condition(key="other")),
        {"hot": ConditionOptions(enabled=True), "*": ConditionOptions(enabled=False)},
    )
    assert [each.key for each in table.of(device())] == ["hot"]


def test_selector_matches_the_device_or_one_that_it_is_connected_through() -> None:
    lab = ConditionOptions(rule=Rule(group="Lab*"), enabled=False)
    table = ConditionTable((condition(),), {"hot": ConditionOptions(selectors=(lab,))})
    gateway = device("hq_2", groups={"1": "Lab 1"})
    assert table.of(gateway) == ()
    assert table.of(device("hq_2_line", via="hq_2", kind="line"), gateway) == ()
    assert len(table.of(device())) == 1


def test_selector_enables_a_condition_for_some_devices_only() -> None:
    vip = ConditionOptions(rule=Rule(name="vip*"), enabled=True)
    table = ConditionTable((condition(enabled=False),), {"hot": ConditionOptions(selectors=(vip,))})
    assert table.of(device()) == ()
    assert len(table.of(device(name="VIP 1"))) == 1


def test_condition_of_the_operators_own() -> None:
    table = ConditionTable((), {"weak": ConditionOptions(entity="signal", below=-80, severity=Severity.WARNING)})
    [each] = table.of(device())
    assert (each.key, each.severity, each.threshold) == ("weak", Severity.WARNING, -80)
    assert each.describe(device(), "en") == "signal is -60, below -80"
    assert holds(each, -90) is True


def test_condition_is_about_devices_that_have_the_entity() -> None:
    table = ConditionTable((condition(entity="none"), condition(key="line", kind="line")))
    assert not table.covers(device())
    assert table.covers(device(kind="line"))
