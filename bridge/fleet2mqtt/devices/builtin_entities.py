"""Entity descriptions that the bridge adds: to devices with alarms, to backends, and to its own device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fleet2mqtt.devices.model import Component, Device, EntityCategory, EntityDescription, Name, Severity, Value, Write

BRIDGE = "bridge"
CONNECTIVITY = "connectivity"
EVENT = "alarm"
ALARM_ACTIVE = "alarm_active"
MAINTENANCE = "maintenance"
BACKEND_STATUS = "backend_status"
_SEVERITIES = tuple(severity.value for severity in Severity)
_CHANGES = ("acknowledged", "unacknowledged", "shelved", "unshelved", "unsuppressed", "closed")
"""Types of events about an alarm that was raised before."""

ALARM_ENTITIES = (
    EntityDescription(
        key=EVENT,
        name=Name("Alarm", "告警"),
        component=Component.EVENT,
        options=(*_SEVERITIES, *_CHANGES),
        icon="mdi:alarm-light",
        essential=True,
        local=True,
    ),
    EntityDescription(
        key=ALARM_ACTIVE,
        name=Name("Active alarm", "活动告警"),
        component=Component.BINARY_SENSOR,
        device_class="problem",
        essential=True,
        local=True,
    ),
    EntityDescription(
        key="last_alarm", name=Name("Last alarm", "最近告警"), icon="mdi:alarm-light-outline", local=True
    ),
    EntityDescription(
        key="last_alarm_time", name=Name("Last alarm time", "最近告警时间"), device_class="timestamp", local=True
    ),
    EntityDescription(
        key="last_alarm_severity",
        name=Name("Last alarm severity", "最近告警级别"),
        device_class="enum",
        options=_SEVERITIES,
        local=True,
    ),
)

COUNTER = "alarms_"

_SEVERITY_NAMES = (
    (Severity.CRITICAL, "Critical", "紧急"),
    (Severity.MAJOR, "Major", "重要"),
    (Severity.MINOR, "Minor", "一般"),
    (Severity.WARNING, "Warning", "提示"),
    (Severity.INDETERMINATE, "Indeterminate", "未定级"),
)

_COUNTERS = tuple(
    EntityDescription(
        key=COUNTER + severity,
        name=Name(f"{english} alarms", f"{chinese}告警数"),
        state_class="total_increasing",
        icon="mdi:counter",
    )
    for severity, english, chinese in _SEVERITY_NAMES
)
"""Alarms of each severity since the bridge counts, for devices whose vendor does not count them."""

COUNTS = (
    ("active", "Active alarms", "活动告警数"),
    ("unacknowledged", "Unacknowledged alarms", "未确认告警数"),
    ("shelved", "Shelved alarms", "搁置告警数"),
)
"""Counts of active alarms that backends and groups have: first part of the keys, and names."""


def _count(key: str, english: str, chinese: str, *, enabled: bool = True) -> EntityDescription:
    return EntityDescription(
        key=key,
        name=Name(english, chinese),
        state_class="measurement",
        icon="mdi:alarm-light-outline",
        enabled=enabled,
        local=True,
    )


COUNT_ENTITIES = (
    *(_count(f"{state}_alarms", english, chinese) for state, english, chinese in COUNTS),
    *(
        _count(f"{state}_alarms_{severity}", f"{english} ({name.lower()})", f"{chinese}（{zh}）", enabled=False)
        for state, english, chinese in COUNTS
        for severity, name, zh in _SEVERITY_NAMES
    ),
)
"""Active alarms of a backend or group: in all, and by severity."""

INITIAL_VALUES: Mapping[str, Value] = {
    ALARM_ACTIVE: "OFF",
    MAINTENANCE: "OFF",
    **{entity.key: 0 for entity in COUNT_ENTITIES},
}
"""Values of the bridge's own entities before there was anything."""


def count_values(counts: Mapping[str, Mapping[str, int]]) -> dict[str, Value]:
    """Return the state of the count entities for counts by state and severity."""
    values: dict[str, Value] = {}
    for state, *_ in COUNTS:
        values[f"{state}_alarms"] = sum(counts[state].values())
        values |= {f"{state}_alarms_{severity}": count for severity, count in counts[state].items()}
    return values


_COUNTED_ENTITIES = (*ALARM_ENTITIES, *_COUNTERS)

_HEALTH_ENTITIES = (
    EntityDescription(
        key="started_at",
        name=Name("Started", "启动时间"),
        value=lambda health: health["started_at"],
        device_class="timestamp",
        category=EntityCategory.DIAGNOSTIC,
    ),
    EntityDescription(
        key="outbox_depth",
        name=Name("Alarms waiting", "待发告警"),
        value=lambda health: health["outbox"]["depth"],
        state_class="measurement",
        category=EntityCategory.DIAGNOSTIC,
        icon="mdi:tray-full",
    ),
    EntityDescription(
        key="dropped",
        name=Name("Dropped messages", "丢弃消息"),
        value=lambda health: sum(health["dropped"].values()),
        state_class="total_increasing",
        category=EntityCategory.DIAGNOSTIC,
        icon="mdi:delete-alert",
    ),
    EntityDescription(
        key="dead_letters",
        name=Name("Dead letters", "死信"),
        value=lambda health: health["dead_letters"],
        state_class="measurement",
        category=EntityCategory.DIAGNOSTIC,
        icon="mdi:email-alert",
    ),
    EntityDescription(
        key="mqtt_reconnects",
        name=Name("MQTT reconnects", "MQTT 重连次数"),
        value=lambda health: health["mqtt"]["reconnects"],
        state_class="total_increasing",
        category=EntityCategory.DIAGNOSTIC,
        enabled=False,
        icon="mdi:connection",
    ),
)

BACKEND_STATUSES = ("ok", "unreachable", "denied", "stale")
"""States of a backend: its primary sources work; fail; are refused its credentials; repeat the same old data."""

_GROUP_COUNTS = (
    ("devices_online", "Devices online", "在线设备数", "mdi:lan-connect"),
    ("devices_offline", "Devices offline", "离线设备数", "mdi:lan-disconnect"),
    ("devices_with_alarms", "Devices with active alarms", "有活动告警的设备数", "mdi:alarm-light-outline"),
)

GROUP_ENTITIES = (
    *(
        EntityDescription(key=key, name=Name(english, chinese), essential=True, state_class="measurement", icon=icon)
        for key, english, chinese, icon in _GROUP_COUNTS
    ),
    *COUNT_ENTITIES,
)
"""Entities of a group device."""

MAX_STATE = 255


def last_alarm(body: Mapping[str, Any]) -> dict[str, Value]:
    """Return the state of the last alarm entities for the body of an alarm event."""
    text = body["description"] or body["description_en"] or body["name"]
    return {
        "last_alarm": str(text)[:MAX_STATE],
        "last_alarm_time": body["raised_at"],
        "last_alarm_severity": body["severity"],
    }


def maintenance_switch(write: Write) -> EntityDescription:
    """Return the switch that opens a maintenance window for a device and what is connected through it."""
    return EntityDescription(
        key=MAINTENANCE,
        name=Name("Maintenance", "维护模式"),
        component=Component.SWITCH,
        write=write,
        category=EntityCategory.CONFIG,
        icon="mdi:wrench-clock",
        local=True,
    )


def backend_entities(refresh: Write) -> tuple[EntityDescription, ...]:
    """Return the entities of a backend's own device: connectivity, status, and a button that polls everything now."""
    return (
        EntityDescription(
            key=CONNECTIVITY,
            name=Name("Connectivity", "连接"),
            component=Component.BINARY_SENSOR,
            device_class="connectivity",
            category=EntityCategory.DIAGNOSTIC,
        ),
        EntityDescription(
            key=BACKEND_STATUS,
            name=Name("Backend status", "后端状态"),
            device_class="enum",
            options=BACKEND_STATUSES,
            category=EntityCategory.DIAGNOSTIC,
        ),
        EntityDescription(
            key="refresh",
            name=Name("Refresh", "刷新"),
            component=Component.BUTTON,
            write=refresh,
            category=EntityCategory.DIAGNOSTIC,
            icon="mdi:refresh",
        ),
    )


def bridge_entities(announce: Write) -> tuple[EntityDescription, ...]:
    """Return the entities of the bridge's own device, read from `bridge/health`."""
    button = EntityDescription(
        key="announce",
        name=Name("Announce again", "重新发布"),
        component=Component.BUTTON,
        write=announce,
        category=EntityCategory.DIAGNOSTIC,
        icon="mdi:bullhorn",
    )
    return (*_HEALTH_ENTITIES, button)


def is_backend(device: Device) -> bool:
    """Return True for a backend's own device."""
    return device.id == device.backend


def added_entities(
    refresh: Write, switch_maintenance: Write, has_conditions: Callable[[Device], bool] = lambda _: False
) -> Callable[[Device], tuple[EntityDescription, ...]]:
    """Return the function that returns the entities which the bridge adds to a platform's device.

    `has_conditions` says whether the bridge itself may raise alarms for a device.
    """
    switch = maintenance_switch(switch_maintenance)
    of_backend = (*backend_entities(refresh), switch, *ALARM_ENTITIES, *COUNT_ENTITIES)
    of_device = {entities: (*entities, switch) for entities in (ALARM_ENTITIES, _COUNTED_ENTITIES)}

    def entities(device: Device) -> tuple[EntityDescription, ...]:
        if is_backend(device):
            return of_backend
        if device.alarms:
            found = ALARM_ENTITIES if device.counts_alarms else _COUNTED_ENTITIES
        elif has_conditions(device):
            found = ALARM_ENTITIES
        else:
            return ()
        return found if device.kind is not None or device.id == BRIDGE else of_device[found]

    return entities
