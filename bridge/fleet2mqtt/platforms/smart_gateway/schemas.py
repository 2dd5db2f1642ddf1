"""Schemas of the options and of the actions' arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import voluptuous as vol

from fleet2mqtt.platforms.smart_gateway.device_store import Area
from fleet2mqtt.platforms.smart_gateway.models import IPV4
from fleet2mqtt.platforms.smart_gateway.writes import SetBody
from fleet2mqtt.sdk.json_schema import Described
from fleet2mqtt.sdk.validators import identifier, scan_interval, whole

MAX_PAGE = 1000
MAX_CONCURRENCY = 10
MAX_PORT = 65535
DATA_SIZES = (
    *("bit", "kbit", "Mbit", "Gbit", "B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"),
    *("KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"),
)
_PORTS = re.compile(r"\d{1,5}(?:-\d{1,5})?(?:,\d{1,5}(?:-\d{1,5})?)*\Z", re.ASCII)
_PORT = r"0{0,4}(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
_RANGE = rf" *{_PORT} *(?:- *{_PORT} *)?"


def _ports(value: Any) -> str:
    """Validate the vendor's list of ports: "1935,22000-22010"."""
    text = str(value).replace(" ", "") if isinstance(value, str) or type(value) is int else ""
    if not _PORTS.match(text):
        raise vol.Invalid('expected ports such as "1935,22000-22010"')
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not 1 <= int(first) <= int(last or first) <= MAX_PORT:
            raise vol.Invalid(f"{part!r} is no port or range of ports from 1 to {MAX_PORT}")
    return text


PORTS = Described(
    _ports,
    anyOf=[
        {"type": "string", "pattern": rf"^{_RANGE}(?:,{_RANGE})*$"},
        {"type": "integer", "minimum": 1, "maximum": MAX_PORT},
    ],
)


def _not_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise vol.Invalid("expected a number")
    return value


NAME = vol.All(str, vol.Length(min=1, max=255))
TEXT = vol.All(str, vol.Length(max=255))
ADDRESS = vol.All(str, vol.Match(re.compile(IPV4 + r"(?!\n)"), msg="expected an IPv4 address such as 192.168.4.5"))
ID = vol.All(identifier, vol.Length(min=1, max=255))
IDS = vol.All([ID], vol.Length(min=1))
OPTIONAL_ID = vol.All(identifier, vol.Length(max=255))
PROTOCOL = vol.All(whole, vol.In([0, 1, 2], msg="expected 0 (TCP), 1 (UDP) or 2 (both)"))

_FLAG = vol.Any(bool, vol.All(int, vol.In([0, 1])))
_AMOUNT = vol.All(_not_boolean, vol.Any(int, float), vol.Range(min=0))
_CHOICE = vol.Any(str, whole)


def _optional(**fields: Any) -> dict[Any, Any]:
    return {vol.Optional(name): schema for name, schema in fields.items()}


def _required(**fields: Any) -> dict[Any, Any]:
    return {vol.Required(name): schema for name, schema in fields.items()}


def _not_empty(fields: Mapping[Any, Any]) -> Any:
    return vol.All(dict(fields), vol.Length(min=1))


_CHANNEL = _optional(
    name=TEXT,
    enable=_FLAG,
    net=_CHOICE,
    slot=_CHOICE,
    apn=TEXT,
    initFlow=_AMOUNT,
    todayUsedFlow=_AMOUNT,
    remainFlow=_AMOUNT,
    ssid=TEXT,
    wifiKey=TEXT,
    is_dhcp=_FLAG,
    ip=ADDRESS,
    mask=ADDRESS,
    gateway=ADDRESS,
)
_LAN = _optional(ip=ADDRESS, mask=ADDRESS, start=ADDRESS, end=ADDRESS)
_HOTSPOT = _optional(
    enable=_FLAG, name=TEXT, passwd=TEXT, encrymode=whole, ap=whole, chain=whole, bandwidth=whole, hidden=_FLAG
)
_ASSIGNED = _required(uuid=ID, name=TEXT, ip=ADDRESS)

NONE: dict[Any, Any] = {}
REGISTER = _required(sn=ID, alias=NAME)
DEVICE = _required(sn=ID)
LIST = {
    vol.Optional("page", default=1): vol.All(whole, vol.Range(min=0)),
    vol.Optional("limit", default=50): vol.All(whole, vol.Range(min=1, max=MAX_PAGE)),
    vol.Optional("filtration", default=0): vol.All(whole, vol.In([0, 1, 2, 3])),
    vol.Optional("condition", default=""): OPTIONAL_ID,
}
QUERY = {vol.Required("sns"): IDS, vol.Optional("chart", default=False): bool}
CHART = {vol.Required("sn"): ID, vol.Optional("channel"): [ID]}
SET = {
    vol.Required("sn"): ID,
    **_optional(
        base=_not_empty(_optional(alias=NAME, remark=TEXT, mapping=[_ASSIGNED])),
        network=_not_empty(_optional(lan=_not_empty(_LAN), hotspot=_not_empty(_HOTSPOT))),
        channel=vol.All({NAME: _not_empty(_CHANNEL)}, vol.Length(min=1)),
        parameters=_not_empty(_optional(top=_FLAG, lock=_FLAG)),
    ),
}
"""The fields that document 1.2 marks with `**`."""
ADD = {
    **_required(name=NAME, ip=ADDRESS, port=PORTS, protocol=PROTOCOL),
    vol.Optional("mark", default=""): TEXT,
}
EDIT = {
    vol.Required("uuid"): ID,
    **_optional(
        name=NAME, ip=ADDRESS, port=PORTS, protocol=PROTOCOL, mark=TEXT, devName=TEXT, sn=OPTIONAL_ID, devType=TEXT
    ),
}
RULES = _required(rules=IDS)
ASSIGN = _required(rule=ID, sn=ID, ip=ADDRESS)
UNASSIGN = _required(sn=ID, rules=IDS)

_DATA_SIZE = vol.Any(None, vol.In(DATA_SIZES), msg=f"expected null or one of {', '.join(DATA_SIZES)}")


def _state(value: Any) -> str:
    """Validate a text or number of a state; compared without case."""
    text = str(value).strip() if isinstance(value, str) or type(value) is int else ""
    if not text:
        raise vol.Invalid("expected a text or a number that the vendor sends as a state")
    return text.casefold()


OPTIONS = {
    **scan_interval("mappings", devices=30, details=60, mappings=60),
    vol.Optional("page_size", default=50): vol.All(whole, vol.Range(min=1, max=MAX_PAGE)),
    vol.Optional("concurrency", default=2): vol.All(whole, vol.Range(min=1, max=MAX_CONCURRENCY)),
    vol.Optional("first_page", default=1): vol.All(whole, vol.In([0, 1])),
    vol.Optional("query", default="all"): vol.Any(
        "all", vol.All([NAME], vol.Length(min=1)), msg="expected all, or a list of serial numbers"
    ),
    vol.Optional("set_path", default="/api/v1/devices/set"): vol.All(
        str, vol.Match(r"^/\S*$", msg="expected a path such as /api/v1/devices/set")
    ),
    vol.Optional("set_body", default=SetBody.MINIMAL.value): vol.In([body.value for body in SetBody]),
    vol.Optional("running_states", default=["running", "online", "1"]): vol.All([_state], vol.Length(min=1)),
    vol.Optional("up_states", default=["1", "up", "online", "connected"]): vol.All([_state], vol.Length(min=1)),
    vol.Optional("area", default=Area.NONE.value): vol.In([area.value for area in Area]),
    vol.Optional("billing_day", default=1): vol.All(whole, vol.Range(min=1, max=31)),
    vol.Optional("units", default=dict): {
        vol.Optional("traffic", default="kB"): _DATA_SIZE,
        vol.Optional("flow", default="GB"): _DATA_SIZE,
    },
}
