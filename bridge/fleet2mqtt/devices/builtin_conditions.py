"""Conditions of backends and of the bridge itself, whatever the platform."""

from __future__ import annotations

from fleet2mqtt.devices.builtin_entities import BACKEND_STATUS
from fleet2mqtt.devices.conditions import BACKEND, Comparison, Condition
from fleet2mqtt.devices.model import Name, Severity

BACKEND_CONDITIONS = (
    Condition(
        key="backend_unreachable",
        severity=Severity.CRITICAL,
        text=Name("The vendor system cannot be reached", "无法连接厂商系统"),
        entity=BACKEND_STATUS,
        values=("unreachable",),
        kind=BACKEND,
        unreachable=True,
    ),
    Condition(
        key="backend_denied",
        severity=Severity.CRITICAL,
        text=Name("The vendor system refuses the credentials", "厂商系统拒绝登录凭据"),
        entity=BACKEND_STATUS,
        values=("denied",),
        kind=BACKEND,
        unreachable=True,
    ),
    Condition(
        key="backend_stale",
        severity=Severity.MAJOR,
        text=Name("The vendor system repeats old data", "厂商系统返回的数据长时间未更新"),
        entity=BACKEND_STATUS,
        values=("stale",),
        kind=BACKEND,
    ),
)

OUTBOX_FILLING_SHARE = 0.5


def bridge_conditions(max_rows: int) -> tuple[Condition, ...]:
    """Return the conditions of the bridge's own device; the outbox has room for `max_rows` events."""
    return (
        Condition(
            key="outbox_filling",
            severity=Severity.MAJOR,
            text=Name("{value} alarms wait for the broker", "{value} 条告警等待发送到代理"),
            entity="outbox_depth",
            comparison=Comparison.ABOVE,
            threshold=max_rows * OUTBOX_FILLING_SHARE,
            hysteresis=max_rows * OUTBOX_FILLING_SHARE / 2,
        ),
        Condition(
            key="dead_letters",
            severity=Severity.WARNING,
            text=Name("{value} pushes could not be parsed", "{value} 条推送无法解析"),
            entity="dead_letters",
            comparison=Comparison.ABOVE,
            threshold=0,
        ),
    )
