"""The conditions: alarms that the bridge raises and clears itself from the values of a device. Data only."""

from __future__ import annotations

from fleet2mqtt.devices.conditions import Comparison, Condition
from fleet2mqtt.devices.model import Name, Severity

# Enabled by default only where the vendor's own wording is unambiguous: this one names 85 °C as the limit (section 3).
CONDITIONS = (
    Condition(
        key="relay_too_hot",  # public and permanent: the alarm type, and part of topics and options
        severity=Severity.MAJOR,
        text=Name("{value} °C, above {threshold}", "{value}°C，高于 {threshold}"),
        entity="temperature",  # the key of an entity, also of one that is disabled
        comparison=Comparison.ABOVE,
        threshold=85,
        hysteresis=5,  # clears at 80
        on_delay=60,
    ),
)
