"""What a device and the project show beside a device's attributes: tables of rows, and the devices made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any, Final

from fleet2mqtt.devices.model import (
    Component,
    Device,
    EntityCategory,
    EntityDescription,
    Name,
    Value,
    existing,
    on_off,
    read_attributes,
    read_state,
)
from fleet2mqtt.platforms.thingscloud.attributes import MAX_STATE, said
from fleet2mqtt.platforms.thingscloud.models import (
    AlarmStat,
    DeviceInfo,
    DevicesStat,
    DeviceType,
    ExtendInfo,
    Project,
    Row,
)
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.vendor_json import iso

MANUFACTURER: Final = "ThingsCloud"
TITLE: Final = "ThingsCloud"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a device reported as an event."""

    method: str | None
    params: Any
    id: str | None
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """What is known of a device: its entry, the values of its attributes by identifier, and the rest."""

    info: DeviceInfo
    zone: tzinfo
    values: Mapping[str, Any] = field(default_factory=dict)
    extended: tuple[ExtendInfo, ...] = ()
    alarming: bool | None = None
    event: Event | None = None
    groups: tuple[str, ...] = ()
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRecord:
    """What ThingsCloud says of the project as a whole."""

    stat: DevicesStat = field(default_factory=DevicesStat)
    alarms: AlarmStat = field(default_factory=AlarmStat)
    project: Project = field(default_factory=Project)
    types: tuple[DeviceType, ...] | None = None
    groups: Mapping[str, str] | None = None
    customers: int | None = None


def told_alarm(alarm: Row) -> bool | None:
    """Whether the undocumented `alarm` of a device says that one stands; None where it says nothing."""
    said_so = [alarm[key] for key in ("status", "alarm_status", "alerting") if alarm.get(key) is not None]
    if said_so:
        number = vendor_json.number(said_so[0])
        return number > 0 if number is not None else vendor_json.truth(said_so[0])
    level = vendor_json.number(alarm.get("level") if alarm.get("level") is not None else alarm.get("alarm_level"))
    return None if level is None else level > 0


def _newest(record: DeviceRecord) -> str | None:
    return iso(max(_times(record).values(), default=None))


def _times(record: DeviceRecord) -> dict[str, datetime]:
    """When the last message of each kind came."""
    found = {}
    for kind, value in record.info.active.items():
        at = vendor_json.moment(value.get("ts") if isinstance(value, dict) else value, record.zone)
        if at is not None:
            found[kind] = at
    return found


def _about(record: DeviceRecord) -> Mapping[str, Any]:
    info = record.info
    told: dict[str, Any] = {
        "descr": info.descr,
        "tags": info.tags,
        "groups": list(record.groups),
        "create_time": iso(info.create_time),
        "conn_type": info.type_info.conn_type,
        "conn_protocol": info.type_info.conn_protocol,
    }
    return {key: value for key, value in told.items() if value}


def _event(record: DeviceRecord) -> Mapping[str, Any] | None:
    event = record.event
    return None if event is None else {"params": event.params, "id": event.id, "ts": iso(event.at)}


async def _set_name(system: Any, device: Device, value: Any) -> None:
    await system.write_name(device, value)


DEVICE_ROWS = (
    EntityDescription(
        key="online",
        name=Name("Online", "在线"),
        component=Component.BINARY_SENSOR,
        value=lambda record: on_off(record.info.online),
        exists=lambda _: True,
        attributes=_about,
        device_class="connectivity",
    ),
    EntityDescription(
        key="problem",
        name=Name("Problem", "告警状态"),
        component=Component.BINARY_SENSOR,
        value=lambda record: on_off(record.alarming),
        exists=lambda _: True,
        attributes=lambda record: record.info.alarm or None,
        device_class="problem",
    ),
    EntityDescription(
        key="active",
        name=Name("Last active", "最近活跃时间"),
        value=_newest,
        exists=lambda _: True,
        attributes=lambda record: {kind: iso(at) for kind, at in _times(record).items()},
        device_class="timestamp",
        category=EntityCategory.DIAGNOSTIC,
    ),
    EntityDescription(
        key="name",
        name=Name("Name", "名称"),
        component=Component.TEXT,
        value=lambda record: record.info.name or "",
        write=_set_name,
        category=EntityCategory.CONFIG,
        enabled=False,
        minimum=1,
        icon="mdi:rename-outline",
    ),
    EntityDescription(
        key="last_event",
        name=Name("Last event", "最近事件"),
        value=lambda record: (record.event.method or "")[:MAX_STATE] if record.event else None,
        exists=lambda _: True,
        attributes=_event,
        enabled=False,
        icon="mdi:bell-ring-outline",
    ),
)


def extended_row(key: str, info: ExtendInfo) -> EntityDescription:
    """The row of a piece of extended information, found again by its id."""
    name = info.name or info.info_type or info.id or ""

    def value(record: DeviceRecord) -> Value:
        found = next((one.value for one in record.extended if one.id == info.id), None)
        if found is None or isinstance(found, int | float):
            return on_off(found) if isinstance(found, bool) else found
        words = said(found)
        return words if len(words) <= MAX_STATE else words[: MAX_STATE - 1] + "…"

    def attributes(record: DeviceRecord) -> Mapping[str, Any] | None:
        found = next((one.value for one in record.extended if one.id == info.id), None)
        return {"value": found} if isinstance(found, dict | list) else None

    return EntityDescription(
        key=key,
        name=Name(name, name),
        value=value,
        exists=lambda _: True,
        attributes=attributes,
        category=EntityCategory.DIAGNOSTIC,
        enabled=False,
        icon="mdi:information-outline",
    )


def _figure(part: str, key: str, name: Name, icon: str) -> EntityDescription:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda fleet: getattr(getattr(fleet, part), key),
        state_class="measurement",
        icon=icon,
    )


def _listed(key: str, name: Name, icon: str) -> EntityDescription:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda fleet: None if getattr(fleet, key) is None else len(getattr(fleet, key)),
        attributes=lambda fleet: _names(getattr(fleet, key)),
        state_class="measurement",
        category=EntityCategory.DIAGNOSTIC,
        enabled=False,
        icon=icon,
    )


def _names(listed: Any) -> Mapping[str, Any] | None:
    if not isinstance(listed, tuple):
        return listed or None
    return {one.id: one.name for one in listed if one.id}


def _serious(fleet: FleetRecord) -> str | None:
    counts = fleet.alarms.alarm_2_total, fleet.alarms.alarm_3_total
    return None if counts == (None, None) else on_off(sum(filter(None, counts)) > 0)


FLEET_ROWS = (
    _figure("stat", "device_total", Name("Devices", "总设备数"), "mdi:counter"),
    _figure("stat", "online_device_total", Name("Devices online", "在线设备数"), "mdi:lan-connect"),
    _figure("stat", "offline_device_total", Name("Devices offline", "离线设备数"), "mdi:lan-disconnect"),
    _figure("stat", "active_device_total", Name("Devices active", "活跃设备数"), "mdi:pulse"),
    _figure("stat", "inactive_device_total", Name("Devices inactive", "非活跃设备数"), "mdi:sleep"),
    _figure("stat", "alarm_device_total", Name("Devices with alarms", "告警设备数"), "mdi:alarm-light-outline"),
    _figure("alarms", "alarm_1_total", Name("Devices with minor alarms", "普通告警设备数"), "mdi:alert-outline"),
    _figure("alarms", "alarm_2_total", Name("Devices with major alarms", "重要告警设备数"), "mdi:alert"),
    _figure("alarms", "alarm_3_total", Name("Devices with critical alarms", "紧急告警设备数"), "mdi:alert-octagon"),
    _figure("alarms", "normal_total", Name("Devices without alarms", "正常设备数"), "mdi:check-circle-outline"),
    EntityDescription(
        key="problem",
        name=Name("Problem", "告警"),
        component=Component.BINARY_SENSOR,
        value=_serious,
        device_class="problem",
    ),
    EntityDescription(
        key="project",
        name=Name("Project", "项目"),
        value=lambda fleet: fleet.project.name,
        attributes=lambda fleet: {
            key: value for key, value in fleet.project.model_dump().items() if value and key != "name"
        },
        category=EntityCategory.DIAGNOSTIC,
        icon="mdi:cloud-outline",
    ),
    _listed("types", Name("Device types", "设备类型数"), "mdi:shape-outline"),
    _listed("groups", Name("Device groups", "设备组数"), "mdi:file-tree-outline"),
    EntityDescription(
        key="customers",
        name=Name("Users", "用户数"),
        value=lambda fleet: fleet.customers,
        state_class="measurement",
        enabled=False,
        icon="mdi:account-group-outline",
    ),
)


def device_of(backend: str, id_: str, rows: tuple[EntityDescription, ...], record: DeviceRecord) -> Device:
    """A device. It is available as long as ThingsCloud lists it; whether it is online is one of its values."""
    info = record.info
    vendor_id = info.id or ""
    return Device(
        id=id_,
        backend=backend,
        vendor_id=vendor_id,
        scope="devices",
        name=info.name or info.device_key or vendor_id,
        entities=rows,
        state=read_state(rows, record),
        attributes=read_attributes(rows, record),
        via=backend,
        model=info.type_info.name or record.model,
        serial_number=info.device_key,
        suggested_area=record.groups[0] if record.groups else None,
        alarms=True,
        record=record,
    )


def fleet_device(backend: str, url: str, record: FleetRecord) -> Device:
    """The backend's own device with the figures of the project."""
    rows = existing(FLEET_ROWS, record)
    return Device(
        id=backend,
        backend=backend,
        vendor_id=backend,
        scope="backend",
        name=backend,
        entities=rows,
        state=read_state(rows, record),
        attributes=read_attributes(rows, record),
        manufacturer=MANUFACTURER,
        model="thingscloud",
        configuration_url=url,
        record=record,
    )
