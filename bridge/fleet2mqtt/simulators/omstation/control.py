"""The control paths of a simulated omstation under `/_sim/`: JSON in and out, 400 for what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import CONTROL, explaining
from fleet2mqtt.simulators.omstation.assets import ASSET_FIELDS, asset
from fleet2mqtt.simulators.omstation.protocol import Code, TokenAnswer
from fleet2mqtt.simulators.omstation.state import SIMULATOR, Simulator

STATE = (
    *("org_id", "accounts", "expired_accounts", "tokens", "login_count", "bad_logins", "stations", "lattices"),
    *("charge", "devices", "away", "collections", "transfers", "low_inventory"),
)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


SWITCHES: dict[str, Callable[[Any], bool]] = {
    "add_answers": lambda value: type(value) is int and value in (Code.SUCCESS, Code.EXCEPTION),
    "lock_after": lambda value: value is None or (type(value) is int and value > 0),
    "locked_code": lambda value: type(value) is int,
    "token_answer": lambda value: value in set(TokenAnswer),
    **dict.fromkeys(
        (
            *("single_session", "writes_say_105", "null_strings", "statistics_as_text", "lattices_missing"),
            *("window_filters_sums", "size_is_page_size"),
        ),
        _is_bool,
    ),
}


def control_routes() -> list[web.RouteDef]:
    """Return the routes for stations, lattices, accounts, tokens, quirks and the whole state."""
    return [
        web.post(CONTROL + "station", explaining(_station)),
        web.post(CONTROL + "lattice", explaining(_lattice)),
        web.post(CONTROL + "account", explaining(_account)),
        web.post(CONTROL + "asset", explaining(_asset)),
        web.post(CONTROL + "expire_tokens", explaining(_expire_tokens)),
        web.post(CONTROL + "quirks", explaining(_quirks)),
        web.get(CONTROL + "state", _state),
    ]


async def _station(request: web.Request) -> web.Response:
    """Without `id` a new one of so many `lattices`; else `remove` as true, or fields to change."""
    simulator, values = request.app[SIMULATOR], await request.json()
    station_id, remove = values.pop("id", None), values.pop("remove", False)
    if station_id is None:
        return web.json_response(simulator.add_station(**values))
    if remove:
        simulator.remove_station(station_id)
        return web.json_response(None)
    return web.json_response(simulator.change_station(station_id, **values))


async def _lattice(request: web.Request) -> web.Response:
    """`stationId`, `latticeNo`, and `take` as true, `return` as object (`device_id`, `charge`), or fields to change."""
    simulator, values = request.app[SIMULATOR], await request.json()
    station_id, number = values.pop("stationId"), values.pop("latticeNo")
    take, returned, charge = values.pop("take", False), values.pop("return", None), values.pop("charge", None)
    if take:
        simulator.take_lock(station_id, number)
    if returned is not None:
        simulator.return_lock(station_id, number, **returned)
    if charge is not None:
        simulator.set_charge(station_id, number, charge)
    if values:
        simulator.change_lattice(station_id, number, **values)
    return web.json_response(simulator.lattice(station_id, number))


async def _account(request: web.Request) -> web.Response:
    """`userName`, and `password` (null: there is no such account), `expired`, `unlock` as true."""
    simulator, values = request.app[SIMULATOR], await request.json()
    name = values.pop("userName")
    if "password" in values:
        simulator.set_password(name, values.pop("password"))
    if "expired" in values:
        (simulator.expired_accounts.add if values.pop("expired") else simulator.expired_accounts.discard)(name)
    if values.pop("unlock", False):
        simulator.bad_logins.pop(name, None)
    if values:
        raise AttributeError(", ".join(values))
    return web.json_response({"accounts": simulator.accounts, "expired": sorted(simulator.expired_accounts)})


async def _asset(request: web.Request) -> web.Response:
    """`deviceId`, and fields of the asset call to change from now on; without any it is as it was."""
    simulator, values = request.app[SIMULATOR], await request.json()
    id_ = values.pop("deviceId")
    unknown = values.keys() - set(ASSET_FIELDS)
    if unknown:
        raise AttributeError(", ".join(sorted(unknown)))
    simulator.asset_changes[id_] = values
    return web.json_response(asset(simulator, id_))


async def _expire_tokens(request: web.Request) -> web.Response:
    request.app[SIMULATOR].expire_tokens()
    return web.json_response(None)


async def _quirks(request: web.Request) -> web.Response:
    """The switches of `Simulator`; all are checked before any is set."""
    simulator, values = request.app[SIMULATOR], await request.json()
    for name, value in values.items():
        if not SWITCHES[name](value):
            raise ValueError(f"{name}: {value!r}")
    for name, value in values.items():
        setattr(simulator, name, value)
    return web.json_response(_switches(simulator))


async def _state(request: web.Request) -> web.Response:
    simulator = request.app[SIMULATOR]
    state = {name: getattr(simulator, name) for name in STATE}
    return web.json_response(state | {"expired_accounts": sorted(state["expired_accounts"]), **_switches(simulator)})


def _switches(simulator: Simulator) -> dict[str, Any]:
    return {name: getattr(simulator, name) for name in SWITCHES}
