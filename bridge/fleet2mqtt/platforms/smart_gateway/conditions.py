"""Conditions of gateways and channels."""

from __future__ import annotations

from fleet2mqtt.devices.conditions import Comparison, Condition
from fleet2mqtt.devices.model import Name, Severity

CONDITIONS = (
    Condition(
        key="gateway_not_running",
        severity=Severity.CRITICAL,
        text=Name("The gateway is not running", "网关未运行"),
        entity="running",
        values=("OFF",),
        unreachable=True,
    ),
    Condition(
        key="round_trip_above",
        severity=Severity.WARNING,
        text=Name("Round-trip time {value} ms, above {threshold} ms", "往返时延 {value} 毫秒，高于 {threshold} 毫秒"),
        entity="rtt",
        comparison=Comparison.ABOVE,
        threshold=500,
        hysteresis=100,
        on_delay=300,
        off_delay=300,
    ),
)
