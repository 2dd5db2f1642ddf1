"""Schemas of the platform's options and of the arguments of its actions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import voluptuous as vol

from fleet2mqtt.platforms.ums.models import normalize_mac
from fleet2mqtt.sdk.json_schema import Described
from fleet2mqtt.sdk.validators import identifier, scan_interval, whole

Schema = dict[Any, Any]

_MAC = re.compile(r"[0-9A-F]{12}")
_TIME = "%Y-%m-%d %H:%M:%S"
_TIME_PATTERN = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]) ([01]\d|2[0-3]):[0-5]\d:[0-5]\d$"
_SEPARATED = r"[-:. \t]*([0-9A-Fa-f][-:. \t]*){12}"
_AS_NUMBER = {"type": "integer", "minimum": 10**11, "maximum": 10**12 - 1}
"""A MAC of decimal digits that YAML or JSON made a number."""

OPTIONS: Mapping[Any, Any] = {
    vol.Optional("page_size", default=100): vol.All(int, vol.Range(min=1, max=1000)),
    vol.Optional("concurrency", default=2): vol.All(int, vol.Range(min=1, max=16)),
    # The document names no period for the one value that could stand still, the time of the statistics.
    vol.Optional("stale_after", default=0): vol.All(vol.Any(int, float), vol.Range(min=0)),
    **scan_interval(
        "lines",
        "status",
        "statistics",
        "events",
        devices=60,
        alarms=60,
        lines=300,
        status=300,
        statistics=300,
        events=300,
    ),
}


def _mac(value: str | int) -> str:
    """Validate a MAC in any notation; return it as the UMS writes it."""
    found = normalize_mac(identifier(value))
    if found is None or not _MAC.fullmatch(found):
        raise vol.Invalid("expected a MAC such as 000EA93D022E")
    return found


def _time(value: Any) -> str:
    """Validate a time as the UMS document 3.5 writes it."""
    try:
        if not re.match(_TIME_PATTERN, value):
            raise vol.Invalid("expected a time such as 2021-03-09 17:55:40")
        return datetime.strptime(value, _TIME).strftime(_TIME)  # noqa: DTZ007 - the zone is the server's own
    except (ValueError, TypeError) as error:
        raise vol.Invalid("expected a time such as 2021-03-09 17:55:40") from error


def _macs(value: str | int) -> list[str]:
    macs = [_mac(item) for item in identifier(value).split(",") if item.strip()]
    if not macs:
        raise vol.Invalid("expected one MAC at least")
    return macs


def _mac_list(value: Any) -> list[str]:
    """Validate MACs in a list, or in a text with commas between them."""
    if isinstance(value, list):
        if not value:
            raise vol.Invalid("expected one MAC at least")
        return [_mac(item) for item in value]
    return _macs(value)


_MAC_SCHEMA: Schema = {"anyOf": [{"type": "string", "pattern": f"^{_SEPARATED}$"}, _AS_NUMBER]}
_MACS_PATTERN = rf"^([ \t]*,)*{_SEPARATED}(,({_SEPARATED}|[ \t]*))*$"

mac = Described(_mac, **_MAC_SCHEMA)
mac_list = Described(
    _mac_list,
    anyOf=[
        {"type": "array", "items": _MAC_SCHEMA, "minItems": 1},
        {"type": "string", "pattern": _MACS_PATTERN},
        _AS_NUMBER,
    ],
)
time = Described(_time, type="string", pattern=_TIME_PATTERN)


PAGE: Schema = {
    vol.Optional("limit"): vol.All(whole, vol.Range(min=1, max=1000)),
    vol.Optional("offset", default=0): vol.All(whole, vol.Range(min=0)),
}
LINES: Schema = {vol.Required("device_mac"): mac, **PAGE}
ALARMS: Schema = {vol.Required("metric_history_producer"): mac, **PAGE}
MACS: Schema = {vol.Required("macs"): mac_list}
WINDOW: Schema = {vol.Optional("startTime"): time, vol.Optional("endTime"): time, **PAGE}
ACCOUNT: Schema = {vol.Required("account"): vol.All(identifier, vol.Length(min=1)), vol.Required("password"): str}
