"""Conditions of gateways and channels that compute their value."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fleet2mqtt.devices.conditions import ConditionTable
from fleet2mqtt.platforms.smart_gateway.conditions import CONDITIONS
from tests.sample_devices import device

NOW = datetime(2026, 11, 28, 8, tzinfo=UTC)


def raised(kind: str | None, **state: Any) -> set[str]:
    """The conditions that hold for a device of this kind with this state."""
    each = device(kind=kind, state=state)
    return {one.key for one in ConditionTable(CONDITIONS).of(each) if one.holds(each, active=False, now=NOW)}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"channels_up": 0, "channels_total": 2}, {"all_channels_down"}),
        ({"channels_up": 1, "channels_total": 2}, set()),
        ({"channels_up": 0, "channels_total": 0}, set()),
        ({"channels_up": None, "channels_total": 2}, set()),
        ({"channels_up": 0, "channels_total": 2, "running": "OFF"}, {"gateway_not_running"}),
    ],
)
def test_gateway_whose_channels_are_all_down(state: dict[str, Any], expected: set[str]) -> None:
    assert raised(None, **state) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"up": "OFF", "enable": "ON"}, {"channel_down"}),
        ({"up": "OFF", "enable": "OFF"}, set()),
        ({"up": None, "enable": "ON"}, set()),
        ({"remain": 0.9, "total": 10}, {"sim_volume_low"}),
        ({"remain": 2, "total": 10}, set()),
        ({"remain": None, "total": None, "remain_flow": 100, "init_flow": 2000}, {"sim_volume_low"}),
        ({"remain": 0, "total": 0}, set()),
        ({"remain": 0, "total": None}, set()),
    ],
)
def test_channel_that_is_down_or_used_up(state: dict[str, Any], expected: set[str]) -> None:
    assert raised("channel", **state) == expected
    assert raised(None, **state) - {"gateway_not_running"} == set()


def test_share_that_is_left_is_in_the_text() -> None:
    [condition] = [each for each in CONDITIONS if each.key == "sim_volume_low"]
    used = device(state={"remain": 0.125, "total": 10})
    assert condition.describe(used, "en") == "1.2 % of the SIM's plan is left, less than 10 %"
    assert condition.describe(used, "zh-Hans") == "SIM 卡套餐剩余 1.2%，低于 10%"
