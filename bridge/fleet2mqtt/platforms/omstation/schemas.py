"""The schemas of the platform's options, and of its actions' arguments under the vendor's own field names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

import orjson
import voluptuous as vol

from fleet2mqtt.sdk.api import SECRET
from fleet2mqtt.sdk.json_schema import Described
from fleet2mqtt.sdk.validators import identifier, scan_interval, url, whole
from fleet2mqtt.sdk.vendor_json import timestamp

MAX_COMPARTMENTS = 9999
DEVICE_TYPES = {701: "JT701", 705: "JT705C", 709: "JT709A"}
AUTHORISATION_TYPES = (0, 1, 2)
AUTHORISATION_STATES = (-2, -1, 0, 1, 2, 3, 4)
TRANSFER_STATES = (-2, -1, 0, 1)
BEGINNING = "2000-01-01"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_WHEN = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.]\d+)?)?(Z|[+-]\d\d:?\d\d)?)?$"
"""A date, or a time in ISO 8601, UTC unless it says otherwise."""


def text(value: Any) -> str:
    """Validate a text of one line that is not empty; the message does not repeat it."""
    if not isinstance(value, str):
        raise vol.Invalid("expected a text; quote one that reads as a number or as yes or no")
    if not value or _CONTROL.search(value):
        raise vol.Invalid("expected a text in one line that is not empty")
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else text(value)


def _url_or_none(value: Any) -> str | None:
    return None if value is None else url(value)


def check(options: Mapping[str, Any]) -> Iterator[vol.Invalid]:
    """Yield what is wrong in the options for lock data taken together: url and token belong together."""
    assets = options.get("assets")
    if isinstance(assets, Mapping) and (assets.get("url") is None) is not (assets.get("token") is None):
        missing = "token" if assets.get("token") is None else "url"
        other = "url" if missing == "token" else "token"
        yield vol.Invalid(f"missing; assets.{other} is of no use without it", path=["assets", missing])


def _date(value: Any) -> str:
    """Validate a date; YAML may have parsed it already."""
    given = str(value) if isinstance(value, date) else value
    try:
        if isinstance(given, str) and _DATE.fullmatch(given):
            return str(date.fromisoformat(given))
    except ValueError as error:
        raise vol.Invalid("expected a date such as 2000-01-01") from error
    raise vol.Invalid("expected a date such as 2000-01-01")


def _whole_or_digits(smallest: int, largest: int, returns: type[int | str] = int) -> Described:
    """Return a validator for a whole number, or a text of digits: the vendor's samples have both."""

    def validate(value: Any) -> int | str:
        number = int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else whole(value)
        if not smallest <= number <= largest:
            raise vol.Invalid(f"expected a number from {smallest} to {largest}")
        return returns(number)

    first = f"[{smallest}-{min(largest, 9)}]" + (f"[0-9]{{0,{len(str(largest)) - 1}}}" if largest > 9 else "")
    digits = {"type": "string", "pattern": f"^0*{first}$"}
    return Described(validate, anyOf=[{"type": "integer", "minimum": smallest, "maximum": largest}, digits])


def _when(value: Any) -> date | datetime:
    """Validate a date or a time; a time is returned in UTC."""
    given = value if isinstance(value, str) and re.match(_WHEN, value) else ""
    if _DATE.fullmatch(given):
        return date.fromisoformat(_date(given))
    time = timestamp(given, UTC) if given else None
    if time is None:
        raise vol.Invalid("expected a date such as 2024-03-07, or a time such as 2024-03-07T01:10:56Z")
    return time.astimezone(UTC)


def _json_text(value: Any) -> str:
    """Validate JSON in a text, or a list or object, and return it as text."""
    if isinstance(value, list | dict):
        return orjson.dumps(value).decode()
    return _parsed(value, (list, dict, str, int, float, bool, type(None)))[0]


def _parsed(value: Any, types: tuple[type, ...]) -> tuple[str, Any]:
    if not isinstance(value, str):
        raise vol.Invalid("expected JSON, as such or in a text")
    try:
        content = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise vol.Invalid("expected JSON in a text") from error
    if not isinstance(content, types):
        raise vol.Invalid("expected another JSON value in the text")
    return value, content


def device_types(value: Any) -> str:
    """Validate the types of locks: a list of numbers, an object of names by number, or that object in a text.

    Return the object in a text, as the page shows it.
    """
    given = _parsed(value, (list, dict))[1] if isinstance(value, str) else value
    numbers = list(given) if isinstance(given, list | dict) else []
    try:
        names = {str(number): DEVICE_TYPES[int(number)] for number in numbers if not isinstance(number, bool)}
    except (KeyError, TypeError, ValueError) as error:
        raise vol.Invalid(f"expected types of locks: {_TYPES}") from error
    if not names or len(names) != len(numbers) or (isinstance(given, dict) and given != names):
        raise vol.Invalid(f"expected types of locks, each once: {_TYPES}")
    return orjson.dumps(names).decode()


def _shares(value: Any) -> str:
    """Validate numbers of locks by type, a list or that list in a text; return the list in a text."""
    given = _parsed(value, (list,))[1] if isinstance(value, str) else value
    return orjson.dumps(_SHARES(given)).decode()


_TYPES = ", ".join(f"{number} ({name})" for number, name in DEVICE_TYPES.items())
ID = vol.All(identifier, vol.Length(min=1, max=255))
_DIGITS = vol.All(identifier, vol.Length(max=255))
"""A text that may be of digits alone, or empty: a lock's number, a telephone number."""
_WHEN_GIVEN = Described(_when, type="string", pattern=_WHEN)
_WHEN_OR_NULL = Described(lambda value: None if value is None else _when(value), type=["string", "null"], pattern=_WHEN)
_DEVICE_TYPE = vol.All(whole, vol.In(list(DEVICE_TYPES)))
_LOCKS = vol.All([{vol.Required("deviceType"): _DEVICE_TYPE, vol.Required("deviceId"): ID}], vol.Length(min=1))
_SLOT = {
    vol.Required("typeId"): _DEVICE_TYPE,
    vol.Required("stationType"): vol.In(["A", "B", "C"]),
    vol.Required("index"): vol.All(whole, vol.Range(min=1)),
}
_STATION: dict[str, Any] = {
    "stationName": ID,
    "deviceId": _DIGITS,
    "totalCount": _whole_or_digits(1, MAX_COMPARTMENTS, returns=str),
    "latticeAssetList": [_SLOT],
}
_SHARE = {vol.Required("deviceType"): _DEVICE_TYPE, vol.Required("count"): vol.All(whole, vol.Range(min=1))}
_SHARES = vol.Schema(vol.All([_SHARE], vol.Length(min=1)))
_JSON_TEXT = Described(_json_text, type=["string", "array", "object"])
_TYPE = _whole_or_digits(0, 2)
_NAMES = {str(number): {"const": name} for number, name in DEVICE_TYPES.items()}
_DEVICE_TYPES = Described(
    device_types,
    anyOf=[
        {"type": "array", "items": {"enum": list(DEVICE_TYPES)}, "minItems": 1, "uniqueItems": True},
        {"type": "object", "properties": _NAMES, "additionalProperties": False, "minProperties": 1},
        {"type": "string", "pattern": r"^\s*[\[{]"},
    ],
)
_AUTH_INFO = Described(
    _shares,
    anyOf=[
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "deviceType": {"enum": list(DEVICE_TYPES)},
                    "count": {"type": "integer", "minimum": 1},
                },
                "required": ["deviceType", "count"],
                "additionalProperties": False,
            },
        },
        {"type": "string", "pattern": r"^\s*\["},
    ],
)
_PERSON = ("toUser", "phoneNum", "email", "descInfo")


def _of_org(arguments: dict[Any, Any]) -> dict[Any, Any]:
    return {**arguments, vol.Optional("orgId"): ID}


def _marked(marker: Callable[..., Any], arguments: dict[str, Any]) -> dict[Any, Any]:
    return {marker(name): validate for name, validate in arguments.items()}


def _page_arguments(states: tuple[int, ...]) -> dict[Any, Any]:
    arguments = {
        vol.Optional("status", default=-2): vol.All(whole, vol.In(list(states))),
        vol.Optional("key", default=""): _DIGITS,
        vol.Optional("pageNum", default=1): _whole_or_digits(1, 999_999),
        vol.Optional("pageSize", default=20): vol.All(whole, vol.Range(min=1, max=1000)),
        vol.Optional("startTime"): _WHEN_GIVEN,
        vol.Optional("endTime"): _WHEN_GIVEN,
    }
    return _of_org(arguments)


def _new_for(arguments: dict[Any, Any]) -> dict[Any, Any]:
    """Return the arguments of a new authorisation: the page requires all fields; two may be empty in its sample."""
    return _of_org(
        {
            **arguments,
            **_marked(vol.Required, {"toUser": ID, "phoneNum": ID}),
            **{vol.Optional(name, default=""): _DIGITS for name in ("email", "descInfo")},
        }
    )


def _change_of(arguments: dict[Any, Any]) -> dict[Any, Any]:
    """Return the arguments of a changed authorisation; an empty id creates, as the page's sample does."""
    return _of_org({vol.Required("id"): _DIGITS, **arguments, **_marked(vol.Optional, dict.fromkeys(_PERSON, _DIGITS))})


STATION_LIST = _of_org({})
STATION_GET = {vol.Required("id"): ID, vol.Optional("startTime"): _WHEN_GIVEN, vol.Optional("endTime"): _WHEN_GIVEN}
STATION_ADD = _of_org({vol.Required("id"): ID, **_marked(vol.Required, _STATION)})
STATION_UPDATE = _of_org(
    {vol.Required("id"): ID, **_marked(vol.Optional, _STATION), vol.Optional("latticeInfo"): _JSON_TEXT}
)
DEVICE_REGISTER = _of_org({vol.Required("deviceInfoList"): _LOCKS})
AUTHORISATION_LIST = _page_arguments(AUTHORISATION_STATES)
TRANSFER_LIST = _page_arguments(TRANSFER_STATES)
_PERIOD = _marked(vol.Optional, {"startTime": _WHEN_OR_NULL, "endTime": _WHEN_OR_NULL})
_AUTHORISATION = {"type": _TYPE, "deviceTypes": _DEVICE_TYPES}
AUTHORISATION_ADD = _new_for({**_marked(vol.Required, _AUTHORISATION), **_PERIOD})
AUTHORISATION_UPDATE = _change_of({**_marked(vol.Optional, _AUTHORISATION), **_PERIOD})
AUTHORISATION_CANCEL = _of_org({vol.Required("id"): ID})
TRANSFER_ADD = _new_for({vol.Required("authInfo"): _AUTH_INFO})
TRANSFER_UPDATE = _change_of({vol.Required("authInfo"): _AUTH_INFO})

OPTIONS = {
    vol.Required("username", msg="missing; expected the name of the omstation account"): text,
    vol.Required("password", description=SECRET, msg="missing; expected the password of the omstation account"): text,
    vol.Optional("org_id", default=None): _text_or_none,
    vol.Optional("language", default="en"): vol.In(["zh", "en"]),
    vol.Optional("path_prefix", default="/omstation"): vol.All(
        str, vol.Match(r"^(?:/[^\s/?#]+)*/?\Z", msg="expected a path such as /omstation"), lambda path: path.rstrip("/")
    ),
    vol.Optional("window", default=dict): {
        vol.Optional("format", default="date"): vol.In(["date", "time"]),
        vol.Optional("start", default=BEGINNING): _date,
        vol.Optional("future_days", default=3650): vol.All(whole, vol.Range(min=0, max=20_000)),
    },
    vol.Optional("assets", default=dict): {
        vol.Optional("url", default=None): _url_or_none,
        vol.Optional("token", default=None, description=SECRET): _text_or_none,
        vol.Optional("server_token", default=None, description=SECRET): _text_or_none,
    },
    **scan_interval("lattices", "authorisations", "assets", stations=60, lattices=60, authorisations=600, assets=300),
}
