"""Chapter 1 of a simulated AC, which the AC document lacks: status, throughput and rankings (public sources)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fleet2mqtt.simulators.sangfor_ac.data import LINES
from fleet2mqtt.simulators.sangfor_ac.protocol import check_range, check_texts, optional, require

if TYPE_CHECKING:
    from fleet2mqtt.simulators.sangfor_ac.protocol import Tree
    from fleet2mqtt.simulators.sangfor_ac.state import Call

_TOP = 10
_UNITS = {"bytes": 1, "bits": 8}


def reading(name: str) -> Callable[[Call], Any]:
    """Give the call that reads one of the status values."""

    def read(call: Call) -> Any:
        return call.simulator.status[name]

    return read


def libraries(call: Call) -> list[Tree]:
    """Status/insidelib."""
    rows: list[Tree] = call.simulator.status["insidelib"]
    return [] if call.finds_nothing() else rows


def count_online(call: Call) -> int:
    """Status/online-user."""
    return len(call.simulator.online)


def system_time(call: Call) -> str:
    """Status/sys-time: the device's own time, without a zone."""
    return call.simulator.local_time("%Y-%m-%d %H:%M:%S")


def throughput(call: Call) -> Tree:
    """Status/throughput: what interfaces send and receive a second, all of them unless one is asked for."""
    simulator, wanted = call.simulator, optional(call.body, "filter", {})
    unit, interface = optional(wanted, "unit", "bytes"), optional(wanted, "interface", "")
    interfaces: Tree = simulator.status["interfaces"]
    require(unit in _UNITS and (not interface or interface in interfaces))
    rows = [interfaces[interface]] if interface else list(interfaces.values())
    unit = "bytes" if simulator.unit_ignored else unit
    answer: Tree = {name: sum(row[name] for row in rows) * _UNITS[unit] for name in ("send", "recv")}
    return answer if simulator.unit_missing else answer | {"unit": unit}


def rank_users(call: Call) -> list[Tree]:
    """Status/user-rank: those with the most traffic first; of several selectors only one works."""
    wanted, top, rows = _rows(call)
    if "groups" in wanted:
        groups = check_texts(wanted["groups"])
        rows = [row for row in rows if row["father_path"] in groups]
    elif "users" in wanted:
        users = check_texts(wanted["users"])
        rows = [row for row in rows if row["name"] in users]
    elif "ips" in wanted:
        ranges = [check_range(text) for text in check_texts(wanted["ips"])]
        rows = [row for row in rows if any(first <= check_range(row["ip"])[0] <= last for first, last in ranges)]
    ranked = sorted(rows, key=lambda row: -sum(_volume(row)))[:top]
    return [_user_row(number, row) for number, row in enumerate(ranked, 1)]


def rank_apps(call: Call) -> list[Tree]:
    """Status/app-rank: applications by line, those with the most traffic first."""
    wanted, top, rows = _rows(call)
    if "groups" in wanted:
        groups = check_texts(wanted["groups"])
        rows = [row for row in rows if row["father_path"] in groups]
    apps: dict[tuple[str, str], list[Tree]] = {}
    for row in rows:
        for app in row["apps"]:
            apps.setdefault((app, row["line"]), []).append(row)
    everything = sum(sum(_volume(row)) for row in rows)
    found = [_app_row(app, line, users, everything) for (app, line), users in apps.items()]
    return sorted(found, key=lambda row: -row["total"])[:top]


def _rows(call: Call) -> tuple[Tree, int, list[Tree]]:
    wanted = optional(call.body, "filter", {})
    top, line = optional(wanted, "top", _TOP), optional(wanted, "line", "0")
    require(top > 0 and line in ("0", *LINES))
    rows = [] if call.finds_nothing() else list(call.simulator.online.values())
    return wanted, top, [row for row in rows if line in ("0", row["line"])]


def _volume(row: Tree) -> tuple[int, int]:
    return sum(up for up, _ in row["apps"].values()), sum(down for _, down in row["apps"].values())


def _user_row(number: int, row: Tree) -> Tree:
    up, down = _volume(row)
    details = [
        {"id": place, "app": app, **_volumes(*volume), "percent": round(100 * sum(volume) / (up + down or 1))}
        for place, (app, volume) in enumerate(row["apps"].items(), 1)
    ]
    return {
        "id": number,
        "name": row["name"],
        "group": row["father_path"],
        "ip": row["ip"],
        **_volumes(up, down),
        "session": row["session"],
        "status": not row["frozen"],
        "detail": {"data": details},
    }


def _app_row(app: str, line: str, users: list[Tree], everything: int) -> Tree:
    up, down = (sum(row["apps"][app][index] for row in users) for index in (0, 1))
    data = [
        {"user": row["name"], "grp": row["father_path"], "ip": row["ip"], **_volumes(*row["apps"][app])}
        for row in users[:_TOP]
    ]
    return {
        "app": app,
        "line": line,
        "line_name": LINES[line],
        **_volumes(up, down),
        "rate": round(100 * (up + down) / (everything or 1)),
        "session": sum(row["session"] for row in users),
        "user_data": {"data": data, "count": len(users)},
    }


def _volumes(up: int, down: int) -> Tree:
    return {"up": up, "down": down, "total": up + down}
