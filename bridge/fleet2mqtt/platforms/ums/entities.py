"""Entity descriptions of a gateway, an FXO line and the fleet, and the identities of their devices."""

from __future__ import annotations

import re
from typing import Any, Final

from fleet2mqtt.devices.model import (
    Component,
    Device,
    EntityCategory,
    EntityDescription,
    EntityDescriptions,
    Name,
    Update,
    on_off,
)
from fleet2mqtt.platforms.ums.models import FleetRecord, GatewayRecord, Line, LineTester
from fleet2mqtt.sdk.vendor_json import iso, truth

MANUFACTURER: Final = "New Rock"
TITLE: Final = "New Rock UMS"
UNKNOWN: Final = "unknown"

DEVICE_STATUS = ("work", "abnormal", "fault", "unreachable", "wrong_password")
REG_STATE = ("not_registered", "registered", "failed", "timeout", "registering")
CON_STATE = ("disconnected", "below_threshold", "good")

_MAC = re.compile(r"[0-9A-F]{12}")
_WEB = ("http://", "https://")


def option_named(text: str | None, options: tuple[str, ...]) -> str | None:
    """Return the option with this name, `unknown` for a name that is not listed, None for None."""
    name = None if text is None else "_".join(text.lower().split())
    return name if name is None or name in options else UNKNOWN


def option_numbered(text: str | None, options: tuple[str, ...]) -> str | None:
    """Return the option with this number, `unknown` for a number that is not listed, None for None."""
    if text is None:
        return None
    return options[int(text)] if text.isdecimal() and int(text) < len(options) else UNKNOWN


def _raw_if_unknown(text: str | None, option: str | None) -> dict[str, Any]:
    return {"raw": text} if option == UNKNOWN else {}


async def _test_lines(tester: LineTester, gateway: Device, _: None) -> Update:
    return await tester.test_lines(gateway)


def _text(key: str, name: Name) -> EntityDescription[GatewayRecord, LineTester]:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda record: getattr(record.gateway, key),
        category=EntityCategory.DIAGNOSTIC,
        enabled=False,
    )


def _time(key: str, name: Name, *, enabled: bool = True) -> EntityDescription[GatewayRecord, LineTester]:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda record: iso(getattr(record.gateway, key)),
        device_class="timestamp",
        category=EntityCategory.DIAGNOSTIC,
        enabled=enabled,
    )


def _alarms(key: str, level: str, name: Name) -> EntityDescription[GatewayRecord, LineTester]:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda record: record.counts and getattr(record.counts, level),
        attributes=lambda record: record.interval and {"interval": record.interval},
        state_class="measurement",
        icon="mdi:alarm-light-outline",
    )


GATEWAY_ENTITIES: EntityDescriptions[GatewayRecord, LineTester] = (
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
        value=lambda record: option_named(record.gateway.device_status, DEVICE_STATUS),
        attributes=lambda record: _raw_if_unknown(
            record.gateway.device_status, option_named(record.gateway.device_status, DEVICE_STATUS)
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
            else on_off(option_named(record.gateway.device_status, DEVICE_STATUS) != "work")
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
        write=_test_lines,
        category=EntityCategory.CONFIG,
        icon="mdi:phone-check",
    ),
)

LINE_ENTITIES: EntityDescriptions[Line, LineTester] = (
    EntityDescription(
        key="reg_state",
        name=Name("Registration state", "注册状态"),
        value=lambda line: option_numbered(line.reg_state, REG_STATE),
        attributes=lambda line: _raw_if_unknown(line.reg_state, option_numbered(line.reg_state, REG_STATE)),
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
        value=lambda line: option_numbered(line.con_state, CON_STATE),
        attributes=lambda line: (
            ({"number": line.number} if line.number else {})
            | _raw_if_unknown(line.con_state, option_numbered(line.con_state, CON_STATE))
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


def _figure(key: str, name: Name, icon: str) -> EntityDescription[FleetRecord, LineTester]:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda fleet: fleet.status and getattr(fleet.status, key),
        state_class="measurement",
        icon=icon,
    )


def _rate(key: str, name: Name) -> EntityDescription[FleetRecord, LineTester]:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda fleet: fleet.status and getattr(fleet.status, key),
        state_class="measurement",
        unit="%",
        icon="mdi:percent",
        precision=2,
    )


FLEET_ENTITIES: EntityDescriptions[FleetRecord, LineTester] = (
    _figure("online_number", Name("Devices online", "在线设备数"), "mdi:lan-connect"),
    _figure("offline_number", Name("Devices offline", "离线设备数"), "mdi:lan-disconnect"),
    _figure("total", Name("Devices", "设备总数"), "mdi:counter"),
    _rate("online_rate", Name("Online rate", "在线率")),
    _rate("offline_rate", Name("Offline rate", "离线率")),
    EntityDescription(
        key="statistics_time",
        name=Name("Statistics time", "统计时间"),
        value=lambda fleet: iso(fleet.status.statistics_time) if fleet.status else None,
        device_class="timestamp",
        category=EntityCategory.DIAGNOSTIC,
    ),
    EntityDescription(
        key="events_total",
        name=Name("Events in the last hour", "近一小时事件数"),
        value=lambda fleet: None if fleet.events is None else sum(count.total or 0 for count in fleet.events),
        attributes=lambda fleet: {"events": [count.model_dump() for count in fleet.events]} if fleet.events else None,
        enabled=False,
        state_class="measurement",
        icon="mdi:counter",
    ),
)


def describe_gateway(backend: str, mac: str, record: GatewayRecord) -> dict[str, Any]:
    """Return the identity of a gateway. It is available while it is listed; its connection is one of its values."""
    gateway = record.gateway
    return {
        "vendor_id": mac,
        "scope": "devices",
        "name": gateway.device_name or mac,
        "via": backend,
        "model": gateway.product_type,
        "sw_version": gateway.product_version,
        "serial_number": mac,
        "connections": (("mac", _with_colons(mac)),) if _MAC.fullmatch(mac) else (),
        "suggested_area": gateway.location,
        "configuration_url": gateway.proxy_url if (gateway.proxy_url or "").lower().startswith(_WEB) else None,
        "alarms": True,
        "counts_alarms": True,
    }


def describe_line(gateway: Device, line: str) -> dict[str, Any]:
    """Return the identity of an FXO line: a sub-device of its gateway, and unavailable while that is offline."""
    record: GatewayRecord = gateway.record
    return {
        "vendor_id": f"{gateway.vendor_id}/{line}",
        "scope": f"lines:{gateway.vendor_id}",
        "name": f"{gateway.name} {line}",
        "available": record.gateway.online is not False,
        "via": gateway.id,
        "model": line.partition("-")[0],
    }


def _with_colons(mac: str) -> str:
    return ":".join(mac[at : at + 2] for at in range(0, 12, 2)).lower()
