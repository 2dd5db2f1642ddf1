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
from fleet2mqtt.sdk.api import SECRET
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
    **scan_interval(devices=60, attributes=60, schema=3600, alarms=60, stat=300, meta=3600),
}

TEXT = vol.All(str, vol.Length(max=MAX_TEXT))
NON_EMPTY = vol.All(str, vol.Length(min=1, max=MAX_TEXT))
ID = vol.All(identifier, vol.Length(min=1, max=MAX_TEXT))
IDS = vol.All([ID], vol.Length(min=1))
NUMBER = vol.All(identifier, vol.Length(max=MAX_TEXT))
"""A text that may consist of digits alone: a telephone number."""
PAGE = vol.All(whole, vol.Range(min=1))
MILLISECONDS = vol.All(whole, vol.Range(min=0))
VALUES = vol.All({NON_EMPTY: object}, vol.Length(min=1))
TAGS = vol.All({NON_EMPTY: TEXT}, vol.Length(min=1))
INFO = vol.Any(str, bool, int, float)
HEX = re.compile(r"\s*[0-9A-Fa-f]{2}(?:\s*[0-9A-Fa-f]{2})*\s*")


def arguments(required: Mapping[str, Any] | None = None, **optional: Any) -> dict[Any, Any]:
    """Return the schema of required and optional arguments."""
    markers = {vol.Required(name): validator for name, validator in (required or {}).items()}
    return markers | {vol.Optional(name): validator for name, validator in optional.items()}


DEVICE = arguments({"device_id": ID})
CUSTOMER = arguments({"customer_id": ID})
NONE: dict[Any, Any] = {}
LIST = arguments(page=PAGE, type=ID, group=ID)
HISTORY = {
    **arguments({"device_id": ID, "identifier": ID}, start_time=MILLISECONDS, end_time=MILLISECONDS),
    vol.Optional("page", default=1): PAGE,
    vol.Optional("pages", default=1): vol.All(whole, vol.Range(min=1, max=50)),
    vol.Optional("page_records", default=20): vol.All(whole, vol.Range(min=1, max=100)),
}
COMMAND = {
    **arguments({"device_id": ID, "method": NON_EMPTY}, id=whole),
    vol.Optional("params", default=dict): dict,
}
DATA = {
    **arguments({"device_id": ID, "identifier": ID, "type": vol.In(["hex", "text", "json"])}),
    vol.Required("msg"): vol.Any(str, dict),
    vol.Optional("push_mode", default="mqtt"): vol.In(["mqtt", "tcp"]),
}
SET = arguments({"device_id": ID, "attributes": VALUES})
KEYS = arguments({"device_id": ID, "keys": IDS})
DEVICE_TAGS = arguments({"device_id": ID, "tags": TAGS})
GROUPS = arguments({"device_id": ID, "groups": [ID]})
DEVICE_INFO = arguments({"device_id": ID}, name=NON_EMPTY, descr=TEXT, device_key=NUMBER)
CREATE = arguments({"name": NON_EMPTY}, descr=TEXT, type=ID, tags={NON_EMPTY: TEXT}, device_key=ID)
STANDARD = arguments({"device_id": ID, "info_type": NON_EMPTY, "value": vol.All({NON_EMPTY: INFO}, vol.Length(min=1))})
EXTENDED = arguments({"device_id": ID, "infos": vol.All({NON_EMPTY: INFO}, vol.Length(min=1))})
TYPE = arguments({"device_type_id": ID})
LOGS = arguments(device_id=ID, page=PAGE)
CUSTOMER_DEVICES = arguments({"customer_id": ID}, page=PAGE)
CUSTOMER_CREATE = arguments(
    {"name": NON_EMPTY, "account": ID, "password": NON_EMPTY},
    descr=TEXT,
    email=TEXT,
    mobile=NUMBER,
    tags={NON_EMPTY: TEXT},
)
CUSTOMER_INFO = arguments({"customer_id": ID}, name=NON_EMPTY, descr=TEXT, email=TEXT, mobile=NUMBER)
CUSTOMER_PASSWORD = arguments({"customer_id": ID, "password": NON_EMPTY})
CUSTOMER_TAGS = arguments({"customer_id": ID, "tags": TAGS})
AUTH = arguments({"account": ID, "password": NON_EMPTY})
