"""Control of a simulated AC from another process: the paths under `/_sim/`, JSON in and out, 400 for errors."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import CONTROL, explaining
from fleet2mqtt.simulators.sangfor_ac.protocol import Chapter, Tree
from fleet2mqtt.simulators.sangfor_ac.state import SIMULATOR, Simulator, overlay

_SETTINGS = ("key", "min_spacing", "answer_delay", "row_limit", "utc_offset_hours")
_SETS = ("missing_chapters", "redirects", "empty_bodies")
_SWITCHES = (
    *("busy_when_concurrent", "outside_whitelist", "service_disabled", "bbc_centre", "missing_as_text"),
    *("code_missing", "braces_for_empty", "numbers_as_text"),
    *("device_fluxpolicy", "old_father_id", "table_spelling"),
    *("ipmac_under_bindinfo", "bindings_without_search", "fuzzy_bindings", "deletes_pairs"),
    *("newer_terminals", "silent_protection", "flat_user_fields", "nested_user_fields", "expiry_as_text"),
    *("unit_ignored", "unit_missing"),
)
_STATE = (
    *("groups", "net_policies", "flux_policies", "group_policies", "user_policies"),
    *("users", "bindings", "ipmac", "online", "status", "reused_randoms", "most_in_flight"),
)


def control_routes() -> list[web.RouteDef]:
    """Routes for online users, accounts, groups, policies, bindings, status, quirks and the whole state."""
    return [
        web.post(CONTROL + "online", explaining(_online)),
        web.post(CONTROL + "user", explaining(_user)),
        web.post(CONTROL + "group", explaining(_group)),
        web.post(CONTROL + "policy", explaining(_policy)),
        web.post(CONTROL + "binding", explaining(_binding)),
        web.post(CONTROL + "status", explaining(_status)),
        web.post(CONTROL + "quirks", explaining(_quirks)),
        web.get(CONTROL + "state", _state),
    ]


def quirks(simulator: Simulator) -> Tree:
    """Return all switches and settings as JSON has them."""
    plain = {name: getattr(simulator, name) for name in (*_SETTINGS, *_SWITCHES)}
    return plain | {name: sorted(getattr(simulator, name)) for name in _SETS}


async def _online(request: web.Request) -> web.Response:
    """`ip` with `remove`, with `name` (logs in) or with fields to change."""
    simulator, values = request.app[SIMULATOR], await request.json()
    ip = values.pop("ip")
    if values.pop("remove", False):
        simulator.log_out(ip)
    elif "name" in values:
        simulator.log_in(ip, values.pop("name"), **values)
    else:
        overlay(simulator.online[ip], values)
    return web.json_response(simulator.online.get(ip))


async def _user(request: web.Request) -> web.Response:
    """`name` with `remove`, or with fields to change; added if it is not there."""
    simulator, values = request.app[SIMULATOR], await request.json()
    name = values.pop("name")
    if values.pop("remove", False):
        simulator.remove_user(name)
    elif name in simulator.users:
        overlay(simulator.users[name], values)
    else:
        simulator.add_user(name, **values)
    return web.json_response(simulator.users.get(name))


async def _group(request: web.Request) -> web.Response:
    """`path` with `remove`, or with `desc` and `policies`; added if it is not there."""
    simulator, values = request.app[SIMULATOR], await request.json()
    path = values["path"]
    if values.get("remove", False):
        simulator.remove_group(path)
    else:
        simulator.groups[path] = values.get("desc", simulator.groups.get(path, ""))
        simulator.group_policies[path] = list(values.get("policies", simulator.group_policies.get(path, [])))
    return web.json_response(simulator.groups.get(path))


async def _policy(request: web.Request) -> web.Response:
    """`name` of a net policy with fields of its `policy_info`, or of a channel with fields of 3.2."""
    simulator, values = request.app[SIMULATOR], await request.json()
    name = values.pop("name")
    policy = simulator.net_policy(name)
    item = simulator.flux_policy(name) if policy is None else policy["policy_info"]
    if item is None:
        raise KeyError(name)
    overlay(item, values)
    return web.json_response(item)


async def _binding(request: web.Request) -> web.Response:
    """`ip` and `mac`, or `name` and `addr` with other fields of 4.1; with `remove` the one with that `ip` or `addr`."""
    simulator, values = request.app[SIMULATOR], await request.json()
    remove = values.pop("remove", False)
    if remove and "ip" in values:
        del simulator.ipmac[values["ip"]]
    elif remove:
        addr = values["addr"]
        simulator.bindings[:] = [item for item in simulator.bindings if item["addr"] != addr]
    elif "ip" in values:
        simulator.bind_ip(**values)
    else:
        simulator.bind_user(**values)
    return web.json_response({"bindings": simulator.bindings, "ipmac": simulator.ipmac})


async def _status(request: web.Request) -> web.Response:
    """Values of chapter 1 by the last part of their path; `interfaces` carry bytes a second."""
    status = request.app[SIMULATOR].status
    overlay(status, await request.json())
    return web.json_response(status)


async def _quirks(request: web.Request) -> web.Response:
    """Switches and settings of `Simulator`; sets are lists."""
    simulator, values = request.app[SIMULATOR], await request.json()
    now = quirks(simulator)
    for name, value in values.items():
        if type(value) is not type(now[name]) and not (isinstance(now[name], float) and type(value) is int):
            raise TypeError(name)
    if not set(values.get("missing_chapters", ())) <= set(Chapter):
        raise ValueError(values["missing_chapters"])
    for name, value in values.items():
        setattr(simulator, name, set(value) if name in _SETS else value)
    return web.json_response(quirks(simulator))


async def _state(request: web.Request) -> web.Response:
    simulator = request.app[SIMULATOR]
    state: dict[str, Any] = {name: getattr(simulator, name) for name in _STATE}
    return web.json_response(state | {"quirks": quirks(simulator), "arrivals": list(simulator.arrivals)})
