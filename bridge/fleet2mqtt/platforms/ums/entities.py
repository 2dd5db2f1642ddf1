"""What a gateway, a line and the fleet show: tables of rows, and the devices made of them. A new value is one row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fleet2mqtt.devices.model import (
    Component,
    Device,
    EntityCategory,
    EntityDescription,
    Name,
    Update,
    Value,
    existing,
    on_off,
    read_attributes,
    read_state,
)
from fleet2mqtt.platforms.ums.models import Counts, Detect, EventCount, Gateway, Status
from fleet2mqtt.sdk.vendor_json import iso, truth

MANUFACTURER: Final = "New Rock"
TITLE: Final = "New Rock UMS"
UNKNOWN: Final = "unknown"

DEVICE_STATUS = ("work", "abnormal", "fault", "unreachable", "wrong_password")
REG_STATE = ("not_registered", "registered", "failed", "timeout", "registering")
CON_STATE = ("disconnected", "below_threshold", "good")

_MAC = re.compile(r"[0-9A-F]{12}")
_WEB = ("http://", "https://")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRecord:
    """What is known of a gateway: its entry in the list, its alarm counts, and whether it has FXO lines."""

    gateway: Gateway
    counts: Counts | None = None
    interval: str | None = None
    has_lines: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRecord:
    """What the UMS says of all its devices: the newest count, and the events of the last hour."""

    status: Status | None = None
    events: tuple[EventCount, ...] | None = None


def choice(text: str | None, options: tuple[str, ...]) -> str | None:
    """The option that a text means, `unknown` for one that nobody knows, None for no text."""
    word = None if text is None else "_".join(text.lower().split())
    return word if word is None or word in options else UNKNOWN


def numbered(text: str | None, options: tuple[str, ...]) -> str | None:
    """The option with this number, `unknown` for one that nobody knows, None for no text."""
    if text is None:
        return None
    return options[int(text)] if text.isdecimal() and int(text) < len(options) else UNKNOWN


def _unless_known(text: str | None, found: str | None) -> dict[str, Any]:
    return {"raw": text} if found == UNKNOWN else {}


async def _test_fxo(system: Any, gateway: Device, _: Any) -> Update:
    update: Update = await system.test_lines(gateway)
    return update


def _text(key: str, name: Name) -> EntityDescription:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda record: getattr(record.gateway, key),
        category=EntityCategory.DIAGNOSTIC,
        enabled=False,
    )


def _time(key: str, name: Name, *, enabled: bool = True) -> EntityDescription:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda record: iso(getattr(record.gateway, key)),
        device_class="timestamp",
        category=EntityCategory.DIAGNOSTIC,
        enabled=enabled,
    )


def _alarms(key: str, level: str, name: Name) -> EntityDescription:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda record: record.counts and getattr(record.counts, level),
        attributes=lambda record: record.interval and {"interval": record.interval},
        state_class="measurement",
        icon="mdi:alarm-light-outline",
    )


GATEWAY_ROWS = (
    EntityDescription(
        key="connection_status",
        name=Name("Connection", "连接状态"),
        component=Component.BINARY_SENSOR,
        value=lambda record: on_off(record.gateway.online),
        device_class="connectivity",
    ),
    EntityDescription(
        key="device_status",
        name=Name("Device status", "设备状态"),
        value=lambda record: choice(record.gateway.device_status, DEVICE_STATUS),
        attributes=lambda record: _unless_known(
            record.gateway.device_status, choice(record.gateway.device_status, DEVICE_STATUS)
        ),
        device_class="enum",
        options=(*DEVICE_STATUS, UNKNOWN),
    ),
    EntityDescription(
        key="problem",
        name=Name("Problem", "故障"),
        component=Component.BINARY_SENSOR,
        value=lambda record: (
            None
            if record.gateway.device_status is None
            else on_off(choice(record.gateway.device_status, DEVICE_STATUS) != "work")
        ),
        device_class="problem",
    ),
    _time("last_online", Name("Last online", "最后上线时间")),
    _time("last_offline", Name("Last offline", "最后下线时间")),
    _time("connection_time", Name("Connection time", "连接时间")),
    _time("first_online", Name("First online", "首次上线时间")),
    _time("locked_time", Name("Locked", "锁定时间"), enabled=False),
    _text("connection_ip", Name("Connection IP", "连接 IP 地址")),
    _text("device_ip", Name("Device IP", "设备 IP 地址")),
    _text("group_info", Name("Group", "分组")),
    _text("kernel_version", Name("Kernel version", "内核版本")),
    _text("tag1", Name("Tag 1", "备注 1")),
    _text("tag2", Name("Tag 2", "备注 2")),
    _text("tag3", Name("Tag 3", "备注 3")),
    EntityDescription(
        key="event_reporting",
        name=Name("Event reporting", "事件上报"),
        component=Component.BINARY_SENSOR,
        value=lambda record: on_off(truth(record.gateway.event)),
        category=EntityCategory.DIAGNOSTIC,
        enabled=False,
    ),
    _alarms("alarms_total", "all", Name("Alarms", "告警总数")),
    _alarms("alarms_critical", "serious", Name("Critical alarms", "紧急告警数")),
    _alarms("alarms_major", "warning", Name("Major alarms", "重要告警数")),
    _alarms("alarms_minor", "normal", Name("Minor alarms", "一般告警数")),
    _alarms("alarms_indeterminate", "unknown", Name("Indeterminate alarms", "未知级别告警数")),
    EntityDescription(
        key="test_fxo",
        name=Name("Test FXO lines", "检测 FXO 线路"),
        component=Component.BUTTON,
        exists=lambda record: record.has_lines is not False,
        write=_test_fxo,
        category=EntityCategory.CONFIG,
        icon="mdi:phone-check",
    ),
)

LINE_ROWS = (
    EntityDescription(
        key="reg_state",
        name=Name("Registration state", "注册状态"),
        value=lambda line: numbered(line.reg_state, REG_STATE),
        attributes=lambda line: _unless_known(line.reg_state, numbered(line.reg_state, REG_STATE)),
        device_class="enum",
        options=(*REG_STATE, UNKNOWN),
    ),
    EntityDescription(
        key="registered",
        name=Name("Registered", "已注册"),
        component=Component.BINARY_SENSOR,
        value=lambda line: None if line.reg_state is None else on_off(line.reg_state == "1"),
        device_class="connectivity",
    ),
    EntityDescription(
        key="con_state",
        name=Name("Wiring state", "接线状态"),
        value=lambda line: numbered(line.con_state, CON_STATE),
        attributes=lambda line: (
            ({"number": line.number} if line.number else {})
            | _unless_known(line.con_state, numbered(line.con_state, CON_STATE))
        ),
        device_class="enum",
        options=(*CON_STATE, UNKNOWN),
    ),
    EntityDescription(
        key="wired",
        name=Name("Wired", "已接线"),
        component=Component.BINARY_SENSOR,
        value=lambda line: None if line.con_state is None else on_off(line.con_state != "0"),
        device_class="plug",
    ),
    EntityDescription(
        key="voltage",
        name=Name("Voltage", "电压"),
        value=lambda line: line.volts,
        device_class="voltage",
        state_class="measurement",
        unit="V",
    ),
    EntityDescription(
        key="voltage_threshold",
        name=Name("Voltage threshold", "电压阈值"),
        value=lambda line: line.threshold,
        category=EntityCategory.DIAGNOSTIC,
        device_class="voltage",
        state_class="measurement",
        unit="V",
    ),
)


def _figure(key: str, name: Name, icon: str) -> EntityDescription:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda fleet: fleet.status and getattr(fleet.status, key),
        state_class="measurement",
        icon=icon,
    )


def _rate(key: str, name: Name) -> EntityDescription:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda fleet: fleet.status and getattr(fleet.status, key),
        state_class="measurement",
        unit="%",
        icon="mdi:percent",
        precision=2,
    )


FLEET_ROWS = (
    _figure("online_number", Name("Devices online", "在线设备数"), "mdi:lan-connect"),
    _figure("offline_number", Name("Devices offline", "离线设备数"), "mdi:lan-disconnect"),
    _figure("total", Name("Devices", "设备总数"), "mdi:counter"),
    _rate("online_rate", Name("Online rate", "在线率")),
    _rate("offline_rate", Name("Offline rate", "离线率")),
    EntityDescription(
        key="statistics_time",
        name=Name("Statistics time", "统计时间"),
        value=lambda fleet: fleet.status and iso(fleet.status.statistics_time),
        device_class="timestamp",
        category=EntityCategory.DIAGNOSTIC,
    ),
    EntityDescription(
        key="events_total",
        name=Name("Events in the last hour", "近一小时事件数"),
        value=lambda fleet: None if fleet.events is None else sum(count.total or 0 for count in fleet.events),
        attributes=lambda fleet: fleet.events and {"events": [count.model_dump() for count in fleet.events]},
        enabled=False,
        state_class="measurement",
        icon="mdi:counter",
    ),
)


def gateway_device(backend: str, id_: str, mac: str, record: GatewayRecord) -> Device:
    """A gateway. It is available as long as the UMS lists it; whether it is connected is one of its values."""
    gateway = record.gateway
    return Device(
        id=id_,
        backend=backend,
        vendor_id=mac,
        scope="devices",
        name=gateway.device_name or mac,
        via=backend,
        manufacturer=MANUFACTURER,
        model=gateway.product_type,
        sw_version=gateway.product_version,
        serial_number=mac,
        connections=(("mac", _colons(mac)),) if _MAC.fullmatch(mac) else (),
        suggested_area=gateway.location,
        configuration_url=gateway.proxy_url if (gateway.proxy_url or "").lower().startswith(_WEB) else None,
        alarms=True,
        counts_alarms=True,
        **_content(GATEWAY_ROWS, record),
    )


def line_device(id_: str, gateway: Device, line: str, record: Detect) -> Device:
    """An FXO line, reached through its gateway: unavailable while that is offline."""
    return Device(
        id=id_,
        backend=gateway.backend,
        vendor_id=f"{gateway.vendor_id}/{line}",
        scope=f"lines:{gateway.vendor_id}",
        name=_line_name(gateway, line),
        available=_reachable(gateway),
        via=gateway.id,
        manufacturer=MANUFACTURER,
        model=line.partition("-")[0],
        **_content(LINE_ROWS, record),
    )


def still_of(gateway: Device, device: Device, line: str) -> bool:
    """Whether what a line's device says of its gateway still holds."""
    return device.available == _reachable(gateway) and device.name == _line_name(gateway, line)


def _reachable(gateway: Device) -> bool:
    return gateway.record.gateway.online is not False


def _line_name(gateway: Device, line: str) -> str:
    return f"{gateway.name} {line}"


def fleet_device(backend: str, url: str, record: FleetRecord) -> Device:
    """The backend's own device with what the UMS says of all its devices; `url` is the page for people."""
    return Device(
        id=backend,
        backend=backend,
        vendor_id=backend,
        scope="backend",
        name=backend,
        manufacturer=MANUFACTURER,
        model="ums",
        configuration_url=url,
        **_content(FLEET_ROWS, record),
    )


def _content(table: tuple[EntityDescription, ...], record: Any) -> dict[str, Any]:
    rows = existing(table, record)
    state: Mapping[str, Value] = read_state(rows, record)
    return {"entities": rows, "state": state, "attributes": read_attributes(rows, record), "record": record}


def _colons(mac: str) -> str:
    return ":".join(mac[at : at + 2] for at in range(0, 12, 2)).lower()
