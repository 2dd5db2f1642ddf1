"""Data of a simulated UMS: the records of the UMS document, its two sample devices, and any number of further ones.

The record types have the vendor's field names and types in the order of the vendor's tables.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import Any, NamedTuple, TypedDict, TypeVar

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
MAC = re.compile(r"[0-9A-F]{12}")
OUI = "000EA9"
OM50 = "000EA93D022E"
MX100G = "000EA9610BCC"
SAMPLE_ALARM_ID = "6047461ce1382346c147b7af"
Drawn = TypeVar("Drawn")
WORKING_VOLTS = 20
THRESHOLD = 30
TYPICAL_VOLTAGE = {"0": f"0/{THRESHOLD}", "1": f"24/{THRESHOLD}", "2": f"48/{THRESHOLD}"}


@dataclass(slots=True, kw_only=True)
class Device:
    """One device, UMS document 3.1; `pass_` is the wire's `pass`."""

    active_state: str = "active"
    active_time: str = ""
    agent_version: str = "1.0.3"
    connection_ip: str
    connection_status: str = "online"
    connection_time: str
    contact: str = ""
    device_cic: str = ""
    device_id: str
    device_ip: str
    device_mac: str
    device_name: str
    device_status: str = "work"
    event: str = "on"
    event_action: str = ""
    event_fwd_flag: int = 0
    first_online: str
    geoip: str = ""
    group_id: int = 0
    group_info: str = "默认"
    http_port: int = 80
    https_port: int = 443
    id: str
    kernel_version: str = "3.10.108"
    last_offline: str
    last_online: str
    location: str = ""
    locked_time: str = ""
    mqtt_server_id: str = ""
    new_device: str = "false"
    onoffs: str = ""
    origin: str = "auto"
    pass_: str = "voip@2021"  # noqa: S105
    platform: str = ""
    product_type: str
    product_version: str
    proxy_url: str
    remote_access: str = ""
    series: str
    upgrade_server: str = ""
    versions: str = ""
    warn_event: str = ""
    warn_event_code: str = ""
    tag1: str = ""
    tag2: str = ""
    tag3: str = ""


WIRE_NAMES = {field.name: field.name.rstrip("_") for field in fields(Device)}


@dataclass(slots=True, kw_only=True)
class Line:
    """One FXO line, UMS document 3.7; `reg_state` is None where the model (OM) has none."""

    line: str
    number: str
    reg_state: str | None
    con_state: str
    voltage: str


class Event(TypedDict, total=False):
    """Fields of an alarm beside its device and time; a missing one is as in the sample of 2.1."""

    level: str
    event_id: int
    event_type: str
    name: str
    desc: str
    desc_en: str
    line_id: str


class Model(NamedTuple):
    """A product type with its series, its software and its number of FXO ports."""

    name: str
    series: str
    version: str
    ports: int


MODELS = (
    Model("OM50", "OM", "2.1.5.112", 8),
    Model("MX100G", "MX", "2.3.7.40", 8),
    Model("OM20", "OM", "2.1.5.112", 4),
    Model("OM80E", "OM", "2.1.5.98", 12),
    Model("OM500", "OM", "3.0.1.6", 16),
    Model("MX8G", "MX", "2.3.7.31", 4),
    Model("MX60E", "MX", "2.3.7.40", 24),
    Model("HX4G", "HX", "2.2.0.14", 0),
)
SERIES = {model.name: model for model in MODELS}

# The document names only 33 and 9 and mentions that there are more: the others are made up.
EVENTS: tuple[Event, ...] = (
    Event(),
    Event(
        event_id=9, event_type="system", level="normal", name="App Starup", desc="软件重启", desc_en="Software reboot"
    ),
    Event(
        event_id=21, event_type="network", level="warning", name="eEMS_NOTIFY_NET", desc="网络抖动", desc_en="Jitter"
    ),
    Event(event_id=407, event_type="fan", level="unknown", name="eEMS_NOTIFY_407", desc="未知告警", desc_en="Unknown"),
)
_VOLTS = ((0, 1), (24, 1), *((volts, 16) for volts in range(46, 52)))
"""Voltages of drawn lines, each with how often it is drawn: two lines in a hundred are not wired, or hardly."""
_REGISTRATIONS = (("0", 1), ("1", 96), ("2", 1), ("3", 1), ("4", 1))
"""Registration states of drawn lines, likewise."""
CITIES = ("北京", "上海", "广州", "深圳", "成都", "武汉", "西安", "南京")
SITES = ("总部", "财务部", "营业厅", "客服中心", "仓库", "医院门诊", "酒店前台", "学校机房")


def now() -> datetime:
    """Return the time of the vendor's clock."""
    return datetime.now(SHANGHAI)


def rfc3339(at: datetime) -> str:
    """Return a time as in `connection_time`: milliseconds without trailing zeros."""
    stamp = at.astimezone(SHANGHAI).isoformat(timespec="milliseconds")
    return stamp[:-6].rstrip("0").rstrip(".") + stamp[-6:]


def naive(at: datetime) -> str:
    """Return a time as in alarms and statistics: local time in Shanghai, without an offset."""
    local = at.astimezone(SHANGHAI) if at.tzinfo else at
    return local.strftime("%Y-%m-%d %H:%M:%S")


def object_id(at: datetime, rng: random.Random) -> str:
    """Return a database id: 8 hexadecimal digits of time and 16 random ones."""
    return f"{int(at.timestamp()):08x}{rng.getrandbits(64):016x}"


def make_device(mac: str, product_type: str, rng: random.Random, **values: Any) -> Device:
    """Return a plausible device that came online within the last month; `values` are fields of `Device`."""
    model = SERIES.get(product_type, MODELS[0])
    online = now() - timedelta(seconds=rng.randrange(3600, 30 * 86400))
    ip = f"192.168.{rng.randrange(1, 250)}.{rng.randrange(2, 250)}"
    drawn: dict[str, Any] = {
        "connection_ip": ip,
        "connection_time": rfc3339(online),
        "device_id": object_id(online, rng),
        "device_ip": ip,
        "device_mac": mac,
        "device_name": f"{product_type}_{mac[-6:]}",
        "first_online": rfc3339(online - timedelta(days=400)),
        "id": object_id(online, rng),
        "last_offline": rfc3339(online - timedelta(minutes=7)),
        "last_online": rfc3339(online),
        "product_type": product_type,
        "product_version": model.version,
        "proxy_url": f"https://{ip}:443/",
        "series": model.series,
    }
    return Device(**(drawn | values))


def sample_devices(rng: random.Random) -> Iterator[Device]:
    """Yield the two devices of the sample in 3.1."""
    up = "2021-03-01T08:46:01.522+08:00"
    yield make_device(
        OM50,
        "OM50",
        rng,
        device_name="OM50_130.211",
        connection_ip="192.168.130.211",
        device_ip="192.168.130.211",
        proxy_url="https://192.168.130.211:443/",
        connection_time=up,
        last_online=up,
        last_offline="2021-02-26T18:33:09.08+08:00",
        first_online="2021-02-20T10:21:14.7+08:00",
        location="A 座 3 层机房",
        tag1="备注 1",
    )
    up = "2021-03-03T08:46:01.522+08:00"
    yield make_device(
        MX100G,
        "MX100G",
        rng,
        device_name="TG-VoIP-GW_130.40",
        connection_ip="192.168.130.40",
        device_ip="192.168.130.40",
        proxy_url="https://192.168.130.40:443/",
        connection_status="offline",
        connection_time=up,
        last_online=up,
        last_offline="2021-03-09T18:33:09.08+08:00",
        first_online="2021-02-20T10:35:02.31+08:00",
    )


def generated_devices(rng: random.Random) -> Iterator[Device]:
    """Yield devices without end: several models and groups, a few in a hundred of them offline or faulty."""
    used = {OM50, MX100G}
    for number in count(3):
        mac = f"{OUI}{rng.getrandbits(24):06X}"
        while mac in used:
            mac = f"{OUI}{rng.getrandbits(24):06X}"
        used.add(mac)
        city, site, model = rng.choice(CITIES), rng.choice(SITES), rng.choice(MODELS)
        group = rng.randrange(4)
        online = rng.random() > 0.02
        weak = ("abnormal", "fault", "wrong password") if online else ("unreachable", "work", "unreachable")
        yield make_device(
            mac,
            model.name,
            rng,
            device_name=f"{city}{site}_{model.name}_{number}",
            location=f"{city}{site}",
            connection_status="online" if online else "offline",
            device_status="work" if online and rng.random() > 0.01 else rng.choice(weak),
            group_id=CITIES.index(city) + 1 if group else 0,
            group_info=f"{city}组" if group else "默认",
        )


def make_lines(device: Device, rng: random.Random) -> list[Line]:
    """Return the FXO lines of a device: the sample of 3.7 for the two sample devices, otherwise by its model."""
    registers = device.series != "OM"
    if device.device_mac in (OM50, MX100G):
        state = "2" if registers else None
        return [
            Line(line="FXO-7", number="8006", reg_state=state, con_state="2", voltage=f"48/{THRESHOLD}"),
            Line(line="FXO-8", number="8007", reg_state=state, con_state="2", voltage=f"47/{THRESHOLD}"),
        ]
    lines = []
    for port in range(1, SERIES.get(device.product_type, MODELS[0]).ports + 1):
        volts = _draw(_VOLTS, rng)
        lines.append(
            Line(
                line=f"FXO-{port}",
                number=str(8000 + port - 1),
                reg_state=_draw(_REGISTRATIONS, rng) if registers else None,
                con_state=wiring(volts),
                voltage=f"{volts}/{THRESHOLD}",
            ),
        )
    return lines


def _draw(weighted: Sequence[tuple[Drawn, int]], rng: random.Random) -> Drawn:
    """Return one of these values; the numbers say how often each is drawn."""
    return rng.choices([value for value, _ in weighted], [weight for _, weight in weighted])[0]


def wiring(volts: int, threshold: int = THRESHOLD) -> str:
    """Return `con_state` by its definition in 3.7."""
    if volts < WORKING_VOLTS:
        return "0"
    return "1" if volts < threshold else "2"


def sample_statistics() -> list[dict[str, Any]]:
    """Return the items of the sample in 3.6, newest first."""
    return [
        {
            "id": "60488db2e138234e5141fd46",
            "offline_number": 0,
            "offline_rate": "0.00%",
            "online_number": 3,
            "online_rate": "100.00%",
            "statistics_time": "2021-03-10 17:13:22",
            "total": 3,
        },
        {
            "id": "60488db2e138234e5141fd45",
            "offline_number": 1,
            "offline_rate": "33.33%",
            "online_number": 2,
            "online_rate": "66.67%",
            "statistics_time": "2021-03-10 17:00:00",
            "total": 3,
        },
    ]


def sample_user(account: str, address: str) -> dict[str, Any]:
    """Return the user in the response to a login, chapter 4, its time with nine fraction digits."""
    return {
        "contact": "",
        "device": "",
        "device_info": "",
        "domain": "",
        "emails": [],
        "id": "6037090ce1382305af371ed6",
        "last_login": now().isoformat(timespec="microseconds").replace("+", "763+"),
        "login_ip": address,
        "phonenum": "",
        "phones": [],
        "role": "6037090ce1382305af371ed5",
        "roleid": f"_{account}",
        "status": "",
        "user_level": account,
        "userid": account,
        "username": "",
        "wechats": [],
    }
