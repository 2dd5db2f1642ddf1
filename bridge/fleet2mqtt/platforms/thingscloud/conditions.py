"""Conditions of devices; which of them matter to an operator only the operator knows, so none is enabled by default."""

from __future__ import annotations

from fleet2mqtt.devices.conditions import Condition
from fleet2mqtt.devices.model import Name, Severity

CONDITIONS = (
    Condition(
        key="device_offline",
        severity=Severity.MAJOR,
        text=Name("The device is offline", "设备离线"),
        entity="online",
        values=("OFF",),
        on_delay=60,
        enabled=False,  # battery-powered devices sleep: enabled for groups by `for:`
        unreachable=True,
    ),
)
