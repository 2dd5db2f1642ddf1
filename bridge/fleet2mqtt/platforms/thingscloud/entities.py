"""Entity descriptions of devices and of the project, except those of a device's attributes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

from fleet2mqtt.devices.model import Component, Device, EntityCategory, EntityDescription, Name, Value, on_off
from fleet2mqtt.platforms.thingscloud.attributes import shorten, to_text, whole_value
from fleet2mqtt.platforms.thingscloud.models import DeviceRecord, DeviceWriter, ExtendInfo, JsonObject, ProjectRecord
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.vendor_json import iso

MANUFACTURER: Final = "ThingsCloud"
TITLE: Final = "ThingsCloud"
EVENT: Final = "last_event"
EVENT_TYPE: Final = "event"
REPLY_TYPE: Final = "reply"
DATA_TYPE: Final = "data"
"""The types: methods of devices are free texts, and Home Assistant accepts only announced types."""
SCHEMA_SOURCE, STAT_SOURCE, META_SOURCE = "schema", "stat", "meta"

DeviceEntity: TypeAlias = EntityDescription[DeviceRecord, DeviceWriter]
ProjectEntity: TypeAlias = EntityDescription[ProjectRecord, DeviceWriter]


def alarm_status(alarm: JsonObject) -> bool | None:
    """Return whether the undocumented `alarm` of a device shows an active alarm; None without a status."""
    status = next((alarm[key] for key in ("status", "alarm_status", "alerting") if alarm.get(key) is not None), None)
    if status is not None:
        number = vendor_json.number(status)
        return number > 0 if number is not None else vendor_json.boolean(status)
    level = vendor_json.number(alarm.get("level") if alarm.get("level") is not None else alarm.get("alarm_level"))
    return None if level is None else level > 0


def _last_active(record: DeviceRecord) -> str | None:
    return iso(max(_message_times(record).values(), default=None))


def _message_times(record: DeviceRecord) -> dict[str, datetime]:
    """Return the time of the last message of each kind."""
    times = {}
    for kind, value in record.info.active.items():
        at = vendor_json.timestamp(value.get("ts") if isinstance(value, dict) else value, record.zone)
        if at is not None:
            times[kind] = at
    return times


def _device_attributes(record: DeviceRecord) -> Mapping[str, Any]:
    info = record.info
    attributes: dict[str, Any] = {
        "descr": info.descr,
        "tags": info.tags,
        "groups": list(record.groups),
        "create_time": iso(info.create_time),
        "conn_type": info.type_info.conn_type,
        "conn_protocol": info.type_info.conn_protocol,
    }
    return {key: value for key, value in attributes.items() if value}


async def _write_name(writer: DeviceWriter, device: Device, value: str) -> None:
    await writer.write_name(device, value)


DEVICE_ENTITIES: tuple[DeviceEntity, ...] = (
    EntityDescription(
        key="online",
        name=Name("Online", "在线"),
        component=Component.BINARY_SENSOR,
        value=lambda record: on_off(record.info.online),
        exists=lambda _: True,
        attributes=_device_attributes,
        essential=True,
        device_class="connectivity",
    ),
    EntityDescription(
        key="problem",
        name=Name("Problem", "告警状态"),
        component=Component.BINARY_SENSOR,
        value=lambda record: on_off(record.alarming),
        exists=lambda _: True,
        attributes=lambda record: record.info.alarm or None,
        essential=True,
        device_class="problem",
    ),
    EntityDescription(
        key="active",
        name=Name("Last active", "最近活跃时间"),
        value=_last_active,
        exists=lambda _: True,
        attributes=lambda record: {kind: iso(at) for kind, at in _message_times(record).items()},
        device_class="timestamp",
        category=EntityCategory.DIAGNOSTIC,
    ),
    EntityDescription(
        key="name",
        name=Name("Name", "名称"),
        component=Component.TEXT,
        value=lambda record: record.info.name or "",
        write=_write_name,
        category=EntityCategory.CONFIG,
        enabled=False,
        minimum=1,
        icon="mdi:rename-outline",
    ),
    EntityDescription(
        key=EVENT,
        name=Name("Event", "事件"),
        component=Component.EVENT,
        exists=lambda _: True,
        options=(EVENT_TYPE, REPLY_TYPE, DATA_TYPE),
        icon="mdi:bell-ring-outline",
    ),
)


def build_extended_entity(key: str, info: ExtendInfo) -> DeviceEntity:
    """Build the entity description of an extended information, which is identified by its id."""
    name = info.name or info.info_type or info.id or ""

    def content(record: DeviceRecord) -> Any:
        return next((item.value for item in record.extended if item.id == info.id), None)

    def value(record: DeviceRecord) -> Value:
        raw = content(record)
        if raw is None or isinstance(raw, int | float):
            return on_off(raw) if isinstance(raw, bool) else raw
        return raw if isinstance(raw, str) else shorten(to_text(raw))

    def attributes(record: DeviceRecord) -> Mapping[str, Any] | None:
        raw = content(record)
        return whole_value(raw) if isinstance(raw, dict | list) else None

    return EntityDescription(
        key=key,
        name=Name(name, name),
        value=value,
        exists=lambda _: True,
        attributes=attributes,
        source=SCHEMA_SOURCE,
        category=EntityCategory.DIAGNOSTIC,
        enabled=False,
        icon="mdi:information-outline",
    )


def _total(part: str, key: str, name: Name, icon: str) -> ProjectEntity:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda record: getattr(getattr(record, part), key),
        exists=lambda record: key in getattr(record, part).model_fields_set,
        source=STAT_SOURCE,
        state_class="measurement",
        icon=icon,
    )


def _list_length(key: str, name: Name, icon: str) -> ProjectEntity:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda record: None if getattr(record, key) is None else len(getattr(record, key)),
        attributes=lambda record: _names_by_id(getattr(record, key)),
        source=META_SOURCE,
        state_class="measurement",
        category=EntityCategory.DIAGNOSTIC,
        enabled=False,
        icon=icon,
    )


def _names_by_id(items: Any) -> Mapping[str, Any] | None:
    if not isinstance(items, tuple):
        return items or None
    return {item.id: item.name for item in items if item.id}


def _has_major_alarms(record: ProjectRecord) -> str | None:
    counts = record.alarms.alarm_2_total, record.alarms.alarm_3_total
    return None if counts == (None, None) else on_off(sum(filter(None, counts)) > 0)


DEVICES_STAT_ENTITIES: tuple[ProjectEntity, ...] = (
    _total("stat", "device_total", Name("Devices", "总设备数"), "mdi:counter"),
    _total("stat", "online_device_total", Name("Devices online", "在线设备数"), "mdi:lan-connect"),
    _total("stat", "offline_device_total", Name("Devices offline", "离线设备数"), "mdi:lan-disconnect"),
    _total("stat", "active_device_total", Name("Devices active", "活跃设备数"), "mdi:pulse"),
    _total("stat", "inactive_device_total", Name("Devices inactive", "非活跃设备数"), "mdi:sleep"),
    _total("stat", "alarm_device_total", Name("Devices with alarms", "告警设备数"), "mdi:alarm-light-outline"),
)
ALARM_STAT_ENTITIES: tuple[ProjectEntity, ...] = (
    _total("alarms", "alarm_1_total", Name("Devices with minor alarms", "普通告警设备数"), "mdi:alert-outline"),
    _total("alarms", "alarm_2_total", Name("Devices with major alarms", "严重告警设备数"), "mdi:alert"),
    _total("alarms", "alarm_3_total", Name("Devices with critical alarms", "紧急告警设备数"), "mdi:alert-octagon"),
    _total("alarms", "normal_total", Name("Devices without alarms", "正常设备数"), "mdi:check-circle-outline"),
    EntityDescription(
        key="problem",
        name=Name("Problem", "告警"),
        component=Component.BINARY_SENSOR,
        value=_has_major_alarms,
        exists=lambda record: bool(record.alarms.model_fields_set & {"alarm_2_total", "alarm_3_total"}),
        source=STAT_SOURCE,
        essential=True,
        device_class="problem",
    ),
)
CUSTOMERS_ENTITY: ProjectEntity = EntityDescription(
    key="customers",
    name=Name("Users", "用户数"),
    value=lambda record: record.customers,
    exists=lambda _: True,
    source=META_SOURCE,
    state_class="measurement",
    enabled=False,
    icon="mdi:account-group-outline",
)
PROJECT_ENTITIES: tuple[ProjectEntity, ...] = (
    *DEVICES_STAT_ENTITIES,
    *ALARM_STAT_ENTITIES,
    EntityDescription(
        key="project",
        name=Name("Project", "项目"),
        value=lambda record: record.project.name,
        exists=lambda record: "name" in record.project.model_fields_set,
        source=META_SOURCE,
        attributes=lambda record: {
            key: value for key, value in record.project.model_dump().items() if value and key != "name"
        },
        category=EntityCategory.DIAGNOSTIC,
        icon="mdi:cloud-outline",
    ),
    _list_length("types", Name("Device types", "设备类型数"), "mdi:shape-outline"),
    _list_length("groups", Name("Device groups", "设备组数"), "mdi:file-tree-outline"),
    CUSTOMERS_ENTITY,
)
