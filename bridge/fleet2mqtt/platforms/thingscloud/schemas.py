"""The schemas of the options and of the actions' arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import voluptuous as vol

from fleet2mqtt.devices.model import Component
from fleet2mqtt.platforms.thingscloud.attributes import AttributeOverride
from fleet2mqtt.platforms.thingscloud.command_buttons import CommandButton
from fleet2mqtt.platforms.thingscloud.geo import Coordinates
from fleet2mqtt.platforms.thingscloud.subscription import SUBSCRIBE
from fleet2mqtt.sdk.api import SECRET
from fleet2mqtt.sdk.json_schema import ArgumentSchema, Described
from fleet2mqtt.sdk.validators import identifier, scan_interval, whole

MAX_TEXT = 1024
STATE_CLASSES = ("", "measurement", "measurement_angle", "total", "total_increasing")
"""Home Assistant's state classes; "" is none."""
COMPONENTS = (
    *(Component.SENSOR, Component.BINARY_SENSOR, Component.NUMBER, Component.SWITCH),
    *(Component.SELECT, Component.TEXT, Component.DEVICE_TRACKER),
)


def single_line(value: Any) -> str:
    """Validate a text in one line that is not empty; an id that YAML reads as a number is one too."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text.strip() or not text.isprintable():
        raise vol.Invalid("expected a text in one line that is not empty")
    return text


def _single_line_or_none(value: Any) -> str | None:
    return None if value is None else single_line(value)


def _rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.01 <= value <= 1000:
        raise vol.Invalid("expected a number of requests a second from 0.01 to 1000")
    return float(value)


def _full_sweep_interval(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 60 <= value <= 604_800:
        raise vol.Invalid("expected a number of seconds from 60 to 604800")
    return float(value)


_OVERRIDE = vol.Schema(
    {
        vol.Optional("component"): vol.In([component.value for component in COMPONENTS]),
        vol.Optional("unit"): str,
        vol.Optional("device_class"): str,
        vol.Optional("state_class"): vol.In(STATE_CLASSES),
        vol.Optional("writable"): bool,
        vol.Optional("name"): single_line,
    }
)


def _override(value: Any) -> AttributeOverride:
    fields = _OVERRIDE({} if value is None else value)
    if "component" in fields:
        fields["component"] = Component(fields["component"])
    return AttributeOverride(**fields)


def _overrides(value: Any) -> dict[str, AttributeOverride]:
    overrides: dict[str, AttributeOverride] = vol.Schema({str: _override})({} if value is None else value)
    return overrides


_BUTTON = vol.Schema(
    {
        vol.Required("method", msg="missing; expected the method of a command"): single_line,
        vol.Optional("params"): dict,
        vol.Optional("name"): single_line,
        vol.Optional("types"): vol.All([single_line], vol.Coerce(tuple)),
        vol.Optional("devices"): vol.All([single_line], vol.Coerce(tuple)),
    }
)
_BUTTON_KEY = re.compile(r"[a-z][a-z0-9_]{0,31}")


def _button_key(value: Any) -> str:
    if not isinstance(value, str) or not _BUTTON_KEY.fullmatch(value):
        raise vol.Invalid("expected a key of a-z 0-9 _, 32 at most, the first a letter")
    return value


def _buttons(value: Any) -> dict[str, CommandButton]:
    buttons = vol.Schema({_button_key: _BUTTON})({} if value is None else value)
    return {key: CommandButton(**fields) for key, fields in buttons.items()}


OPTIONS: Mapping[Any, Any] = {
    vol.Required("app_id"): single_line,
    vol.Optional("access_key", default=None, description=SECRET): _single_line_or_none,
    vol.Optional("secret_key", default=None, description=SECRET): _single_line_or_none,
    vol.Optional("account", default=None, description=SECRET): _single_line_or_none,
    vol.Optional("password", default=None, description=SECRET): _single_line_or_none,
    vol.Optional("rate", default=1.0): _rate,
    vol.Optional("types", default=list): [single_line],
    vol.Optional("groups", default=list): [single_line],
    vol.Optional("writable", default="documented"): vol.In(["documented", "all", "none"]),
    vol.Optional("attributes", default=dict): _overrides,
    vol.Optional("buttons", default=dict): _buttons,
    vol.Optional("coordinates", default=Coordinates.NONE.value): vol.In([each.value for each in Coordinates]),
    vol.Optional("subscribe", default=dict): SUBSCRIBE,
    vol.Optional("device_api", default=dict): {
        vol.Optional("project_key", default=None, description=SECRET): _single_line_or_none,
    },
    vol.Optional("full_sweep_interval", default=21_600): _full_sweep_interval,
    **scan_interval("stat", "meta", devices=60, attributes=60, schema=3600, alarms=60, stat=300, meta=3600),
}

TEXT = vol.All(str, vol.Length(max=MAX_TEXT))
NON_EMPTY = vol.All(str, vol.Length(min=1, max=MAX_TEXT))
ID = vol.All(identifier, vol.Length(min=1, max=MAX_TEXT))
IDS = vol.All([ID], vol.Length(min=1))
NUMBER = vol.All(identifier, vol.Length(max=MAX_TEXT))
"""A text that may consist of digits alone: a telephone number."""
PAGE = vol.All(whole, vol.Range(min=1))
MILLISECONDS = vol.All(whole, vol.Range(min=0))
_KEYS_SCHEMA = {"minLength": 1, "maxLength": MAX_TEXT}
_TEXT_SCHEMA = {"type": "string", "maxLength": MAX_TEXT}


def _object(values: Any, least: int, **schema: Any) -> Described:
    """Return the validator of an object with at least so many members, and their schema."""
    members = {"type": "object", "minProperties": least, "propertyNames": _KEYS_SCHEMA}
    return Described(vol.All({NON_EMPTY: values}, vol.Length(min=least)), **members, **schema)


VALUES = _object(object, 1)
TAGS = _object(TEXT, 1, additionalProperties=_TEXT_SCHEMA)
ANY_TAGS = _object(TEXT, 0, additionalProperties=_TEXT_SCHEMA)
INFOS = _object(vol.Any(str, bool, int, float), 1, additionalProperties={"type": ["string", "boolean", "number"]})
HEX = re.compile(r"\s*[0-9A-Fa-f]{2}(?:\s*[0-9A-Fa-f]{2})*\s*")
MESSAGE = Described(vol.Any(str, dict), anyOf=[{"type": "string"}, {"type": "object"}])
"""A text, or an object where the type is json."""


def arguments(required: Mapping[str, Any] | None = None, **optional: Any) -> dict[Any, Any]:
    """Return the schema of required and optional arguments."""
    markers = {vol.Required(name): validator for name, validator in (required or {}).items()}
    return markers | {vol.Optional(name): validator for name, validator in optional.items()}


DEVICE = arguments({"device_id": ID})
CUSTOMER = arguments({"customer_id": ID})
NONE: dict[Any, Any] = {}
LIST = arguments(page=PAGE, type=ID, group=ID)
HISTORY = ArgumentSchema(
    {
        **arguments({"device_id": ID, "identifier": ID}, start_time=MILLISECONDS, end_time=MILLISECONDS),
        vol.Optional("page", default=1): PAGE,
        vol.Optional("pages", default=1): vol.All(whole, vol.Range(min=1, max=50)),
        vol.Optional("page_records", default=20): vol.All(whole, vol.Range(min=1, max=100)),
    },
    dependentRequired={"start_time": ["end_time"], "end_time": ["start_time"]},
)
COMMAND = {
    **arguments({"device_id": ID, "method": NON_EMPTY}, id=whole),
    vol.Optional("params", default=dict): dict,
}
DATA = ArgumentSchema(
    {
        **arguments({"device_id": ID, "identifier": ID, "type": vol.In(["hex", "text", "json"])}),
        vol.Required("msg"): MESSAGE,
        vol.Optional("push_mode", default="mqtt"): vol.In(["mqtt", "tcp"]),
    },
    allOf=[
        {"if": {"properties": {"type": {"const": kind}}}, "then": {"properties": {"msg": message}}}
        for kind, message in (
            ("json", {"type": "object"}),
            ("text", {"type": "string"}),
            ("hex", {"type": "string", "pattern": f"^{HEX.pattern}$"}),
        )
    ],
)
SET = arguments({"device_id": ID, "attributes": VALUES})
KEYS = arguments({"device_id": ID, "keys": IDS})
DEVICE_TAGS = arguments({"device_id": ID, "tags": TAGS})
GROUPS = arguments({"device_id": ID, "groups": [ID]})
DEVICE_INFO = ArgumentSchema(
    arguments({"device_id": ID}, name=NON_EMPTY, descr=TEXT, device_key=NUMBER), minProperties=2
)
CREATE = arguments({"name": NON_EMPTY}, descr=TEXT, type=ID, tags=ANY_TAGS, device_key=ID)
STANDARD = arguments({"device_id": ID, "info_type": NON_EMPTY, "value": INFOS})
EXTENDED = arguments({"device_id": ID, "infos": INFOS})
TYPE = arguments({"device_type_id": ID})
LOGS = arguments(device_id=ID, page=PAGE)
CUSTOMER_DEVICES = arguments({"customer_id": ID}, page=PAGE)
CUSTOMER_CREATE = arguments(
    {"name": NON_EMPTY, "account": ID, "password": NON_EMPTY},
    descr=TEXT,
    email=TEXT,
    mobile=NUMBER,
    tags=ANY_TAGS,
)
CUSTOMER_INFO = ArgumentSchema(
    arguments({"customer_id": ID}, name=NON_EMPTY, descr=TEXT, email=TEXT, mobile=NUMBER), minProperties=2
)
CUSTOMER_PASSWORD = arguments({"customer_id": ID, "password": NON_EMPTY})
CUSTOMER_TAGS = arguments({"customer_id": ID, "tags": TAGS})
AUTH = arguments({"account": ID, "password": NON_EMPTY})
