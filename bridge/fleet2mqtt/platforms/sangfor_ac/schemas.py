"""The schemas of the options and of the actions' arguments, which are the vendor's own fields."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any

import voluptuous as vol

from fleet2mqtt.platforms.sangfor_ac.entities import RANK_UNITS
from fleet2mqtt.platforms.sangfor_ac.models import normalize_mac
from fleet2mqtt.sdk.api import SECRET
from fleet2mqtt.sdk.json_schema import ArgumentSchema, Described, json_schema
from fleet2mqtt.sdk.validators import identifier, scan_interval, whole

MAX_TEXT = 255
MAX_TOP = 1000
MAX_MATCHED_USERS = 1000

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IP = rf"(?:(?:{_OCTET}\.){{3}}{_OCTET}|(?=[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:)[0-9A-Fa-f:.]{{2,45}})"
_MAC = r"[:\-. ]*(?:[0-9A-Fa-f][:\-. ]*){12}"
_EXPIRY = re.compile(
    r"([0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])([ T]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?)?)?"
)
_PATH_AFTER_VERSION = re.compile(r"/v1/.")


def is_ip(text: str) -> bool:
    """Return True for an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _validate_ip(value: Any) -> str:
    if not isinstance(value, str) or not is_ip(value):
        raise vol.Invalid("expected an IP address such as 10.0.0.5")
    return value


def _validate_mac(value: str | int) -> str:
    """Return a MAC in any notation as the AC writes it."""
    found = normalize_mac(identifier(value))
    if found is None:
        raise vol.Invalid("expected a MAC such as 11-11-11-11-11-11")
    return found


def _validate_address(value: str | int) -> str:
    """Return an IP, a MAC, or both as the AC writes them, 1.1.1.1+11-11-11-11-11-11."""
    text = identifier(value)
    first, plus, second = text.partition("+")
    if plus:
        return f"{_validate_ip(first)}+{_validate_mac(second)}"
    return text if is_ip(text) else _validate_mac(text)


def _validate_path(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or len(value) > MAX_TEXT:
        raise vol.Invalid("expected a group's path such as /default")
    return value


def template(value: Any) -> str:
    """Validate a format for IP ranges."""
    if not isinstance(value, str) or value.count("{first}") != 1 or value.count("{last}") != 1:
        raise vol.Invalid("expected a text with {first} and {last}")
    if set(value.replace("{first}", "").replace("{last}", "")) & set("{}"):
        raise vol.Invalid("expected no other braces than {first} and {last}")
    return value


def _validate_search(value: str | int) -> str:
    """Return what bindings are searched by: a user, an IP or a MAC, this one as the AC writes it."""
    text = identifier(value)
    if not 0 < len(text) <= MAX_TEXT:
        raise vol.Invalid("expected a user, an IP or a MAC")
    return normalize_mac(text) or text


def _validate_expiry(value: Any) -> str:
    """Return when an account expires on the AC's clock, as the AC accepts it; "" for never."""
    if value == "":
        return ""
    try:
        known = isinstance(value, str) and _EXPIRY.fullmatch(value) is not None
        moment = datetime.fromisoformat(value) if known else None
    except ValueError:
        moment = None
    if moment is None:
        raise vol.Invalid('expected a time such as 2030-12-31 23:59:59, or "" for never')
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 60:
        raise vol.Invalid("expected a number from 0 to 60")
    return float(value)


def check_options(options: Mapping[str, Any]) -> Iterator[vol.Invalid]:
    """Yield what is wrong with the url: the document prints those of single calls, which lead to no other."""
    url = options.get("url")
    if isinstance(url, str) and _PATH_AFTER_VERSION.search(url):
        message = (
            "expected the AC's address without a call's path, such as http://10.0.2.5:9999 or http://10.0.2.5:9999/v1"
        )
        yield vol.Invalid(message, path=["url"])


def _optional(**members: Any) -> dict[Any, Any]:
    return {vol.Optional(name): schema for name, schema in members.items()}


def _required(**members: Any) -> dict[Any, Any]:
    return {vol.Required(name): schema for name, schema in members.items()}


_DIGITS_OF_A_MAC = {"type": "integer", "minimum": 10**11, "maximum": 10**12 - 1}
_WHOLE_ID = {"type": "integer", "minimum": 0}

ip = Described(_validate_ip, type="string", pattern=f"^{_IP}$")
mac = Described(_validate_mac, anyOf=[{"type": "string", "pattern": f"^{_MAC}$"}, _DIGITS_OF_A_MAC])
address = Described(
    _validate_address,
    anyOf=[{"type": "string", "pattern": rf"^(?:{_IP}|{_MAC}|{_IP}\+{_MAC})$"}, _DIGITS_OF_A_MAC],
)
path = Described(_validate_path, type="string", pattern="^/", minLength=1, maxLength=MAX_TEXT)
search = Described(_validate_search, anyOf=[{"type": "string", "minLength": 1, "maxLength": MAX_TEXT}, _WHOLE_ID])
expiry = Described(_validate_expiry, type="string", pattern=f"^{_EXPIRY.pattern}$")

_WORD = vol.All(str, vol.Length(min=1, max=MAX_TEXT))
_TEXT = vol.All(str, vol.Length(max=MAX_TEXT))
_ID = Described(
    vol.All(identifier, vol.Length(min=1, max=MAX_TEXT)),
    anyOf=[{"type": "string", "minLength": 1, "maxLength": MAX_TEXT}, _WHOLE_ID],
)
"""The name of a user or of a policy: names of digits are not rare."""
_IDS = vol.All([_ID], vol.Length(min=1))
_UNIT = vol.In(["bits", "bytes"])
_STAMP = vol.All(whole, vol.Range(min=0))
_CUSTOM = Described(vol.Any(dict, [dict]), anyOf=[{"type": "object"}, {"type": "array", "items": {"type": "object"}}])
"""One public client has an object here, another a list of objects."""
_RANGE = _required(first=ip, last=ip)
_SPAN = _required(start=ip, end=ip)

NONE: dict[Any, Any] = {}
GROUP = _required(path=path)
GROUP_ADD = {vol.Required("path"): path, vol.Optional("desc", default=""): _TEXT}
GROUP_MODIFY = _required(path=path, desc=_TEXT)
GROUP_POLICY = _required(group=path, policy=_IDS)
GROUP_POLICY_MODIFY = _required(group=path, policy=[_ID])
SEARCH = _required(search=search)
USER_BINDING_SEARCH = _optional(search=search)
"""Without `search` all are requested, which the document does not describe and some devices answer."""
USER_BINDING = {
    vol.Required("enable"): bool,
    vol.Required("name"): _ID,
    vol.Optional("desc", default=""): _TEXT,
    vol.Required("addr_type"): vol.In(["ip", "mac", "ipmac"]),
    vol.Required("addr"): address,
    vol.Required("limitlogon"): bool,
    vol.Optional("noauth", default=dict): {
        vol.Optional("enable", default=False): bool,
        vol.Optional("expire_time"): _STAMP,
        vol.Optional("indate"): _STAMP,
    },
    vol.Optional("time"): _TEXT,
}
"""An item of a search fits: its `indate` is sent as `expire_time`, its `time` is not sent."""
ADDRESS = _required(addr=address)
IP_MAC = {**_required(ip=ip, mac=mac), vol.Optional("desc", default=""): _TEXT}
IP = _required(ip=ip)
ONLINE_USERS = ArgumentSchema(
    {
        vol.Optional("status", default="all"): vol.In(["all", "frozen", "active"]),
        vol.Optional("terminal", default="all"): vol.In(["all", "pc", "mobile", "multi", "iot", "armarium", "custom"]),
        vol.Optional("filter"): {
            vol.Required("type"): vol.In(["user", "ip", "mac"]),
            vol.Required("value"): vol.All([vol.Any(_ID, _RANGE)], vol.Length(min=1)),
        },
    },
    properties={
        "filter": {
            "if": {"properties": {"type": {"enum": ["user", "mac"]}}},
            "then": {"properties": {"value": {"items": {"type": ["string", "integer"]}}}},
        }
    },
)
"""Only addresses have ranges."""
LOGIN = {
    **_required(ip=ip, name=_ID),
    **_optional(show_name=_TEXT, mac=mac),
    vol.Exclusive("group", "group"): path,
    vol.Exclusive("father_path", "group"): path,
}
"""`father_path`, as online users have it, is sent as `group`."""
USER = _required(name=_ID)
_BIND = _optional(ip=ip, mac=mac, out_time=_TEXT, bindgoal=_WORD, desc=_TEXT)
_EXTENSIONS = _optional(
    enable=bool,
    self_pass=_optional(enable=bool, password=_WORD, modify_once=bool),
    custom_cfg=_CUSTOM,
    logout=bool,
    common_user=_optional(allow_change=bool, enable=bool),
    limit_ipmac=vol.Any([_WORD], {**_required(enable=bool), **_optional(ipmac=[_WORD])}),
)
USER_ADD = {
    **_required(name=_ID),
    **_optional(desc=_TEXT, show_name=_TEXT, father_path=path, expire_time=expiry, bind_cfg=[_BIND]),
    **_EXTENSIONS,
}
USER_MODIFY = ArgumentSchema(
    {
        **_required(name=_ID),
        **_optional(desc=_TEXT, father_path=path, expire_time=expiry),
        **_optional(bind_cfg=[{**_BIND, **_optional(orig_ip=ip, orig_mac=mac)}]),
        **_EXTENSIONS,
    },
    minProperties=2,
)
"""The name, and at least one field to change."""
EXTENSIONS = frozenset(("bind_cfg", *(marker.schema for marker in _EXTENSIONS)))
"""The fields of a local user that some sources write under `extend`."""
USER_POLICIES = {**_required(user=_ID), **_optional(dn=_WORD)}
USER_POLICY = {**USER_POLICIES, **_required(policy=_IDS)}
USER_POLICY_MODIFY = {**USER_POLICIES, **_required(policy=[_ID])}
USER_SEARCH = ArgumentSchema(
    {
        vol.Optional("search_type", default="user"): vol.In(["user", "ip", "mac"]),
        vol.Required("search_value"): Described(
            vol.Any(vol.All(identifier, vol.Length(max=MAX_TEXT)), _SPAN),
            anyOf=[{"type": "string", "maxLength": MAX_TEXT}, _WHOLE_ID, json_schema(_SPAN)],
        ),
        vol.Optional("extend"): {
            **_optional(father_path=path, user_status=vol.In(["all", "enabled", "disabled"]), public=bool),
            **_optional(custom_cfg=_CUSTOM, expire=_optional(start=_TEXT, end=_TEXT)),
        },
    },
    anyOf=[
        {
            "properties": {"search_type": {"const": "ip"}, "search_value": {"type": "object"}},
            "required": ["search_type"],
        },
        {"properties": {"search_type": {"enum": ["user", "mac"]}, "search_value": {"type": ["string", "integer"]}}},
    ],
)
"""A search by IP is one for a range, the others are for a text."""
THROUGHPUT = _optional(unit=_UNIT, interface=_WORD)
_RANK = {
    vol.Optional("top", default=10): vol.All(whole, vol.Range(min=1, max=MAX_TOP)),
    vol.Optional("line", default="0"): _ID,
}
USER_RANK: dict[Any, Any] = {
    **_RANK,
    vol.Exclusive("groups", "selector"): _IDS,
    vol.Exclusive("users", "selector"): _IDS,
    vol.Exclusive("ips", "selector"): _IDS,
}
APP_RANK = {**_RANK, vol.Optional("groups"): _IDS}

OPTIONS = {
    vol.Required("key", description=SECRET, msg="missing; expected the shared key of the AC's open interface"): _WORD,
    **scan_interval(
        "libraries",
        "bindings",
        status=60,
        online_users=60,
        policies=600,
        groups=600,
        libraries=3600,
        bindings=600,
        users=600,
    ),
    vol.Optional("spacing", default=1.0): _seconds,
    vol.Optional("language", default="en"): vol.In(["zh", "en"]),
    vol.Optional("watch", default=dict): {
        vol.Optional("groups", default=list): [path],
        vol.Optional("users", default=list): [_WORD],
        vol.Optional("max_users", default=100): vol.All(whole, vol.Range(min=1, max=MAX_MATCHED_USERS)),
        vol.Optional("bindings", default=list): [vol.All(str, search)],
    },
    vol.Optional("throughput", default=dict): {
        vol.Optional("unit", default="bits"): _UNIT,
        vol.Optional("interface", default=None): vol.Any(None, _WORD),
        vol.Optional("interfaces", default=list): [_WORD],
    },
    vol.Optional("rank_unit", default="B/s"): vol.In(RANK_UNITS),
    vol.Optional("ip_range_template", default="{first}-{last}"): template,
    vol.Optional("user_fields", default="extend"): vol.In(["extend", "flat"]),
}
