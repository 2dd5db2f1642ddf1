"""Conditions of the appliance: load, licences and rule libraries; of policies and channels: their expiry."""

from __future__ import annotations

from fleet2mqtt.devices.conditions import Comparison, Condition
from fleet2mqtt.devices.model import Name, Severity


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
)
