"""The actions: vendor calls that are not entities. Arguments carry the vendor's own field names.

Authorisations contain names, telephone numbers and addresses: those go into the response and nowhere else, and only
where `allow` names the action; their codes were dropped by the parser. A write that the vendor answers with 105 ends as
an error with that code.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import voluptuous as vol

from fleet2mqtt.errors import CommandError
from fleet2mqtt.platforms.omstation import schemas
from fleet2mqtt.platforms.omstation.client import COLLECTIONS, STATIONS, TRANSFERS
from fleet2mqtt.platforms.omstation.coordinator import Coordinator
from fleet2mqtt.platforms.omstation.envelope import list_member
from fleet2mqtt.platforms.omstation.window import period_text
from fleet2mqtt.sdk.api import Action, ActionDescription, actions_of
from fleet2mqtt.sdk.vendor_json import number, text

Arguments = dict[str, Any]
ListPage = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

PERIOD = 1
"""The type of an authorisation that holds within a period; the times count for no other."""
OPEN_STATES = (0, 1)
PAGE_SIZE = 100
MAX_PAGES = 1000

_STATION_FIELDS = ("stationName", "deviceId", "totalCount", "latticeAssetList")
_PERSON_FIELDS = ("toUser", "phoneNum", "email", "descInfo")


async def _station_list(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.list_stations(arguments.get("orgId"))


async def _station_get(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.list_lattices({"id": arguments["id"], **_window(coordinator, arguments)})


async def _station_add(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.add_station(arguments)


async def _station_update(coordinator: Coordinator, arguments: Arguments) -> Any:
    """Change a station; the vendor's page wants all its fields, so those not given are taken from the list."""
    data = await coordinator.client.list_stations(arguments.get("orgId"))
    stations = [item for item in list_member(data, "stationInfoList", STATIONS) if isinstance(item, dict)]
    current = next((station for station in stations if text(station.get("id")) == arguments["id"]), None)
    if current is None:
        raise CommandError("unknown_station", f"the vendor lists no station {arguments['id']!r}")
    count = number(current.get("totalCount"))
    listed = current | {"totalCount": None if count is None else str(count)}
    return await coordinator.client.update_station(_completed(arguments, listed, _STATION_FIELDS))


async def _device_register(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.add_devices(arguments)


async def _authorisation_list(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.list_authorisations(_page(coordinator, arguments))


async def _transfer_list(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.list_transfers(_page(coordinator, arguments))


async def _authorisation_add(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.update_authorisation(_with_period(arguments | {"id": ""}))


async def _authorisation_update(coordinator: Coordinator, arguments: Arguments) -> Any:
    """Change an authorisation; what is not given is taken from the list. An empty id creates."""
    current: Arguments = {}
    if arguments["id"]:
        current = await _get_authorisation(coordinator, arguments)
    fields = ("type", "deviceTypes", *_PERSON_FIELDS)
    period = {name: arguments[name] if name in arguments else current.get(name) for name in ("startTime", "endTime")}
    return await coordinator.client.update_authorisation(_with_period(_completed(arguments, current, fields) | period))


async def _authorisation_cancel(coordinator: Coordinator, arguments: Arguments) -> Any:
    """End an authorisation: no call cancels, so its period is changed to one that is over everywhere on Earth.

    Raises CommandError `unconfirmed` where the list still shows it as open.
    """
    current = await _get_authorisation(coordinator, arguments)
    if number(current.get("status")) not in OPEN_STATES:
        raise CommandError("not_open", f"the authorisation {arguments['id']!r} is not open")
    over = str(datetime.now(UTC).date() - timedelta(days=2))
    period = {"type": PERIOD, "startTime": over, "endTime": over}
    change = _completed(arguments, current, ("deviceTypes", *_PERSON_FIELDS)) | period
    response = await coordinator.client.update_authorisation(change)
    if number((await _get_authorisation(coordinator, arguments)).get("status")) in OPEN_STATES:
        raise CommandError("unconfirmed", "the vendor accepted the change and still lists the authorisation as open")
    return response


async def _transfer_add(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.update_transfer(arguments | {"id": ""})


async def _authorisation_transfer(coordinator: Coordinator, arguments: Arguments) -> Any:
    """Change a transfer; what is not given is taken from the list, which shows no `authInfo`. An empty id creates."""
    current: Arguments = {}
    if arguments["id"]:
        current = await _find(coordinator, coordinator.client.list_transfers, TRANSFERS, arguments)
    return await coordinator.client.update_transfer(_completed(arguments, current, _PERSON_FIELDS))


def _window(coordinator: Coordinator, arguments: Arguments) -> dict[str, str]:
    window = coordinator.window.bounds(arguments.get("startTime"), arguments.get("endTime"))
    if window["startTime"] > window["endTime"]:
        raise CommandError("bad_window", "startTime is after endTime")
    return window


def _page(coordinator: Coordinator, arguments: Arguments) -> Arguments:
    """Return the body of a list of authorisations, with all fields in the form of its page's sample."""
    return arguments | _window(coordinator, arguments) | {"pageNum": str(arguments["pageNum"])}


async def _get_authorisation(coordinator: Coordinator, arguments: Arguments) -> Arguments:
    """Return an authorisation as the list shows it, with its `deviceTypes` in the form of a change."""
    current = await _find(coordinator, coordinator.client.list_authorisations, COLLECTIONS, arguments)
    try:
        types = schemas.device_types([int(each) for each in str(current.get("deviceTypes")).split(",")])
    except (ValueError, vol.Invalid):
        types = None  # left for the caller to give
    return current | {"deviceTypes": types}


async def _find(coordinator: Coordinator, list_page: ListPage, endpoint: str, arguments: Arguments) -> Arguments:
    """Return the authorisation with an id from the vendor's list. Raises CommandError where it lists none."""
    org = {name: arguments[name] for name in ("orgId",) if name in arguments}
    whole = {"status": -2, "key": "", "pageSize": PAGE_SIZE, **coordinator.window.bounds(), **org}
    for page in range(1, MAX_PAGES):
        data = await list_page({**whole, "pageNum": str(page)})
        items = list_member(data, "data", endpoint)
        found = [item for item in items if isinstance(item, dict) and text(item.get("id")) == arguments["id"]]
        if found:
            current: Arguments = found[0]
            return current
        if not items or page * PAGE_SIZE >= (number(data.get("total")) or 0):
            break
    raise CommandError("unknown_authorisation", f"the vendor lists no authorisation {arguments['id']!r}")


def _completed(arguments: Arguments, listed: Arguments, fields: tuple[str, ...]) -> Arguments:
    """Return the arguments with all fields, taken from the vendor's list where they are not given.

    Raises CommandError where the list has no value either.
    """
    values = {name: listed[name] for name in fields if listed.get(name) is not None} | arguments
    values |= {name: "" for name in ("email", "descInfo") if name in fields and name not in values}
    missing = [name for name in fields if name not in values]
    if missing:
        raise CommandError("incomplete", f"the vendor does not list {', '.join(missing)}, so they must be given")
    return values


def _with_period(authorisation: Arguments) -> Arguments:
    """Return an authorisation with its times in the form of the page: null unless the type is that of a period."""
    bounds = [authorisation.get(name) for name in ("startTime", "endTime")]
    if number(authorisation["type"]) != PERIOD:
        bounds = [None, None]
    elif None in bounds:
        raise CommandError("incomplete", "an authorisation of type 1 needs startTime and endTime")
    start, end = (bound if isinstance(bound, str) else period_text(bound) for bound in bounds)
    if start is not None and end is not None and start > end:
        raise CommandError("bad_window", "startTime is after endTime")
    return authorisation | {"startTime": start, "endTime": end}


_STATION_SOURCES = ("stations", "lattices")
_AUTHORISATION_SOURCES = ("authorisations",)
ACTIONS = (
    ActionDescription("station_list", "All stations and their sums", schemas.STATION_LIST, _station_list),
    ActionDescription("station_get", "The lattices of a station and their sums", schemas.STATION_GET, _station_get),
    ActionDescription("station_add", "Add a station", schemas.STATION_ADD, _station_add, _STATION_SOURCES),
    ActionDescription("station_update", "Change a station", schemas.STATION_UPDATE, _station_update, _STATION_SOURCES),
    ActionDescription("device_register", "Register locks", schemas.DEVICE_REGISTER, _device_register, _STATION_SOURCES),
    ActionDescription(
        "authorisation_list",
        "A page of authorisations",
        schemas.AUTHORISATION_LIST,
        _authorisation_list,
        destructive=True,
    ),
    ActionDescription(
        "authorisation_transfer_list",
        "A page of transfers",
        schemas.TRANSFER_LIST,
        _transfer_list,
        destructive=True,
    ),
    ActionDescription(
        "authorisation_add",
        "Create an authorisation",
        schemas.AUTHORISATION_ADD,
        _authorisation_add,
        _AUTHORISATION_SOURCES,
        destructive=True,
    ),
    ActionDescription(
        "authorisation_update",
        "Change an authorisation",
        schemas.AUTHORISATION_UPDATE,
        _authorisation_update,
        _AUTHORISATION_SOURCES,
        destructive=True,
    ),
    ActionDescription(
        "authorisation_cancel",
        "End an authorisation",
        schemas.AUTHORISATION_CANCEL,
        _authorisation_cancel,
        _AUTHORISATION_SOURCES,
        destructive=True,
    ),
    ActionDescription(
        "authorisation_transfer_add",
        "Create a transfer of authorisations",
        schemas.TRANSFER_ADD,
        _transfer_add,
        _AUTHORISATION_SOURCES,
        destructive=True,
    ),
    ActionDescription(
        "authorisation_transfer",
        "Change a transfer of authorisations",
        schemas.TRANSFER_UPDATE,
        _authorisation_transfer,
        _AUTHORISATION_SOURCES,
        destructive=True,
    ),
)


def backend_actions(coordinator: Coordinator) -> tuple[Action, ...]:
    """Return the actions of a backend: each vendor call but the login."""
    return actions_of(coordinator, ACTIONS)
