"""The content of a simulated ThingsCloud project: attribute definitions, device types, groups, users, and devices.

Where the document leaves wire strings open (`attr_type`, `data_type`, the keys of `data_options`), one plausible
spelling stands here; `quirks` has the others.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any, NamedTuple

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")
FIRST, SECOND = "k3v8q2mzpw", "t7c1n5xrdb"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000  # ms
LEVEL_TEXTS = {1: "普通", 2: "重要", 3: "紧急"}
SPELLINGS: tuple[tuple[Any, Any], ...] = ((True, False), (1, 0), ("ON", "OFF"))  # of a switch, by device
_LETTERS = "abcdefghjkmnpqrstvwxyz0123456789"
_OFFLINE_EVERY, _OFFLINE, _SILENT_EVERY = 30, 4, 7  # the fifth of every thirty devices is offline
_AREA = [{"lat": 31.23, "lng": 121.47}, {"lat": 31.24, "lng": 121.47}, {"lat": 31.24, "lng": 121.48}]


def now_ms() -> int:
    """Return the time in ms since 1970."""
    return time.time_ns() // 1_000_000


def text_time(milliseconds: int) -> str:
    """Return a time as the alarm webhook writes it (`ts_text`)."""
    return datetime.fromtimestamp(milliseconds / 1000, SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")


def make_id(rng: Random, length: int = 10) -> str:
    """Return a random id of the console's form."""
    return "".join(rng.choices(_LETTERS, k=length))


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """An attribute's function definition; `modelled` is false if the cloud has none."""

    identifier: str
    name: str = ""
    attr_type: str = "report"
    data_type: str = "text"
    options: dict[str, Any] = field(default_factory=dict)
    start: Any = None
    modelled: bool = True


@dataclass(slots=True, kw_only=True)
class Attribute:
    """An attribute of one device: the cloud's copy in `value`, the device's own value in `actual`."""

    definition: Definition
    value: Any
    actual: Any
    ts: int
    first: tuple[int, Any] | None = None  # its time and value at the beginning, if it was generated with the device


@dataclass(slots=True, kw_only=True)
class Device:
    """One device; the first fields are those of the document, then those that only the vendor and the device have."""

    id: str
    name: str
    descr: str = ""
    device_key: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    create_time: int
    active: dict[str, int] = field(default_factory=dict)
    online: bool = False
    type: str = ""
    groups: list[str] = field(default_factory=list)
    view_token: str = ""
    device_code: str = ""
    access_token: str = ""
    standard_infos: dict[str, dict[str, Any]] = field(default_factory=dict)
    custom_infos: dict[str, Any] = field(default_factory=dict)
    info_times: dict[str, int] = field(default_factory=dict)
    active_alarms: dict[str, dict[str, Any]] = field(default_factory=dict)  # the raising log by rule, oldest first
    alarm_changed_at: int = 0  # of the last alarm that was raised or cleared
    deaf: bool = False  # ignores what is sent to it, though online
    number: int = 0
    seeded: bool = False

    @property
    def spelling(self) -> tuple[Any, Any]:
        """Return this device's spelling of on and off."""
        return SPELLINGS[self.number % len(SPELLINGS)]

    @property
    def alarm_level(self) -> int:
        """Return the highest level of its active alarms; 0 without any."""
        return max((int(log["alarm_level"]) for log in self.active_alarms.values()), default=0)

    def newest(self) -> int:
        """Return the time of its last message in ms; 0 for none."""
        return max(self.active.values(), default=0)


class Info(NamedTuple):
    """A definition of an extended info; of a custom one, `info_type` is the type of its value."""

    id: str
    info_type: str
    name: str
    options: dict[str, Any]
    is_standard: bool
    start: Any


def _number(identifier: str, name: str, attr_type: str, start: float, **options: Any) -> Definition:
    return Definition(
        identifier=identifier, name=name, attr_type=attr_type, data_type="number", options=options, start=start
    )


def _switch(identifier: str, name: str, attr_type: str, *, start: bool, modelled: bool = True) -> Definition:
    options = {"on": "开启", "off": "关闭"}
    return Definition(
        identifier=identifier,
        name=name,
        attr_type=attr_type,
        data_type="switch",
        options=options,
        start=start,
        modelled=modelled,
    )


def _enum(identifier: str, name: str, attr_type: str, start: str, **labels: str) -> Definition:
    options = {"options": [{"value": value, "label": label} for value, label in labels.items()]}
    return Definition(
        identifier=identifier, name=name, attr_type=attr_type, data_type="enum", options=options, start=start
    )


DEFINITIONS = (
    _number("temperature", "温度", "report", 24.1, unit="°C", precision=1, min=-40, max=85),
    _number("humidity", "湿度", "report", 56.8, unit="%", precision=1, min=0, max=100),
    _switch("relay1", "继电器1", "both", start=True),
    _switch("relay2", "继电器2", "push", start=False),
    _switch("relay3", "", "both", start=False, modelled=False),
    _switch("door", "门磁", "report", start=False),
    _number("energy", "电能", "report", 1024.56, unit="kWh", precision=2, min=0, max=1_000_000),
    _number("target_temperature", "目标温度", "both", 22.5, unit="°C", precision=1, min=5, max=35),
    _number("brightness", "亮度", "push", 80, unit="%", precision=0, min=0, max=100),
    _enum("mode", "模式", "both", "auto", auto="自动", cool="制冷", heat="制热"),
    _enum("run_state", "运行状态", "report", "idle", idle="待机", running="运行", fault="故障"),
    Definition(identifier="display", name="显示文字", attr_type="both", start="ThingsCloud"),
    Definition(identifier="firmware", name="固件版本", start="1.4.2"),
    Definition(identifier="note", name="备注", attr_type="cloud", start=""),
    Definition(identifier="network", name="网络", data_type="object", start={"ip": "192.168.1.20", "rssi": -61}),
    Definition(identifier="channels", name="通道", data_type="list", start=[1, 2, 3]),
    Definition(identifier="location", name="位置", data_type="mappoint", start={"lat": 31.2304, "lng": 121.4737}),
    Definition(
        identifier="fence",
        name="围栏",
        attr_type="cloud",
        data_type="mapcircle",
        start={"lat": 31.23, "lng": 121.47, "radius": 500},
    ),
    Definition(identifier="area", name="区域", attr_type="cloud", data_type="mappolygon", start=_AREA),
    Definition(
        identifier="schedule",
        name="定时",
        attr_type="push",
        data_type="dailytimer",
        start=[{"time": "08:00", "days": [1, 2, 3, 4, 5], "enabled": True}],
    ),
    Definition(identifier="rssi", data_type="number", start=-61, modelled=False),
)

STANDARD_INFOS = (
    Info("std-location", "location", "安装位置", {}, True, {"address": "上海市浦东新区", "floor": 3}),
    Info("std-maintain", "maintain", "维保信息", {}, True, {"company": "久安维保", "expired": False}),
)
_CUSTOM: tuple[tuple[str, str, dict[str, Any], Any], ...] = (
    ("text", "资产编号", {}, "ZC-0001"),
    ("number", "额定功率", {"unit": "W"}, 1500),
    ("boolean", "是否在保", {}, True),
)
_TYPES = (("环境采集器", "direct", "mqtt"), ("智能开关", "gateway_sub", "mqtt"), ("车载定位器", "direct", "tcp"))
_NAMES = ("机房温湿度", "二楼配电箱", "冷链车")


def make_types(rng: Random, now: int) -> dict[str, dict[str, Any]]:
    """Return the device types, with their custom infos under `infos`."""
    types: dict[str, dict[str, Any]] = {}
    for index, (name, conn_type, conn_protocol) in enumerate(_TYPES):
        key = make_id(rng)
        infos = [Info(make_id(rng), kind, title, options, False, start) for kind, title, options, start in _CUSTOM]
        types[key] = {
            "id": key,
            "name": name,
            "descr": "" if index else "温度、湿度与三路继电器",
            "tags": {} if index else {"brand": "ThingsCloud"},
            "create_time": now - 300 * DAY + index * HOUR,
            "conn_protocol": conn_protocol,
            "conn_type": conn_type,
            "infos": (*STANDARD_INFOS, *infos),
        }
    return types


def make_groups(rng: Random, now: int) -> dict[str, dict[str, Any]]:
    """Return the groups by id; `parent` is None at the top of the tree."""
    groups: dict[str, dict[str, Any]] = {}
    parent: str | None = None
    for name, inner in (("总部", False), ("机房", True), ("仓库", True), ("分公司", False)):
        key = make_id(rng)
        groups[key] = {
            "id": key,
            "name": name,
            "descr": "",
            "tags": {"city": "上海"} if name == "总部" else {},
            "create_time": now - 200 * DAY,
            "parent": parent if inner else None,
        }
        parent = parent if inner else key
    return groups


def make_device(rng: Random, number: int, types: list[str], groups: list[str]) -> Device:
    """Return the device with this number, from 0: the same for the same `rng`; some are offline, some long silent."""
    now, offline = now_ms(), number % _OFFLINE_EVERY == _OFFLINE
    silent = 3 * DAY if offline and number % _SILENT_EVERY == _SILENT_EVERY - 1 else 0
    seen = now - silent - (HOUR if offline else rng.randrange(1_000, MINUTE))
    name = _NAMES[number % len(_NAMES)]
    return Device(
        id=make_id(rng) if number > 1 else (FIRST, SECOND)[number],
        name=name if number < len(_NAMES) else f"{name} {number + 1}",
        descr="" if number % 2 else "演示设备",
        device_key="" if number % 4 == 3 else f"SN{number + 1:06}",
        tags={} if number % 2 else {"floor": f"{number % 9 + 1}"},
        create_time=now - 100 * DAY + number * MINUTE,
        active={"attributes": seen, "event": seen - HOUR, "online": seen - DAY},
        online=not offline,
        type=types[number % len(types)],
        groups=[groups[number % len(groups)]] if number % 4 != 2 else [],
        view_token=make_id(rng, 16),
        device_code=f"{number + 100_000}",
        access_token=make_id(rng, 20),
        number=number,
        seeded=True,
    )


def make_attributes(device: Device, rng: Random) -> dict[str, Attribute]:
    """Return an attribute of every data type; the first device has the document's values."""
    ts = device.active.get("attributes", device.create_time)
    attributes = {}
    for definition in DEFINITIONS:
        value = definition.start
        if definition.data_type == "switch":
            value = device.spelling[0 if value else 1]
        elif device.number and definition.data_type == "number":
            value = wander(definition, value, rng)
        actual = None if definition.attr_type == "cloud" else value
        attributes[definition.identifier] = Attribute(
            definition=definition, value=value, actual=actual, ts=ts, first=(ts, value)
        )
    return attributes


def wander(definition: Definition, value: float, rng: Random) -> float:
    """Return a number near `value`, within the definition's bounds."""
    low, high = definition.options.get("min", -100), definition.options.get("max", 0)
    stride = min((high - low) / 50, 5)
    moved = round(min(high, max(low, value + rng.uniform(-stride, stride))), definition.options.get("precision", 0))
    return moved if definition.options.get("precision", 0) else int(moved)


def past(definition: Definition, first: tuple[int, Any], rng: Random) -> Iterator[tuple[int, Any]]:
    """Yield a generated history up to `first`, newest first: 300 values, three hours apart, so longer than 30 days."""
    start, value = first
    for index in range(300):
        yield start - index * 3 * HOUR, value
        value = wander(definition, value, rng) if definition.data_type == "number" else value


def make_customers(rng: Random, now: int, devices: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the roles and the customers; `password` and `devices` of a customer are never in a response."""
    roles: dict[str, Any] = {}
    for name, allowed in (("管理者", True), ("访客", False)):
        key = make_id(rng)
        rights = dict.fromkeys(("allow_operate_device", "allow_alarm_msg_maintain", "allow_add_device"), allowed)
        roles[key] = {"id": key, "name": name, "descr": "", **rights, "create_time": now - 90 * DAY}
    customers: dict[str, Any] = {}
    for (account, name), role in zip((("zhang", "张三"), ("li", "李四")), roles, strict=True):
        customer = make_customer(rng, now - 60 * DAY, account=account, name=name, password=f"{account}@2024")
        customer |= {"role_id": role, "email": f"{account}@example.com", "mobile": "13800000000"}
        customer["devices"] = devices if role == next(iter(roles)) else devices[:1]
        customers[customer["id"]] = customer
    return roles, customers


def make_customer(rng: Random, now: int, **values: Any) -> dict[str, Any]:
    """Return a customer with these values, the other fields empty."""
    return {
        "id": make_id(rng),
        "account": "",
        "name": "",
        "descr": "",
        "role_id": "",
        "email": "",
        "mobile": "",
        "tags": {},
        "locale": "zh-CN",
        "create_time": now,
        "password": "",
        "devices": [],
        **values,
    }


def plain(record: Device | Attribute) -> dict[str, Any]:
    """Return all fields of a record, for the control paths."""
    return asdict(record)
