"""Conditions of the appliance: load, and its rule libraries with their update licences; of policies: their expiry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from fnmatch import fnmatchcase

from fleet2mqtt.devices.conditions import Comparison, Condition
from fleet2mqtt.devices.model import Device, Name, Severity, Value
from fleet2mqtt.platforms.sangfor_ac.models import NetPolicy
from fleet2mqtt.sdk.vendor_json import iso

DAY = 86_400


def _values(device: Device, pattern: str) -> Iterator[Value]:
    return (value for key, value in device.state.items() if value is not None and fnmatchcase(key, pattern))


NEVER = "9999-12-31T00:00:00+00:00"


def _first_licence_end(device: Device) -> Value:
    """Return when the first update licence ends that has not, ISO 8601, NEVER if all have; None if none is known."""
    ends = {
        key.removesuffix("_expire"): value
        for key, value in device.state.items()
        if isinstance(value, str) and fnmatchcase(key, "library_*_expire")
    }
    ahead = (value for library, value in ends.items() if device.state.get(f"{library}_is_expired") != "ON")
    return min(ahead, default=NEVER) if ends else None


def _is_outdated(device: Device) -> Value:
    """Return ON if a rule library has a newer version."""
    found = [
        value["installed_version"] != value["latest_version"]
        for value in _values(device, "library_*_update")
        if isinstance(value, dict) and value.keys() >= {"installed_version", "latest_version"}
    ]
    return ("ON" if any(found) else "OFF") if found else None


def _is_licence_expired(device: Device) -> Value:
    found = list(_values(device, "library_*_is_expired"))
    return ("ON" if "ON" in found else "OFF") if found else None


def _policy_end(device: Device) -> Value:
    """Return when a policy expires, ISO 8601, NEVER for one that does not; None where that is not known."""
    if not isinstance(device.record, NetPolicy):  # not read since the start
        return None
    if (end := device.record.policy_info.expires) is None:
        # 永久生效, in the AC's language
        text = device.record.policy_info.expire
        return NEVER if text and not any(map(str.isdigit, text)) else None
    # A date alone is the last day.
    return iso(end + timedelta(days=1) if len(device.record.policy_info.expire or "") == len("2026-12-31") else end)


def _usage(key: str, entity: str, en: str, zh: str, threshold: float) -> Condition:
    return Condition(
        key=key,
        severity=Severity.MAJOR,
        text=Name(f"{en}: {{value}} %, above {{threshold}} %", f"{zh} {{value}}%，高于 {{threshold}}%"),
        entity=entity,
        comparison=Comparison.ABOVE,
        threshold=threshold,
        hysteresis=5,
        on_delay=300,
    )


CONDITIONS = (
    _usage("cpu_above", "cpu_usage", "CPU usage", "CPU 使用率", 90),
    _usage("memory_above", "mem_usage", "Memory usage", "内存使用率", 90),
    _usage("disk_above", "disk_usage", "Disk usage", "磁盘使用率", 90),
    Condition(
        key="licence_expiring",
        severity=Severity.WARNING,
        text=Name("An update licence of a rule library ends on {value}", "规则库升级授权将于 {value} 到期"),
        entity="library_*_expire",
        value=_first_licence_end,
        computed="the first `library_*_expire` of those that are not expired",
        comparison=Comparison.WITHIN,
        threshold=30 * DAY,
    ),
    Condition(
        key="licence_expired",
        severity=Severity.MAJOR,
        text=Name("The update licence of a rule library has expired", "规则库升级授权已过期"),
        entity="library_*_is_expired",
        value=_is_licence_expired,
        computed="a `library_*_is_expired` is `ON`",
    ),
    Condition(
        key="library_outdated",
        severity=Severity.WARNING,
        text=Name("A rule library is not at its newest version", "规则库不是最新版本"),
        entity="library_*_update",
        value=_is_outdated,
        computed="a `library_*_update` has a newer version",
        on_delay=DAY,
    ),
    Condition(
        key="policy_expired",
        severity=Severity.MINOR,
        text=Name("The policy expired on {value}", "策略已于 {value} 过期"),
        entity="status",
        value=_policy_end,
        computed="the policy's `expire`",
        kind="net_policy",
        comparison=Comparison.WITHIN,
        threshold=0,
    ),
)
