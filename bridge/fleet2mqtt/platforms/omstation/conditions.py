"""Conditions of compartments, their locks, and stations."""

from __future__ import annotations

from fleet2mqtt.devices.conditions import Comparison, Condition
from fleet2mqtt.devices.model import Name, Severity

CONDITIONS = (
    Condition(
        key="compartment_failure",
        severity=Severity.MAJOR,
        text=Name("The compartment reports a failure", "格口故障"),
        entity="is_failure",
    ),
    Condition(
        key="power_lost",
        severity=Severity.MAJOR,
        text=Name("The lock in the compartment is not charged", "格口内的锁未接通电源"),
        entity="connect_power",
        values=("OFF",),
        requires={"occupied": "ON"},
    ),
    Condition(
        key="low_inventory",
        severity=Severity.MINOR,
        text=Name("{value} locks are available, fewer than {threshold}", "可用锁 {value} 把，少于 {threshold} 把"),
        entity="sum_available_count",
        comparison=Comparison.BELOW,
        threshold=1,
        hysteresis=1,
    ),
    Condition(
        key="lock_battery_low",
        severity=Severity.MINOR,
        text=Name("The lock's battery is at {value} %", "锁电量 {value}%"),
        entity="lock_battery",
        comparison=Comparison.BELOW,
        threshold=20,
        hysteresis=10,
    ),
)
