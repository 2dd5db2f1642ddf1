"""Online users of a simulated AC: Sangfor document, chapter 5."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fleet2mqtt.simulators.fault_injection import FaultKind
from fleet2mqtt.simulators.sangfor_ac.protocol import (
    Problem,
    Tree,
    check_group,
    check_ip,
    check_mac,
    check_range,
    check_texts,
    optional,
    require,
)
from fleet2mqtt.simulators.sangfor_ac.state import Call, Simulator

_TERMINALS = {"mobile": 1, "pc": 2, "multi": 3}
_NEWER_TERMINALS = {"iot": 4, "armarium": 5, "custom": 6}  # the numbers are not in any source
_STATUSES = {"frozen": True, "active": False}
_SHOWN = ("name", "show_name", "father_path", "ip", "mac", "terminal", "authway", "login_time")
_SINGLE_SIGN_ON = 3


def list_online(call: Call) -> Tree:
    """Sangfor document 5.1: `count` is all that match, `users` the first hundred of them."""
    simulator, body = call.simulator, call.body
    status, terminal = optional(body, "status", "all"), optional(body, "terminal", "all")
    terminals = _TERMINALS | (_NEWER_TERMINALS if simulator.newer_terminals else {})
    require(status in ("all", *_STATUSES) and terminal in ("all", *terminals))
    matches = _filter(optional(body, "filter", {}))
    if call.finds_nothing():
        return {"count": 0, "users": []}
    items = [
        item
        for item in _turned(call, simulator)
        if (status == "all" or item["frozen"] is _STATUSES[status])
        and (terminal == "all" or item["terminal"] == terminals[terminal])
        and matches(item)
    ]
    return {"count": len(items), "users": [_shown(item) for item in items[: simulator.row_limit]]}


def kick(call: Call) -> None:
    """Sangfor document 5.2."""
    check_ip(call.body["ip"])
    require(call.body["ip"] in call.simulator.online, Problem.NOT_FOUND)
    call.simulator.log_out(call.body["ip"])


def log_in(call: Call) -> None:
    """Sangfor document 5.3: single sign-on; `group` is read as `father_path`."""
    body, name = call.body, call.body["name"]
    show_name, group = optional(body, "show_name", ""), check_group(optional(body, "group", "/default"))
    mac = optional(body, "mac", "")
    check_ip(body["ip"])
    require(name)
    if mac:
        check_mac(mac)
    require(group in call.simulator.groups, Problem.NOT_FOUND)
    call.simulator.log_in(
        body["ip"], name, mac, show_name=show_name or name, father_path=group, authway=_SINGLE_SIGN_ON
    )


def _turned(call: Call, simulator: Simulator) -> list[Tree]:
    if simulator.fault_injector.take(call.path, FaultKind.DRIFT):
        simulator.drifted += 1
    items = list(simulator.online.values())
    shift = simulator.drifted % (len(items) or 1)
    return items[shift:] + items[:shift]


def _filter(wanted: Tree) -> Callable[[Tree], bool]:
    """Return a function that matches a `filter`; for users a part of the name is enough, as on devices."""
    if not wanted:
        return lambda _: True
    kinds = {"user": _by_name, "ip": _by_ip, "mac": _by_mac}
    require(wanted.get("type") in kinds)
    return kinds[wanted["type"]](check_texts(wanted.get("value")))


def _by_name(names: list[str]) -> Callable[[Tree], bool]:
    return lambda item: any(name in item["name"] for name in names)


def _by_ip(texts: list[str]) -> Callable[[Tree], bool]:
    ranges = [check_range(text) for text in texts]
    return lambda item: any(first <= check_ip(item["ip"]) <= last for first, last in ranges)


def _by_mac(texts: list[str]) -> Callable[[Tree], bool]:
    macs = {check_mac(text) for text in texts}
    return lambda item: item["mac"].upper() in macs


def _shown(item: Tree) -> dict[str, Any]:
    shown = {name: item[name] for name in _SHOWN}
    return shown | {"online_time": max(0, int(time.time()) - item["login_time"])}
