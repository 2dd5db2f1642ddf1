"""Entity descriptions of a gateway, an FXO line and the fleet, and the identities of their devices."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
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
from fleet2mqtt.platforms.ums.models import FleetRecord, Gateway, GatewayRecord, Line, LineTester
from fleet2mqtt.sdk.vendor_json import boolean, iso

MANUFACTURER: Final = "New Rock"
TITLE: Final = "New Rock UMS"
UNKNOWN: Final = "unknown"
DEFAULT_GROUP: Final = "默认"
"""`group_info` of a gateway without a group, the UMS document 3.1."""

MAX_INVENTORY = 1000
"""Characters of each inventory member: Home Assistant's recorder takes 16 KiB of attributes."""
MAX_EVENTS = 50
"""Kinds of events in the attributes; the action `event_statistics` returns all."""
LINE_KIND: Final = "line"
LINES, STATISTICS, STATUS, EVENTS = "lines", "statistics", "status", "events"
"""Sources that own entities of a device that another source lists."""

DEVICE_STATUS = ("work", "abnormal", "fault", "unreachable", "wrong_password")
REG_STATE = ("not_registered", "registered", "failed", "timeout", "registering")
CON_STATE = ("disconnected", "below_threshold", "good")

INVENTORY = (
    "location",
    "group_info",
    "contact",
    "device_cic",
    "device_id",
    "series",
    "origin",
    "agent_version",
    "versions",
    "http_port",
    "https_port",
)
"""Members of a gateway that are attributes of its connection: they change rarely and are of use to people."""

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


def _is_other_than(option: str, value: str | None) -> str | None:
    """Return "ON" for another option, "OFF" for this one, None if the value is not known."""
    return None if value in {None, UNKNOWN} else on_off(value != option)


def _is_option(option: str, value: str | None) -> str | None:
    """Return "ON" for this option, "OFF" for another one, None if the value is not known."""
    return None if value in {None, UNKNOWN} else on_off(value == option)


def _fault_causes(line: Line) -> list[str]:
    """Return what is wrong with a line: wiring and registration; of a line without number only what was measured."""
    wiring, registration = option_numbered(line.con_state, CON_STATE), option_numbered(line.reg_state, REG_STATE)
    in_use = line.number is not None
    causes = [wiring] if wiring == "below_threshold" or (wiring == "disconnected" and in_use) else []
    failed = registration in {"failed", "timeout"} or (registration == "not_registered" and in_use)
    return [*causes, registration] if failed and registration else causes


def _line_fault(line: Line) -> str | None:
    known = {option_numbered(line.con_state, CON_STATE), option_numbered(line.reg_state, REG_STATE)} - {None, UNKNOWN}
    return on_off(bool(_fault_causes(line))) if known else None


def _inventory(record: GatewayRecord) -> dict[str, Any]:
    values = ((key, getattr(record.gateway, key)) for key in INVENTORY)
    cut = ((key, value[:MAX_INVENTORY] if isinstance(value, str) else value) for key, value in values)
    return {key: value for key, value in cut if value is not None}


def _sent(*members: str) -> Callable[[GatewayRecord], bool]:
    """Return the condition that the UMS sends one of these members of a gateway, blank or not."""
    return lambda record: not record.gateway.sent.isdisjoint(members)


def _sent_of_line(*members: str) -> Callable[[Line], bool]:
    return lambda line: not line.model_fields_set.isdisjoint(members)


async def _test_lines(tester: LineTester, gateway: Device, _: None) -> Update:
    return await tester.test_lines(gateway)


def _text(key: str, name: Name) -> EntityDescription[GatewayRecord, LineTester]:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda record: getattr(record.gateway, key),
        exists=_sent(key),
        category=EntityCategory.DIAGNOSTIC,
        enabled=False,
    )


def _time(key: str, name: Name, *, enabled: bool = True) -> EntityDescription[GatewayRecord, LineTester]:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda record: iso(getattr(record.gateway, key)),
        exists=_sent(key),
        device_class="timestamp",
        category=EntityCategory.DIAGNOSTIC,
        enabled=enabled,
    )


def _alarms(key: str, level: str, name: Name) -> EntityDescription[GatewayRecord, LineTester]:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda record: None if record.counts is None or record.counts_missed else getattr(record.counts, level),
        exists=lambda record: record.counts is not None and level in record.counts.model_fields_set,
        attributes=lambda record: {"interval": record.interval} if record.interval else None,
        source=STATISTICS,
        enabled=False,
        state_class="measurement",
        icon="mdi:alarm-light-outline",
    )


GATEWAY_ENTITIES: EntityDescriptions[GatewayRecord, LineTester] = (
    EntityDescription(
        key="connection_status",
        name=Name("Connection", "连接状态"),
        component=Component.BINARY_SENSOR,
        value=lambda record: on_off(record.gateway.online),
        exists=_sent("connection_status"),
        attributes=_inventory,
        essential=True,
        device_class="connectivity",
    ),
    EntityDescription(
        key="device_status",
        name=Name("Device status", "设备状态"),
        value=lambda record: option_named(record.gateway.device_status, DEVICE_STATUS),
        exists=_sent("device_status"),
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
        value=lambda record: _is_other_than("work", option_named(record.gateway.device_status, DEVICE_STATUS)),
        exists=_sent("device_status"),
        essential=True,
        device_class="problem",
    ),
    _time("last_online", Name("Last online", "最后上线时间")),
    _time("last_offline", Name("Last offline", "最后下线时间")),
    _time("connection_time", Name("Last online (connection)", "最后上线时间（连接）"), enabled=False),
    _time("first_online", Name("First online", "首次上线时间"), enabled=False),
    _time("locked_time", Name("Locked since (wrong password)", "密码错误锁定时间"), enabled=False),
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
        value=lambda record: on_off(boolean(record.gateway.event)),
        exists=_sent("event"),
        category=EntityCategory.DIAGNOSTIC,
        enabled=False,
    ),
    _alarms("alarms_total", "all", Name("Alarms", "告警总数")),
    _alarms("alarms_critical", "serious", Name("Critical alarms", "红色告警数")),
    _alarms("alarms_major", "warning", Name("Major alarms", "橙色告警数")),
    _alarms("alarms_minor", "normal", Name("Minor alarms", "一般告警数")),
    _alarms("alarms_indeterminate", "unknown", Name("Indeterminate alarms", "未收录告警数")),
    EntityDescription(
        key="test_fxo",
        name=Name("Test FXO lines", "检测 FXO 线路"),
        component=Component.BUTTON,
        exists=lambda record: record.has_lines is True,
        source=LINES,
        write=_test_lines,
        category=EntityCategory.CONFIG,
        icon="mdi:phone-check",
    ),
)

STATISTICS_ENTITIES = tuple(entity for entity in GATEWAY_ENTITIES if entity.source == STATISTICS)
"""The alarm counts of a gateway."""
LINE_ENTITIES: EntityDescriptions[Line, LineTester] = (
    EntityDescription(
        key="line_fault",
        name=Name("Line fault", "线路故障"),
        component=Component.BINARY_SENSOR,
        value=_line_fault,
        exists=_sent_of_line("con_state", "reg_state"),
        attributes=lambda line: {"causes": causes} if (causes := _fault_causes(line)) else None,
        essential=True,
        device_class="problem",
    ),
    EntityDescription(
        key="number",
        name=Name("Phone number", "线路号码"),
        value=lambda line: line.number,
        exists=_sent_of_line("number"),
        category=EntityCategory.DIAGNOSTIC,
        icon="mdi:phone",
    ),
    EntityDescription(
        key="reg_state",
        name=Name("Registration state", "注册状态"),
        value=lambda line: option_numbered(line.reg_state, REG_STATE),
        exists=_sent_of_line("reg_state"),
        attributes=lambda line: _raw_if_unknown(line.reg_state, option_numbered(line.reg_state, REG_STATE)),
        device_class="enum",
        options=(*REG_STATE, UNKNOWN),
    ),
    EntityDescription(
        key="registered",
        name=Name("Registered", "已注册"),
        component=Component.BINARY_SENSOR,
        value=lambda line: _is_option("registered", option_numbered(line.reg_state, REG_STATE)),
        exists=_sent_of_line("reg_state"),
        enabled=False,
        device_class="connectivity",
    ),
    EntityDescription(
        key="con_state",
        name=Name("Wiring state", "接线状态"),
        value=lambda line: option_numbered(line.con_state, CON_STATE),
        exists=_sent_of_line("con_state"),
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
        value=lambda line: _is_other_than("disconnected", option_numbered(line.con_state, CON_STATE)),
        exists=_sent_of_line("con_state"),
        enabled=False,
        device_class="plug",
    ),
    EntityDescription(
        key="voltage",
        name=Name("Voltage", "电压"),
        value=lambda line: line.volts,
        exists=_sent_of_line("voltage"),
        device_class="voltage",
        state_class="measurement",
        unit="V",
    ),
    EntityDescription(
        key="voltage_threshold",
        name=Name("Voltage threshold", "电压阈值"),
        value=lambda line: line.threshold,
        exists=_sent_of_line("voltage"),
        category=EntityCategory.DIAGNOSTIC,
        enabled=False,
        device_class="voltage",
        state_class="measurement",
        unit="V",
    ),
)


def _frequent_events(fleet: FleetRecord) -> dict[str, Any] | None:
    """Return the most frequent events: Home Assistant's recorder takes 16 KiB of attributes."""
    if not fleet.events:
        return None
    frequent = sorted(fleet.events, key=lambda count: -(count.total or 0))[:MAX_EVENTS]
    omitted = len(fleet.events) - len(frequent)
    return {"events": [count.model_dump() for count in frequent]} | ({"omitted": omitted} if omitted else {})


def _counted(member: str) -> Callable[[FleetRecord], bool]:
    """Return the condition that the newest online count has a member, blank or not."""
    return lambda fleet: fleet.status is not None and member in fleet.status.model_fields_set


def _figure(key: str, name: Name, icon: str, *, essential: bool = False) -> EntityDescription[FleetRecord, LineTester]:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda fleet: None if fleet.status is None else getattr(fleet.status, key),
        exists=_counted(key),
        source=STATUS,
        essential=essential,
        state_class="measurement",
        icon=icon,
    )


def _rate(key: str, name: Name, *, enabled: bool = True) -> EntityDescription[FleetRecord, LineTester]:
    return EntityDescription(
        key=key,
        name=name,
        value=lambda fleet: None if fleet.status is None else getattr(fleet.status, key),
        exists=_counted(key),
        source=STATUS,
        enabled=enabled,
        state_class="measurement",
        unit="%",
        icon="mdi:percent",
        precision=2,
    )


FLEET_ENTITIES: EntityDescriptions[FleetRecord, LineTester] = (
    _figure("online_number", Name("Devices online", "在线设备数"), "mdi:lan-connect"),
    _figure("offline_number", Name("Devices offline", "离线设备数"), "mdi:lan-disconnect", essential=True),
    _figure("total", Name("Devices", "设备总数"), "mdi:counter"),
    _rate("online_rate", Name("Online rate", "在线率")),
    _rate("offline_rate", Name("Offline rate", "离线率"), enabled=False),
    EntityDescription(
        key="statistics_time",
        name=Name("Statistics time", "统计时间"),
        value=lambda fleet: iso(fleet.status.statistics_time) if fleet.status else None,
        exists=_counted("statistics_time"),
        source=STATUS,
        device_class="timestamp",
        category=EntityCategory.DIAGNOSTIC,
    ),
    EntityDescription(
        key="events_total",
        name=Name("Events in the last hour", "近一小时事件数"),
        value=lambda fleet: None if fleet.events is None else sum(count.total or 0 for count in fleet.events),
        exists=lambda fleet: fleet.events is not None,
        source=EVENTS,
        attributes=_frequent_events,
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
        "groups": _groups(gateway),
        "tags": tuple(tag for tag in (gateway.tag1, gateway.tag2, gateway.tag3) if tag),
        "location": gateway.location,
        "configuration_url": gateway.proxy_url if (gateway.proxy_url or "").lower().startswith(_WEB) else None,
        "alarms": True,
        "counts_alarms": True,
        "answered": _ANSWERED[record.counts is not None, record.has_lines is not None],
    }


_ANSWERED = {
    (counts, lines): frozenset(source for source, answered in ((STATISTICS, counts), (LINES, lines)) if answered)
    for counts in (False, True)
    for lines in (False, True)
}
"""Sources that have answered for a gateway, one set for all of them: by counts, and lines."""


def describe_line(gateway: Device, line: str, *, missed: bool) -> dict[str, Any]:
    """Return the identity of an FXO line: a sub-device, unavailable while its gateway is offline or was missed."""
    record: GatewayRecord = gateway.record
    return {
        "vendor_id": f"{gateway.vendor_id}/{line}",
        "scope": f"lines:{gateway.vendor_id}",
        "kind": LINE_KIND,
        "name": f"{gateway.name} {line}",
        "available": record.gateway.online is not False and not missed,
        "source": LINES,
        "via": gateway.id,
        "model": line.partition("-")[0],
    }


def describe_fleet(record: FleetRecord, url: str) -> dict[str, Any]:
    """Return the identity of the backend's own device."""
    answered = {STATUS: record.status is not None, EVENTS: record.events is not None}
    return {
        "model": "ums",
        "configuration_url": url,
        "answered": frozenset(source for source, has_answered in answered.items() if has_answered),
    }


def _groups(gateway: Gateway) -> Mapping[str, str]:
    """Return the group of a gateway, by its number where the UMS sends one, else by its name."""
    return _group(gateway.group_id, gateway.group_info)


@lru_cache(maxsize=4096)
def _group(number: str | None, name: str | None) -> Mapping[str, str]:
    """Return the one mapping of a group, which all its gateways share."""
    if name is None or name == DEFAULT_GROUP:
        return {}
    return {name if number in {None, "0"} else str(number): name}


def _with_colons(mac: str) -> str:
    return ":".join(mac[at : at + 2] for at in range(0, 12, 2)).lower()
