"""Actions: vendor calls that are no entity. They return the UMS's response, one page at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fleet2mqtt.errors import CommandError
from fleet2mqtt.platforms.ums import schemas
from fleet2mqtt.platforms.ums.client import Client
from fleet2mqtt.platforms.ums.coordinator import Coordinator
from fleet2mqtt.sdk.api import Action, ActionDescription, actions_of
from fleet2mqtt.sdk.pagination import Page
from fleet2mqtt.sdk.response_cache import complete

Arguments = dict[str, Any]
Run = Callable[[Coordinator, Arguments], Awaitable[Any]]


def _paged(call: Callable[[Client, Arguments, int, int], Awaitable[Page]]) -> Run:
    """Return a list action: without `limit` its pages are as long as those of polls."""

    async def run(coordinator: Coordinator, arguments: Arguments) -> Any:
        limit = arguments.get("limit", coordinator.page_size)
        return _data(await call(coordinator.client, arguments, arguments["offset"], limit))

    return run


def _history(client: Client, arguments: Arguments, offset: int, limit: int) -> Awaitable[Page]:
    return client.alarm_history(arguments["metric_history_producer"], offset, limit)


def _events(client: Client, arguments: Arguments, offset: int, limit: int) -> Awaitable[Page]:
    return client.event_statistics(offset, limit, _window(arguments))


def _lines(client: Client, arguments: Arguments, offset: int, limit: int) -> Awaitable[Page]:
    return client.fxo_status(arguments["device_mac"], offset, limit)


async def _test(coordinator: Coordinator, arguments: Arguments) -> Any:
    coordinator.schedule.note_test(arguments["device_mac"])
    limit = arguments.get("limit", coordinator.page_size)
    return _data(await coordinator.client.fxo_test(arguments["device_mac"], arguments["offset"], limit))


async def _count_alarms(coordinator: Coordinator, arguments: Arguments) -> Any:
    return _data(await coordinator.client.alarm_statistics(arguments["macs"]))


async def _login(coordinator: Coordinator, arguments: Arguments) -> Any:
    return {"user": await coordinator.client.login(arguments["account"], arguments["password"])}


ACTIONS: tuple[ActionDescription[Coordinator], ...] = (
    ActionDescription(
        "device_list", "Gateways", schemas.PAGE, _paged(lambda client, _, *page: client.device_list(*page))
    ),
    ActionDescription(
        "alarm_latest",
        "Newest alarms (48 h)",
        schemas.PAGE,
        _paged(lambda client, _, *page: client.alarm_latest(*page)),
    ),
    ActionDescription("alarm_history", "All alarms of a gateway", schemas.ALARMS, _paged(_history)),
    ActionDescription("alarm_statistics", "Alarm counts of gateways", schemas.MACS, _count_alarms),
    ActionDescription("event_statistics", "Event counts (1 h, or the window given)", schemas.WINDOW, _paged(_events)),
    ActionDescription(
        "status_history",
        "Online counts over time",
        schemas.PAGE,
        _paged(lambda client, _, *page: client.status_history(*page)),
    ),
    ActionDescription("fxo_status", "FXO lines of a gateway as last known", schemas.LINES, _paged(_lines)),
    ActionDescription("fxo_test", "Test the FXO lines of a gateway now", schemas.LINES, _test, ("lines",)),
    ActionDescription(
        "login", "Check an account of the UMS; no session is kept", schemas.ACCOUNT, _login, destructive=True
    ),
)
"""One for each endpoint of the UMS document 3 and 4."""


def actions(coordinator: Coordinator) -> tuple[Action, ...]:
    """Return the actions of this backend."""
    return actions_of(coordinator, ACTIONS)


def _data(page: Page) -> dict[str, Any]:
    return {
        key: [complete(item) for item in value] if isinstance(value, list) else value
        for key, value in page.response.items()
        if key not in {"code", "status"}
    }


def _window(arguments: Arguments) -> dict[str, str]:
    window: dict[str, str] = {key: arguments[key] for key in ("startTime", "endTime") if key in arguments}
    if len(window) == 2 and window["startTime"] > window["endTime"]:
        raise CommandError("bad_window", "startTime is after endTime")
    return window
