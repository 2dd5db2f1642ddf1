"""Wire models of ThingsCloud with the vendor's field names, and the records that entities are read from.

Times without a zone get the backend's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Annotated, Any, Protocol

from pydantic import BeforeValidator, Field

from fleet2mqtt.devices.model import Device
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.vendor_json import Boolean, Number, Text, Timestamp, WireModel

JsonObject = dict[str, Any]


def json_object(value: Any) -> JsonObject:
    """Return an object as it is, and {} for anything else, such as the [] of an empty object."""
    return value if isinstance(value, dict) else {}


def json_objects(value: Any) -> list[JsonObject]:
    """Return the objects of a list; [] for anything that is not a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [text for item in value if (text := vendor_json.text(item))] if isinstance(value, list) else []


Object = Annotated[JsonObject, BeforeValidator(json_object)]


class TypeInfo(WireModel):
    """`type_info`: the device type in short."""

    id: Text = None
    name: Text = None
    conn_type: Text = None
    conn_protocol: Text = None


class DeviceInfo(WireModel):
    """A device, "读取设备列表" and "读取设备信息"; `active` has the latest time of each kind of message."""

    id: Text = None
    name: Text = None
    descr: Text = None
    device_key: Text = None
    tags: Object = Field(default_factory=dict)
    create_time: Timestamp = None
    alarm: Object = Field(default_factory=dict)
    active: Object = Field(default_factory=dict)
    online: Boolean = None
    type: Text = None
    type_info: Annotated[TypeInfo, BeforeValidator(json_object)] = TypeInfo()
    groups: Annotated[tuple[str, ...], BeforeValidator(_texts)] = ()


class AttributeModel(WireModel):
    """`model` of an attribute: its definition in the project, where there is one."""

    name: Text = None
    attr_type: Text = None
    data_type: Text = None
    data_options: Object = Field(default_factory=dict)


class AttributeInfo(WireModel):
    """A list item of "读取设备属性列表"."""

    identifier: Text = None
    value: Any = None
    attr_type: Text = None
    data_type: Text = None
    model: Annotated[AttributeModel, BeforeValidator(json_object)] = AttributeModel()


class ExtendInfo(WireModel):
    """A list item of "读取设备扩展信息"."""

    id: Text = None
    info_type: Text = None
    name: Text = None
    value: Any = None
    options: Object = Field(default_factory=dict)


class AlarmLog(WireModel):
    """A list item of "读取所有告警消息"; the content of `alarm_info` is not documented."""

    id: Text = None
    device_id: Text = None
    alarm_status: Number = None
    alarm_level: Number = None
    alarm_info: Object = Field(default_factory=dict)
    create_time: Timestamp = None
    device: Object = Field(default_factory=dict)


class AlarmRule(WireModel):
    """`alarm_rule` of the alarm webhook, and the same in the `alarm_info` of a log."""

    id: Text = None
    name: Text = None
    notify_text: Text = None
    alarm_level: Number = None


class AlarmNotification(WireModel):
    """`alarm` of the alarm webhook."""

    ts: Timestamp = None
    ts_text: Timestamp = None
    status: Number = None
    level: Number = None


class DevicesStat(WireModel):
    """读取设备状态统计."""

    device_total: Number = None
    online_device_total: Number = None
    offline_device_total: Number = None
    active_device_total: Number = None
    inactive_device_total: Number = None
    alarm_device_total: Number = None


class AlarmStat(WireModel):
    """读取设备告警状态统计: devices by the highest level of their active alarms."""

    alarm_1_total: Number = None
    alarm_2_total: Number = None
    alarm_3_total: Number = None
    normal_total: Number = None


class Project(WireModel):
    """读取项目信息."""

    id: Text = None
    name: Text = None
    descr: Text = None


class DeviceType(WireModel):
    """A list item of "读取设备类型列表"."""

    id: Text = None
    name: Text = None
    device_count: Number = None


def zone_context(zone: tzinfo) -> dict[str, Any]:
    """Return the context to validate these models with."""
    return {"zone": zone}


# Records


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """The data of one device: its list item, the values of its attributes by identifier, and the rest."""

    info: DeviceInfo
    zone: tzinfo
    values: Mapping[str, Any] = field(default_factory=dict)
    extended: tuple[ExtendInfo, ...] = ()
    alarming: bool | None = None
    groups: tuple[str, ...] = ()
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRecord:
    """The data of the project as a whole."""

    stat: DevicesStat = field(default_factory=DevicesStat)
    alarms: AlarmStat = field(default_factory=AlarmStat)
    project: Project = field(default_factory=Project)
    types: tuple[DeviceType, ...] | None = None
    groups: Mapping[str, str] | None = None
    customers: int | None = None


class DeviceWriter(Protocol):
    """The writes that entity descriptions make.

    Each raises BackendError; Unconfirmed where the cloud accepted it for a device that is offline.
    """

    async def write_attributes(self, device: Device, values: JsonObject, *, cloud: bool) -> None:
        """Send values to a device, or change the cloud's copy only."""
        ...

    async def write_name(self, device: Device, name: str) -> None:
        """Give a device another name."""
        ...

    async def press_command(self, device: Device, method: str, params: Mapping[str, Any]) -> None:
        """Send a command to a device."""
        ...
