"""What ThingsCloud sends: the vendor's own names, values made safe. Times without a zone get the backend's."""

from __future__ import annotations

from datetime import tzinfo
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.vendor_json import Moment, Number, Text, Truth, WireModel

Row = dict[str, Any]


def table(value: Any) -> Row:
    """An object; {} for whatever else stands in its place, such as the [] of an empty one."""
    return value if isinstance(value, dict) else {}


def rows(value: Any) -> list[Row]:
    """The objects of a list; none where something else stands in its place."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [text for item in value if (text := vendor_json.text(item))] if isinstance(value, list) else []


Table = Annotated[Row, BeforeValidator(table)]


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
    tags: Table = Field(default_factory=dict)
    create_time: Moment = None
    alarm: Table = Field(default_factory=dict)
    active: Table = Field(default_factory=dict)
    online: Truth = None
    type: Text = None
    type_info: Annotated[TypeInfo, BeforeValidator(table)] = TypeInfo()
    groups: Annotated[tuple[str, ...], BeforeValidator(_texts)] = ()


class Model(WireModel):
    """The definition of an attribute, where there is one."""

    name: Text = None
    attr_type: Text = None
    data_type: Text = None
    data_options: Table = Field(default_factory=dict)


class AttributeInfo(WireModel):
    """A row of "读取设备属性列表"."""

    identifier: Text = None
    value: Any = None
    attr_type: Text = None
    data_type: Text = None
    model: Annotated[Model, BeforeValidator(table)] = Model()


class ExtendInfo(WireModel):
    """A row of "读取设备扩展信息"."""

    id: Text = None
    info_type: Text = None
    name: Text = None
    value: Any = None
    options: Table = Field(default_factory=dict)


class AlarmLog(WireModel):
    """A row of "读取所有告警消息"; what is in `alarm_info` is not documented."""

    id: Text = None
    device_id: Text = None
    alarm_status: Number = None
    alarm_level: Number = None
    alarm_info: Table = Field(default_factory=dict)
    create_time: Moment = None
    device: Table = Field(default_factory=dict)


class Rule(WireModel):
    """`alarm_rule` of the alarm webhook, and what `alarm_info` of a log may say of it."""

    id: Text = None
    name: Text = None
    notify_text: Text = None
    alarm_level: Number = None


class Notice(WireModel):
    """`alarm` of the alarm webhook."""

    ts: Moment = None
    ts_text: Moment = None
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
    """读取设备告警状态统计: devices by the highest level of what stands for them."""

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
    """A row of "读取设备类型列表"."""

    id: Text = None
    name: Text = None
    device_count: Number = None


def in_zone(zone: tzinfo) -> dict[str, Any]:
    """The context to validate these models with."""
    return {"zone": zone}
