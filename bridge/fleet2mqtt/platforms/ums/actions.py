"""Vendor calls that are no entity: requests that answer with what the UMS says, page by page as asked."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import voluptuous as vol

from fleet2mqtt.errors import CommandError
from fleet2mqtt.platforms.ums.client import Client
from fleet2mqtt.platforms.ums.coordinator import System
from fleet2mqtt.platforms.ums.models import mac_of
from fleet2mqtt.platforms.ums.paging import Page
from fleet2mqtt.sdk.api import Action, ActionDescription, actions_of
from fleet2mqtt.sdk.validators import identifier, whole

Arguments = dict[str, Any]
Schema = dict[Any, Any]
Run = Callable[["System", Arguments], Awaitable[Any]]

_MAC = re.compile(r"[0-9A-F]{12}")
_TIME = "%Y-%m-%d %H:%M:%S"


def mac(value: str | int) -> str:
    """A MAC in any notation, as the UMS writes it."""
    found = mac_of(identifier(value))
    if found is None or not _MAC.fullmatch(found):
        raise vol.Invalid("expected a MAC such as 000EA93D022E")
    return found


def moment(value: Any) -> str:
    """A time as the UMS document 3.5 writes it."""
    try:
        return datetime.strptime(value, _TIME).strftime(_TIME)  # noqa: DTZ007 - the zone is the server's own
    except (ValueError, TypeError) as error:
        raise vol.Invalid("expected a time such as 2021-03-09 17:55:40") from error


def _macs(value: str | int) -> list[str]:
    return [mac(part) for part in identifier(value).split(",") if part.strip()]


_ROWS: Schema = {
    vol.Optional("limit"): vol.All(whole, vol.Range(min=1, max=1000)),
    vol.Optional("offset", default=0): vol.All(whole, vol.Range(min=0)),
}
_LINES: Schema = {vol.Required("device_mac"): mac, **_ROWS}
_ALARMS: Schema = {vol.Required("metric_history_producer"): mac, **_ROWS}
_MACS: Schema = {vol.Required("macs"): vol.All(vol.Any([mac], _macs), vol.Length(min=1))}
_WINDOW: Schema = {vol.Optional("startTime"): moment, vol.Optional("endTime"): moment, **_ROWS}
_ACCOUNT: Schema = {vol.Required("account"): vol.All(identifier, vol.Length(min=1)), vol.Required("password"): str}


def _paged(call: Callable[[Client, Arguments, int, int], Awaitable[Page]]) -> Run:
    """A list: without `limit` the pages are as long as the polls' own."""

    async def run(system: System, arguments: Arguments) -> Any:
        limit = arguments.get("limit", system.page_size)
        return _said(await call(system.client, arguments, arguments["offset"], limit))

    return run


def _history(client: Client, arguments: Arguments, offset: int, limit: int) -> Awaitable[Page]:
    return client.alarm_history(arguments["metric_history_producer"], offset, limit)


def _events(client: Client, arguments: Arguments, offset: int, limit: int) -> Awaitable[Page]:
    return client.event_statistics(offset, limit, _window(arguments))


def _lines(client: Client, arguments: Arguments, offset: int, limit: int) -> Awaitable[Page]:
    return client.fxo_status(arguments["device_mac"], offset, limit)


def _test(client: Client, arguments: Arguments, offset: int, limit: int) -> Awaitable[Page]:
    return client.fxo_test(arguments["device_mac"], offset, limit)


async def _count_alarms(system: System, arguments: Arguments) -> Any:
    return _said(await system.client.alarm_statistics(arguments["macs"]))


async def _login(system: System, arguments: Arguments) -> Any:
    return {"user": await system.client.login(arguments["account"], arguments["password"])}


ACTIONS = (
    ActionDescription("device_list", "Gateways", _ROWS, _paged(lambda client, _, *page: client.device_list(*page))),
    ActionDescription(
        "alarm_latest", "Newest alarms (48 h)", _ROWS, _paged(lambda client, _, *page: client.alarm_latest(*page))
    ),
    ActionDescription("alarm_history", "All alarms of a gateway", _ALARMS, _paged(_history)),
    ActionDescription("alarm_statistics", "Alarm counts of gateways", _MACS, _count_alarms),
    ActionDescription("event_statistics", "Event counts (1 h, or the window given)", _WINDOW, _paged(_events)),
    ActionDescription(
        "status_history",
        "Online counts over time",
        _ROWS,
        _paged(lambda client, _, *page: client.status_history(*page)),
    ),
    ActionDescription("fxo_status", "FXO lines of a gateway as last known", _LINES, _paged(_lines)),
    ActionDescription("fxo_test", "Test the FXO lines of a gateway now", _LINES, _paged(_test), ("lines",)),
    ActionDescription("login", "Check an account of the UMS; no session is kept", _ACCOUNT, _login),
)
"""One for each endpoint of the UMS document 3 and 4."""


def actions(system: System) -> tuple[Action, ...]:
    """Every action of this backend."""
    return actions_of(system, ACTIONS)


def _said(page: Page) -> dict[str, Any]:
    return {key: value for key, value in page.reply.items() if key not in {"code", "status"}}


def _window(arguments: Arguments) -> dict[str, str]:
    window: dict[str, str] = {key: arguments[key] for key in ("startTime", "endTime") if key in arguments}
    if len(window) == 2 and window["startTime"] > window["endTime"]:
        raise CommandError("bad_window", "startTime is after endTime")
    return window
