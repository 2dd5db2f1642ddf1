"""The schemas of the platform's options, and of its actions' arguments under the vendor's own field names."""

from __future__ import annotations

import re
from datetime import UTC
from typing import Any

import orjson
import voluptuous as vol

from fleet2mqtt.sdk.api import SECRET
from fleet2mqtt.sdk.validators import identifier, scan_interval, whole
from fleet2mqtt.sdk.vendor_json import moment

MAX_COMPARTMENTS = 9999
DEVICE_TYPES = (701, 705, 709)
AUTHORISATION_STATES = (-2, -1, 0, 1, 2, 3, 4)
TRANSFER_STATES = (-2, -1, 0, 1)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def text(value: Any) -> str:
    """Validate a text of one line that is not empty; the message does not repeat it."""
    if not isinstance(value, str):
        raise vol.Invalid("expected a text; quote one that reads as a number or as yes or no")
    if not value or _CONTROL.search(value):
        raise vol.Invalid("expected a text in one line that is not empty")
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else text(value)


def _whole_or_text(value: Any) -> int:
    """Validate a whole number, or a text of digits: the vendor's samples have both."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else whole(value)


def _total_count(value: Any) -> str:
    """Validate `totalCount` and return it as the vendor accepts it: a text."""
    number = _whole_or_text(value)
    if not 1 <= number <= MAX_COMPARTMENTS:
        raise vol.Invalid(f"expected a number from 1 to {MAX_COMPARTMENTS}")
    return str(number)


def _utc(value: Any) -> str:
    """Validate a time and return it in ISO 8601, UTC."""
    time = moment(value, UTC) if isinstance(value, str) else None
    if time is None:
        raise vol.Invalid("expected a time such as 2024-02-28T01:10:56Z, UTC unless it says otherwise")
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _json(value: Any) -> str:
    """Return a list as the vendor accepts it: JSON in a text."""
    return orjson.dumps(value).decode()


ID = vol.All(identifier, vol.Length(min=1, max=255))
_DIGITS = vol.All(identifier, vol.Length(max=255))
"""A text that may be of digits alone, or empty: a lock's number, a telephone number."""
_DEVICE_TYPE = vol.All(whole, vol.In(DEVICE_TYPES))
_LOCKS = vol.All([{vol.Required("deviceType"): _DEVICE_TYPE, vol.Required("deviceId"): ID}], vol.Length(min=1))
_SLOT = {
    vol.Required("typeId"): vol.Any(whole, ID),
    vol.Required("stationType"): vol.In(["A", "B", "C"]),
    vol.Required("index"): vol.Any(whole, ID),
}
_STATION = {
    "stationName": ID,
    "deviceId": _DIGITS,
    "totalCount": vol.All(vol.Any(int, str), _total_count),
    "latticeAssetList": [_SLOT],
}
_COUNTS = [{vol.Required("deviceType"): _DEVICE_TYPE, vol.Required("count"): vol.All(whole, vol.Range(min=1))}]
_PERSON = {vol.Optional(name): _DIGITS for name in ("toUser", "phoneNum", "email", "descInfo")}


def _of_org(arguments: dict[Any, Any]) -> dict[Any, Any]:
    return {**arguments, vol.Optional("orgId"): ID}


def _page_arguments(states: tuple[int, ...]) -> dict[Any, Any]:
    arguments = {
        vol.Optional("status", default=-2): vol.All(whole, vol.In(states)),
        vol.Optional("key", default=""): _DIGITS,
        vol.Optional("pageNum", default=1): vol.All(vol.Any(int, str), _whole_or_text, vol.Range(min=1)),
        vol.Optional("pageSize", default=20): vol.All(whole, vol.Range(min=1, max=1000)),
        vol.Optional("startTime"): _utc,
        vol.Optional("endTime"): _utc,
    }
    return _of_org(arguments)


STATION_LIST = _of_org({})
STATION_GET = {vol.Required("id"): ID, vol.Optional("startTime"): _utc, vol.Optional("endTime"): _utc}
STATION_ADD = _of_org(
    {vol.Optional("id", default=""): _DIGITS} | {vol.Required(name): check for name, check in _STATION.items()}
)
STATION_UPDATE = _of_org(
    {vol.Required("id"): ID}
    | {vol.Optional(name): check for name, check in _STATION.items()}
    | {vol.Optional("latticeInfo"): vol.Any(str, list, dict)}
)
DEVICE_REGISTER = _of_org({vol.Required("deviceInfoList"): _LOCKS})
AUTHORISATION_LIST = _page_arguments(AUTHORISATION_STATES)
TRANSFER_LIST = _page_arguments(TRANSFER_STATES)
AUTHORISATION_UPDATE = _of_org(
    {
        vol.Required("id"): ID,
        vol.Required("type"): vol.All(whole, vol.In([0, 1, 2])),
        vol.Required("deviceTypes"): vol.All([_DEVICE_TYPE], vol.Length(min=1), _json),
        vol.Optional("startTime"): _utc,
        vol.Optional("endTime"): _utc,
        **_PERSON,
    }
)
AUTHORISATION_TRANSFER = _of_org(
    {vol.Required("id"): ID, vol.Required("authInfo"): vol.All(_COUNTS, vol.Length(min=1), _json), **_PERSON}
)

OPTIONS = {
    vol.Required("username", msg="missing; expected the name of the omstation account"): text,
    vol.Required("password", description=SECRET, msg="missing; expected the password of the omstation account"): text,
    vol.Optional("org_id", default=None): _text_or_none,
    vol.Optional("language", default="en"): vol.In(["zh", "en"]),
    vol.Optional("path_prefix", default="/omstation"): vol.All(
        str, vol.Match(r"^(?:/[^\s/?#]+)*/?\Z", msg="expected a path such as /omstation"), lambda path: path.rstrip("/")
    ),
    **scan_interval(stations=60, lattices=60, authorisations=600),
}
