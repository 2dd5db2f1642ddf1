"""Conditions about rule libraries, their licences and policies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fleet2mqtt.devices.conditions import ConditionTable
from fleet2mqtt.platforms.sangfor_ac.conditions import CONDITIONS
from fleet2mqtt.platforms.sangfor_ac.models import NetPolicy
from tests.sample_devices import device

NOW = datetime(2026, 11, 28, 8, tzinfo=UTC)


def raised(**about: Any) -> set[str]:
    """The conditions that hold for a device."""
    each = device(**about)
    return {one.key for one in ConditionTable(CONDITIONS).of(each) if one.holds(each, active=False, now=NOW)}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"library_url_expire": "2027-11-28T00:00:00+08:00"}, set()),
        (
            {"library_url_expire": "2027-11-28T00:00:00+08:00", "library_app_expire": "2026-12-20T00:00:00+08:00"},
            {"licence_expiring"},
        ),
        (
            {"library_url_expire": "2026-11-28T00:00:00+08:00", "library_url_is_expired": "ON"},
            {"licence_expired"},
        ),
        (
            {
                "library_url_expire": "2026-11-28T00:00:00+08:00",
                "library_url_is_expired": "ON",
                "library_app_expire": "2026-12-20T00:00:00+08:00",
                "library_app_is_expired": "OFF",
            },
            {"licence_expired", "licence_expiring"},
        ),
        ({"library_url_expire": "2026-11-28T00:00:00+08:00"}, {"licence_expiring"}),  # as long as the AC says no more
        ({"library_url_expire": None}, set()),
        ({"library_url_is_expired": "OFF", "library_app_is_expired": "ON"}, {"licence_expired"}),
        ({"library_url_is_expired": "OFF", "library_app_is_expired": None}, set()),
        ({"library_url_update": {"installed_version": "1", "latest_version": "2"}}, {"library_outdated"}),
        ({"library_url_update": {"installed_version": "2", "latest_version": "2"}}, set()),
        ({"library_url_update": None}, set()),
    ],
)
def test_rule_libraries(state: dict[str, Any], expected: set[str]) -> None:
    assert raised(state=state) == expected


@pytest.mark.parametrize(
    ("expire", "expected"),
    [
        ("永久生效", set()),
        (None, set()),
        ("2026-11-28", set()),  # its last day
        ("2026-11-27", {"policy_expired"}),
        ("2026-11-28 07:00:00", {"policy_expired"}),
        ("2026-11-28 09:00:00", set()),
    ],
)
def test_policy_that_has_expired(expire: str | None, expected: set[str]) -> None:
    policy = NetPolicy.model_validate({"policy_info": {"name": "p", "expire": expire}})
    assert raised(kind="net_policy", state={"status": "ON"}, record=policy) == expected
    assert raised(kind="net_policy", state={"status": "ON"}, record=None) == set()


@pytest.mark.parametrize(
    ("expire", "holds"), [("永久生效", False), ("2027-01-01", False), ("31/12", None), (None, None)]
)
def test_alarm_of_an_expired_policy_ends_when_it_is_extended(expire: str | None, holds: bool | None) -> None:
    [condition] = [each for each in CONDITIONS if each.key == "policy_expired"]
    policy = NetPolicy.model_validate({"policy_info": {"name": "p", "expire": expire}})
    about = device(kind="net_policy", state={"status": "ON"}, record=policy)
    assert condition.holds(about, active=True, now=NOW) is holds
