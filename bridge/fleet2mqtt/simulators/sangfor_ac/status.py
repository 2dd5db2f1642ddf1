"""Chapter 1 of a simulated AC, which the document lacks: status, throughput and ranks (public sources)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fleet2mqtt.simulators.sangfor_ac.data import LINES
from fleet2mqtt.simulators.sangfor_ac.protocol import Tree, check_range, check_texts, optional, require
from fleet2mqtt.simulators.sangfor_ac.state import Call

_TOP = 10
_UNITS = {"bytes": 1, "bits": 8}


def reading(name: str) -> Callable[[Call], Any]:
    """Return the call that reads one of the status values."""

    def read(call: Call) -> Any:
        return call.simulator.status[name]

    return read


def libraries(call: Call) -> list[Tree]:
    """Return status/insidelib: `enable` is the automatic update, `expire` the end of the update licence."""
    items: list[Tree] = call.simulator.status["insidelib"]
    return [] if call.finds_nothing() else items


def count_online(call: Call) -> int:
    """Return status/online-user."""
    return len(call.simulator.online)


def system_time(call: Call) -> str:
    """Return status/sys-time: the device's own time, without a zone."""
    return call.simulator.local_time("%Y-%m-%d %H:%M:%S")


def throughput(call: Call) -> Tree:
    """Return status/throughput: bytes or bits a second of all interfaces, or of one."""
    simulator, wanted = call.simulator, optional(call.body, "filter", {})
    unit, interface = optional(wanted, "unit", "bytes"), optional(wanted, "interface", "")
    interfaces: Tree = simulator.status["interfaces"]
    require(unit in _UNITS and (not interface or interface in interfaces))
    items = [interfaces[interface]] if interface else list(interfaces.values())
    unit = "bytes" if simulator.unit_ignored else unit
    answer: Tree = {name: sum(item[name] for item in items) * _UNITS[unit] for name in ("send", "recv")}
    return answer if simulator.unit_missing else answer | {"unit": unit}


def rank_users(call: Call) -> list[Tree]:
    """Return status/user-rank: most traffic first, in B/s; of several selectors only one works."""
    wanted, top, items = _ranked_items(call)
    if "groups" in wanted:
        groups = check_texts(wanted["groups"])
        items = [item for item in items if item["father_path"] in groups]
    elif "users" in wanted:
        users = check_texts(wanted["users"])
        items = [item for item in items if item["name"] in users]
    elif "ips" in wanted:
        ranges = [check_range(text) for text in check_texts(wanted["ips"])]
        items = [item for item in items if any(first <= check_range(item["ip"])[0] <= last for first, last in ranges)]
    ranked = sorted(items, key=lambda item: -sum(_volume(item)))[:top]
    return [_user_item(number, item) for number, item in enumerate(ranked, 1)]


def rank_apps(call: Call) -> list[Tree]:
    """Return status/app-rank: applications by line, most traffic first, in B/s."""
    wanted, top, items = _ranked_items(call)
    if "groups" in wanted:
        groups = check_texts(wanted["groups"])
        items = [item for item in items if item["father_path"] in groups]
    apps: dict[tuple[str, str], list[Tree]] = {}
    for item in items:
        for app in item["apps"]:
            apps.setdefault((app, item["line"]), []).append(item)
    everything = sum(sum(_volume(item)) for item in items)
    found = [_app_item(app, line, users, everything) for (app, line), users in apps.items()]
    return sorted(found, key=lambda item: -item["total"])[:top]


def _ranked_items(call: Call) -> tuple[Tree, int, list[Tree]]:
    wanted = optional(call.body, "filter", {})
    top, line = optional(wanted, "top", _TOP), optional(wanted, "line", "0")
    require(top > 0 and line in ("0", *LINES))
    items = [] if call.finds_nothing() else list(call.simulator.online.values())
    return wanted, top, [item for item in items if line in ("0", item["line"])]


def _volume(item: Tree) -> tuple[int, int]:
    return sum(up for up, _ in item["apps"].values()), sum(down for _, down in item["apps"].values())


def _user_item(number: int, item: Tree) -> Tree:
    up, down = _volume(item)
    details = [
        {"id": place, "app": app, **_volumes(*volume), "percent": round(100 * sum(volume) / (up + down or 1))}
        for place, (app, volume) in enumerate(item["apps"].items(), 1)
    ]
    return {
        "id": number,
        "name": item["name"],
        "group": item["father_path"],
        "ip": item["ip"],
        **_volumes(up, down),
        "session": item["session"],
        "status": not item["frozen"],
        "detail": {"data": details},
    }


def _app_item(app: str, line: str, users: list[Tree], everything: int) -> Tree:
    up, down = (sum(item["apps"][app][index] for item in users) for index in (0, 1))
    data = [
        {"user": item["name"], "grp": item["father_path"], "ip": item["ip"], **_volumes(*item["apps"][app])}
        for item in users[:_TOP]
    ]
    return {
        "app": app,
        "line": int(line),
        "line_name": LINES[line],
        **_volumes(up, down),
        "rate": round(100 * (up + down) / (everything or 1)),
        "session": sum(item["session"] for item in users),
        "user_data": {"data": data, "count": len(users)},
    }


def _volumes(up: int, down: int) -> Tree:
    return {"up": up, "down": down, "total": up + down}
