"""The schemas of the options and of the actions' arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import voluptuous as vol

from fleet2mqtt.devices.model import Component
from fleet2mqtt.platforms.thingscloud.attributes import Override
from fleet2mqtt.platforms.thingscloud.command_buttons import Button
from fleet2mqtt.platforms.thingscloud.geo import Coordinates
from fleet2mqtt.sdk.api import SECRET
from fleet2mqtt.sdk.validators import identifier, scan_interval, whole

MAX_TEXT = 1024
COMPONENTS = (
    *(Component.SENSOR, Component.BINARY_SENSOR, Component.NUMBER, Component.SWITCH),
    *(Component.SELECT, Component.TEXT, Component.DEVICE_TRACKER),
)


def word(value: Any) -> str:
    """A text in one line that is not empty; an id that YAML reads as a number is one too."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text.strip() or not text.isprintable():
        raise vol.Invalid("expected a text in one line that is not empty")
    return text


def _word_or_none(value: Any) -> str | None:
    return None if value is None else word(value)


def _rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.01 <= value <= 1000:
        raise vol.Invalid("expected a number of requests a second from 0.01 to 1000")
    return float(value)


_OVERRIDE = vol.Schema(
    {
        vol.Optional("component"): vol.In([component.value for component in COMPONENTS]),
        vol.Optional("unit"): str,
        vol.Optional("device_class"): str,
        vol.Optional("writable"): bool,
        vol.Optional("name"): word,
    }
)


def _override(value: Any) -> Override:
    given = _OVERRIDE({} if value is None else value)
    if "component" in given:
        given["component"] = Component(given["component"])
    return Override(**given)


def _overrides(value: Any) -> dict[str, Override]:
    found: dict[str, Override] = vol.Schema({str: _override})({} if value is None else value)
    return found


_BUTTON = vol.Schema(
    {
        vol.Required("method", msg="missing; expected the method of a command"): word,
        vol.Optional("params"): dict,
        vol.Optional("name"): word,
        vol.Optional("types"): vol.All([word], vol.Coerce(tuple)),
        vol.Optional("devices"): vol.All([word], vol.Coerce(tuple)),
    }
)
_BUTTON_KEY = re.compile(r"[a-z][a-z0-9_]{0,31}")


def _button_key(value: Any) -> str:
    if not isinstance(value, str) or not _BUTTON_KEY.fullmatch(value):
        raise vol.Invalid("expected a key of a-z 0-9 _, 32 at most, the first a letter")
    return value


def _buttons(value: Any) -> dict[str, Button]:
    given = vol.Schema({_button_key: _BUTTON})({} if value is None else value)
    return {key: Button(**fields) for key, fields in given.items()}


OPTIONS: Mapping[Any, Any] = {
    vol.Required("app_id"): word,
    vol.Optional("access_key", default=None, description=SECRET): _word_or_none,
    vol.Optional("secret_key", default=None, description=SECRET): _word_or_none,
    vol.Optional("account", default=None, description=SECRET): _word_or_none,
    vol.Optional("password", default=None, description=SECRET): _word_or_none,
    vol.Optional("rate", default=1.0): _rate,
    vol.Optional("types", default=list): [word],
    vol.Optional("groups", default=list): [word],
    vol.Optional("writable", default="documented"): vol.In(["documented", "all", "none"]),
    vol.Optional("attributes", default=dict): _overrides,
    vol.Optional("buttons", default=dict): _buttons,
    vol.Optional("coordinates", default=Coordinates.NONE.value): vol.In([each.value for each in Coordinates]),
    **scan_interval(devices=60, attributes=60, schema=3600, alarms=60, stat=300, meta=3600),
}

TEXT = vol.All(str, vol.Length(max=MAX_TEXT))
WORD = vol.All(str, vol.Length(min=1, max=MAX_TEXT))
ID = vol.All(identifier, vol.Length(min=1, max=MAX_TEXT))
IDS = vol.All([ID], vol.Length(min=1))
NUMBER = vol.All(identifier, vol.Length(max=MAX_TEXT))
"""A text that may be of digits alone: a telephone number."""
PAGE = vol.All(whole, vol.Range(min=1))
MILLISECONDS = vol.All(whole, vol.Range(min=0))
VALUES = vol.All({WORD: object}, vol.Length(min=1))
TAGS = vol.All({WORD: TEXT}, vol.Length(min=1))
INFO = vol.Any(str, bool, int, float)
HEX = re.compile(r"\s*[0-9A-Fa-f]{2}(?:\s*[0-9A-Fa-f]{2})*\s*")


def rows(required: Mapping[str, Any] | None = None, **optional: Any) -> dict[Any, Any]:
    """Arguments: those that have to be there, and those that may be."""
    needed = {vol.Required(name): check for name, check in (required or {}).items()}
    return needed | {vol.Optional(name): check for name, check in optional.items()}


DEVICE = rows({"device_id": ID})
CUSTOMER = rows({"customer_id": ID})
NONE: dict[Any, Any] = {}
LIST = rows(page=PAGE, type=ID, group=ID)
HISTORY = {
    **rows({"device_id": ID, "identifier": ID}, start_time=MILLISECONDS, end_time=MILLISECONDS),
    vol.Optional("page", default=1): PAGE,
    vol.Optional("pages", default=1): vol.All(whole, vol.Range(min=1, max=50)),
    vol.Optional("page_records", default=20): vol.All(whole, vol.Range(min=1, max=100)),
}
COMMAND = {
    **rows({"device_id": ID, "method": WORD}, id=whole),
    vol.Optional("params", default=dict): dict,
}
DATA = {
    **rows({"device_id": ID, "identifier": ID, "type": vol.In(["hex", "text", "json"])}),
    vol.Required("msg"): vol.Any(str, dict),
    vol.Optional("push_mode", default="mqtt"): vol.In(["mqtt", "tcp"]),
}
SET = rows({"device_id": ID, "attributes": VALUES})
KEYS = rows({"device_id": ID, "keys": IDS})
DEVICE_TAGS = rows({"device_id": ID, "tags": TAGS})
GROUPS = rows({"device_id": ID, "groups": [ID]})
DEVICE_INFO = rows({"device_id": ID}, name=WORD, descr=TEXT, device_key=NUMBER)
CREATE = rows({"name": WORD}, descr=TEXT, type=ID, tags={WORD: TEXT}, device_key=ID)
STANDARD = rows({"device_id": ID, "info_type": WORD, "value": vol.All({WORD: INFO}, vol.Length(min=1))})
EXTENDED = rows({"device_id": ID, "infos": vol.All({WORD: INFO}, vol.Length(min=1))})
TYPE = rows({"device_type_id": ID})
LOGS = rows(device_id=ID, page=PAGE)
CUSTOMER_DEVICES = rows({"customer_id": ID}, page=PAGE)
CUSTOMER_CREATE = rows(
    {"name": WORD, "account": ID, "password": WORD}, descr=TEXT, email=TEXT, mobile=NUMBER, tags={WORD: TEXT}
)
CUSTOMER_INFO = rows({"customer_id": ID}, name=WORD, descr=TEXT, email=TEXT, mobile=NUMBER)
CUSTOMER_PASSWORD = rows({"customer_id": ID, "password": WORD})
CUSTOMER_TAGS = rows({"customer_id": ID, "tags": TAGS})
AUTH = rows({"account": ID, "password": WORD})
