"""Entity descriptions that the bridge adds: to devices with alarms, to backends, and to its own device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fleet2mqtt.devices.model import Component, Device, EntityCategory, EntityDescription, Name, Severity, Value, Write

BRIDGE = "bridge"
CONNECTIVITY = "connectivity"
EVENT = "alarm"
_SEVERITIES = tuple(severity.value for severity in Severity)

ALARM_ENTITIES = (
    EntityDescription(
        key=EVENT, name=Name("Alarm", "告警"), component=Component.EVENT, options=_SEVERITIES, icon="mdi:alarm-light"
    ),
    EntityDescription(key="last_alarm", name=Name("Last alarm", "最近告警"), icon="mdi:alarm-light-outline"),
    EntityDescription(key="last_alarm_time", name=Name("Last alarm time", "最近告警时间"), device_class="timestamp"),
    EntityDescription(
        key="last_alarm_severity",
        name=Name("Last alarm severity", "最近告警级别"),
        device_class="enum",
        options=_SEVERITIES,
    ),
)

COUNTER = "alarms_"

_COUNTERS = tuple(
    EntityDescription(
        key=COUNTER + severity,
        name=Name(f"{english} alarms", f"{chinese}告警数"),
        state_class="total_increasing",
        icon="mdi:counter",
    )
    for severity, english, chinese in (
        (Severity.CRITICAL, "Critical", "紧急"),
        (Severity.MAJOR, "Major", "重要"),
        (Severity.MINOR, "Minor", "一般"),
        (Severity.WARNING, "Warning", "提示"),
        (Severity.INDETERMINATE, "Indeterminate", "未定级"),
    )
)
"""Alarms of each severity since the bridge counts, for devices whose vendor does not count them."""

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

_GROUP_COUNTS = (
    ("devices_online", "Devices online", "在线设备数", "mdi:lan-connect"),
    ("devices_offline", "Devices offline", "离线设备数", "mdi:lan-disconnect"),
    ("devices_with_alarms", "Devices with active alarms", "有活动告警的设备数", "mdi:alarm-light-outline"),
)

GROUP_ENTITIES = tuple(
    EntityDescription(key=key, name=Name(english, chinese), essential=True, state_class="measurement", icon=icon)
    for key, english, chinese, icon in _GROUP_COUNTS
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


def backend_entities(refresh: Write) -> tuple[EntityDescription, ...]:
    """Return the entities of a backend's own device: connectivity, and a button that polls everything now."""
    return (
        EntityDescription(
            key=CONNECTIVITY,
            name=Name("Connectivity", "连接"),
            component=Component.BINARY_SENSOR,
            device_class="connectivity",
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


def added_entities(refresh: Write) -> Callable[[Device], tuple[EntityDescription, ...]]:
    """Return the function that returns the entities which the bridge adds to a platform's device."""
    of_backend = backend_entities(refresh)

    def entities(device: Device) -> tuple[EntityDescription, ...]:
        if is_backend(device):
            return of_backend
        if not device.alarms:
            return ()
        return ALARM_ENTITIES if device.counts_alarms else _COUNTED_ENTITIES

    return entities
