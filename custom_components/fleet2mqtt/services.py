"""The actions: each finds its bridge and backend, sends a request, and returns `{backend, data}`."""

from __future__ import annotations

from functools import partial
from typing import Any

import voluptuous as vol
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant, ServiceCall, ServiceResponse, SupportsResponse
from homeassistant.helpers import config_validation as cv

from . import alarm_actions
from .action import Action, Fields
from .action_table import ACTIONS
from .const import DOMAIN
from .coordinator import Coordinator
from .errors import usage

REQUEST = "request"
_ENTRY: Fields = {vol.Required("config_entry_id"): cv.string}
_BACKEND: Fields = {vol.Optional("backend"): cv.string}
_NAME = vol.All(cv.string, vol.Match(r"[A-Za-z0-9_-]+\Z", msg="expected a name of letters, digits, _ and -"))
_REQUEST = vol.Schema({**_ENTRY, **_BACKEND, vol.Required("action"): _NAME, vol.Optional("arguments"): dict})
_OURS = ("config_entry_id", "backend")


def register(hass: HomeAssistant) -> None:
    """Register every action."""
    for action in ACTIONS:
        hass.services.async_register(
            DOMAIN,
            action.name,
            partial(_perform, action),
            schema=vol.Schema({**_ENTRY, **_BACKEND, **action.fields}),
            supports_response=SupportsResponse.OPTIONAL if action.changes else SupportsResponse.ONLY,
        )
    hass.services.async_register(
        DOMAIN, REQUEST, _request, schema=_REQUEST, supports_response=SupportsResponse.OPTIONAL
    )
    alarm_actions.register(hass, _coordinator)


async def _perform(action: Action, call: ServiceCall) -> ServiceResponse:
    coordinator = _coordinator(call)
    backend = _backend(coordinator, action, call.data.get("backend"))
    given = {key: value for key, value in call.data.items() if key not in _OURS}
    return await _ask(coordinator, backend, action.name, action.arguments(given))


async def _request(call: ServiceCall) -> ServiceResponse:
    """Send any request of the bridge or action of a backend; bridge/info lists them with their arguments."""
    coordinator = _coordinator(call)
    backend, name = call.data.get("backend"), call.data["action"]
    if backend is not None:
        _offers(coordinator, backend, name)
    return await _ask(coordinator, backend, name, call.data.get("arguments", {}))


async def _ask(coordinator: Coordinator, backend: str | None, name: str, arguments: dict[str, Any]) -> ServiceResponse:
    data = await coordinator.request(backend, name, arguments)
    return {"backend": backend, "data": data}


def _coordinator(call: ServiceCall) -> Coordinator:
    entry = call.hass.config_entries.async_get_entry(call.data["config_entry_id"])
    if entry is None or entry.domain != DOMAIN:
        raise usage("unknown_entry", entry=call.data["config_entry_id"])
    if entry.state is not ConfigEntryState.LOADED:
        raise usage("not_loaded", name=entry.title)
    coordinator: Coordinator = entry.runtime_data
    return coordinator


def _backend(coordinator: Coordinator, action: Action, named: str | None) -> str:
    """Return the backend that is named, else the only one of the action's platform."""
    if named is not None:
        _offers(coordinator, named, action.name)
        return named
    fitting = [each.name for each in coordinator.backends.values() if each.platform == action.platform]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise usage("name_a_backend", action=action.name, backends=", ".join(sorted(fitting)))
    raise usage("no_backend", action=action.name, platform=action.platform)


def _offers(coordinator: Coordinator, backend: str, name: str) -> None:
    backends = coordinator.backends
    known = backends.get(backend)
    if known is None:
        raise usage("unknown_backend", action=name, message=", ".join(sorted(backends)))
    if name not in known.actions:
        raise usage("unknown_request", action=name, message=", ".join(sorted(known.actions)))
