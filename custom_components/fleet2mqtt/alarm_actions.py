"""The actions on alarms and maintenance windows: requests of the bridge itself, for alarms or devices.

Alarms are named by `id`, or are the active ones of devices. All answer `{backend: None, data}` like the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import voluptuous as vol
from homeassistant.core import HomeAssistant, ServiceCall, ServiceResponse, SupportsResponse
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers import device_registry as dr
from homeassistant.util import dt as dt_util

from .action import MAPPING, TEXT, TEXTS, Fields
from .const import DOMAIN
from .coordinator import Coordinator
from .errors import usage

FindBridge = Callable[[ServiceCall], Coordinator]

OPERATOR = "Home Assistant"
"""Operator of a change that no user made, such as an automation's."""
PAGE = 1_000
MQTT = "mqtt"

_ENTRY: Fields = {vol.Required("config_entry_id"): cv.string}
_OPERATOR: Fields = {
    vol.Optional("operator"): vol.All(TEXT, vol.Length(max=100)),
    vol.Optional("text"): vol.All(cv.string, vol.Length(min=1, max=1000)),
}
_ALARM: Fields = {
    **_ENTRY,
    vol.Exclusive("id", "alarm"): TEXT,
    vol.Exclusive("device_id", "alarm"): TEXTS,
    vol.Optional("alarm"): TEXT,
    **_OPERATOR,
}
_LASTING: Fields = {
    vol.Exclusive("until", "end"): cv.datetime,
    vol.Exclusive("duration", "end"): cv.positive_time_period,
}
_NAMES_AN_ALARM = cv.has_at_least_one_key("id", "device_id")
_CHANGE = vol.All(vol.Schema(_ALARM), _NAMES_AN_ALARM)
_SHELVE = vol.All(vol.Schema({**_ALARM, **_LASTING}), _NAMES_AN_ALARM, cv.has_at_least_one_key("until", "duration"))
_WINDOW = vol.All(
    vol.Schema({
        **_ENTRY,
        vol.Optional("device_id"): TEXT,
        vol.Optional("backend"): TEXT,
        vol.Optional("group"): TEXT,
        vol.Optional("selector"): MAPPING,
        vol.Optional("start"): cv.datetime,
        vol.Exclusive("end", "end"): cv.datetime,
        vol.Exclusive("duration", "end"): cv.positive_time_period,
        vol.Optional("recurrence"): TEXT,
        vol.Optional("time_zone"): TEXT,
        **_OPERATOR,
    }),
    cv.has_at_least_one_key("device_id", "backend", "group", "selector"),
)  # fmt: skip
_REMOVE = vol.Schema({**_ENTRY, vol.Required("id"): TEXT})

CHANGES = ("alarm_acknowledge", "alarm_unacknowledge", "alarm_unshelve", "alarm_close")
ADD, REMOVE, LIST, SHELVE = "maintenance_add", "maintenance_remove", "maintenance_list", "alarm_shelve"
NAMES = (*CHANGES, SHELVE, ADD, REMOVE, LIST)


def register(hass: HomeAssistant, find_bridge: FindBridge) -> None:
    """Register the actions; `find_bridge` returns the coordinator that a call names."""

    def add(
        name: str,
        schema: Any,
        perform: Callable[[Coordinator, ServiceCall], Awaitable[Any]],
        response: SupportsResponse = SupportsResponse.OPTIONAL,
    ) -> None:
        async def handle(call: ServiceCall) -> ServiceResponse:
            return {"backend": None, "data": await perform(find_bridge(call), call)}

        hass.services.async_register(DOMAIN, name, handle, schema=schema, supports_response=response)

    for name in CHANGES:
        add(name, _CHANGE, _change)
    add(SHELVE, _SHELVE, _change)
    add(ADD, _WINDOW, _add_window)
    add(REMOVE, _REMOVE, _remove_window)
    add(LIST, vol.Schema(_ENTRY), _list_windows, SupportsResponse.ONLY)


async def _change(bridge: Coordinator, call: ServiceCall) -> dict[str, Any]:
    """Change one alarm, or each active one of the devices; all are tried before the first error is raised."""
    given = await _operator(call)
    if "until" in call.data or "duration" in call.data:
        given["until"] = _end(call.data, "until", dt_util.now())
    results, errors = list[Any](), list[HomeAssistantError]()
    for alarm in await _alarms(bridge, call):
        try:
            results.append(await bridge.request(None, call.service, {**alarm, **given}))
        except HomeAssistantError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return {"alarms": results}


async def _alarms(bridge: Coordinator, call: ServiceCall) -> list[dict[str, str]]:
    """Return how the bridge is asked for each of the alarms that a call names."""
    if "id" in call.data:
        return [{"id": call.data["id"]}]
    devices = [_device(bridge, each) for each in call.data["device_id"]]
    if "alarm" in call.data:
        return [{"device": device, "alarm": call.data["alarm"]} for device in devices]
    found = list[dict[str, str]]()
    for device in devices:
        wanted = {"state": "active", "device": device, "limit": PAGE}
        found += [{"id": alarm["id"]} for alarm in (await bridge.request(None, "alarms", wanted))["alarms"]]
    return found


async def _add_window(bridge: Coordinator, call: ServiceCall) -> Any:
    data = call.data
    if "backend" in data and data["backend"] not in bridge.backends:
        raise usage("unknown_backend", action=ADD, message=", ".join(sorted(bridge.backends)))
    selector = {**data.get("selector", {}), **{key: data[key] for key in ("backend", "group") if key in data}}
    if "device_id" in data:
        selector["device"] = _device(bridge, data["device_id"])
    start = _moment(data["start"]) if "start" in data else dt_util.now()
    window = {"selector": selector, "start": start.isoformat(), **await _operator(call)}
    if "end" in data or "duration" in data:
        window["end"] = _end(data, "end", start)
    if "recurrence" in data:
        window |= {"recurrence": data["recurrence"], "time_zone": data.get("time_zone", call.hass.config.time_zone)}
    return await bridge.request(None, ADD, window)


async def _remove_window(bridge: Coordinator, call: ServiceCall) -> Any:
    return await bridge.request(None, REMOVE, {"id": call.data["id"]})


async def _list_windows(bridge: Coordinator, _: ServiceCall) -> Any:
    return await bridge.request(None, LIST, {})


def _device(bridge: Coordinator, device_id: str) -> str:
    """Return the bridge's id of a device that MQTT discovery made."""
    device = dr.async_get(bridge.hass).async_get(device_id)
    for domain, identifier, *_ in device.identifiers if device is not None else ():
        if domain == MQTT and (known := bridge.topics.device_of(identifier)) is not None:
            return known
    raise usage("unknown_device", device=device_id)


async def _operator(call: ServiceCall) -> dict[str, Any]:
    """Return the operator, by default the user who calls, and the text of a call."""
    given = {key: call.data[key] for key in ("operator", "text") if key in call.data}
    user = await call.hass.auth.async_get_user(call.context.user_id) if call.context.user_id else None
    return {"operator": user.name[:100] if user is not None and user.name else OPERATOR, **given}


def _end(data: Mapping[str, Any], name: str, start: datetime) -> str:
    duration: timedelta | None = data.get("duration")
    return (_moment(data[name]) if duration is None else start + duration).isoformat()


def _moment(moment: datetime) -> datetime:
    """Return a time with offset; one without is in Home Assistant's time zone."""
    return moment if moment.tzinfo else moment.replace(tzinfo=dt_util.get_default_time_zone())
