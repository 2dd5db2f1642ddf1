"""Groups and policies of a simulated AC: Sangfor document 2.12 to 2.15 and chapter 3, and what public sources add."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

from fleet2mqtt.simulators.sangfor_ac.protocol import Problem, Tree, check_group, check_texts, optional, require
from fleet2mqtt.simulators.sangfor_ac.state import Call, Simulator

_FIXED = ("/", "/default")
_IN_TABLE = {"ip_group": "targetip_group", "children": "childrens"}


def add_group(call: Call) -> str:
    """Group, POST (public sources): below a group that is there, 15 levels at most."""
    path, desc = check_group(call.body["path"]), optional(call.body, "desc", "")
    require(path not in call.simulator.groups, Problem.EXISTS)
    require((re.sub(r"/[^/]*$", "", path) or "/") in call.simulator.groups, Problem.NOT_FOUND)
    call.simulator.groups[path] = desc
    return "Add group success!"


def delete_group(call: Call) -> str:
    """Sangfor document 2.12; the root and the default group stay."""
    path = _known(call.simulator, call.body["path"])
    require(path not in _FIXED, Problem.PROTECTED)
    call.simulator.remove_group(path)
    return "Delete group success!"


def modify_group(call: Call) -> str:
    """Sangfor document 2.13."""
    call.simulator.groups[_known(call.simulator, call.body["path"])] = call.body["desc"]
    return "Modify group success!"


def set_group_policies(call: Call) -> str:
    """Sangfor document 2.14."""
    group = _known(call.simulator, call.body["group"])
    before = call.simulator.group_policies.get(group, [])
    call.simulator.group_policies[group] = changed(call, before, "net")
    return "Modify group policy success!"


def get_group_policies(call: Call) -> list[str]:
    """Sangfor document 2.15."""
    group = _known(call.simulator, call.query["path"])
    return [] if call.finds_nothing() else call.simulator.group_policies.get(group, [])


def changed(call: Call, before: list[str], kind: str) -> list[str]:
    """Return the policies that `opr` and `policy` make of those before; `modify` replaces them.

    A policy that applies to all users, or to a single one, cannot be detached.
    """
    simulator, opr, names = call.simulator, call.body["opr"], check_texts(call.body["policy"])
    known = simulator.net_policy if kind == "net" else simulator.flux_policy
    require(opr in ("add", "del", "modify"))
    require(all(known(name) for name in names), Problem.NOT_FOUND)
    if opr != "del":
        return list(dict.fromkeys([*before, *names] if opr == "add" else names))
    fixed = {name for name in names if _is_fixed(simulator, name)}
    require(simulator.silent_protection or not fixed, Problem.PROTECTED)
    return [name for name in before if name in fixed or name not in names]


def list_net_policies(call: Call) -> list[Tree]:
    """Sangfor document 3.1."""
    return [] if call.finds_nothing() else call.simulator.net_policies


def list_flux_policies(call: Call) -> list[Tree]:
    """Sangfor document 3.2, nested; or flat as devices answer it."""
    if call.finds_nothing():
        return []
    if call.simulator.device_fluxpolicy:
        return _flat(call.simulator)
    return [_table_spelled(item) if call.simulator.table_spelling else item for item in call.simulator.flux_policies]


def _known(simulator: Simulator, path: Any) -> str:
    require(check_group(path) in simulator.groups, Problem.NOT_FOUND)
    return str(path)


def _is_fixed(simulator: Simulator, name: str) -> bool:
    policy = simulator.net_policy(name)
    return policy is not None and policy["user_info"]["local"] != ""


def _flat(simulator: Simulator) -> list[Tree]:
    numbers, father = count(1), "father_id" if simulator.old_father_id else "fatherID"
    ids: dict[int, int] = {}
    items = []
    for above, channel in simulator.channels():
        ids[id(channel)] = next(numbers)
        item = {"id": ids[id(channel)], "name": channel["name"], father: 0 if above is None else ids[id(above)]}
        item |= {
            "di": channel["ip_group"],
            "object": channel["target_users"],
            "service": channel["target_applications"],
        }
        item |= {"time": channel["active_time"], "status": channel["policy_enable"]}
        item |= {"assured": channel["assured_bandwidth"], "max": channel["max_bandwidth"]}
        items.append(item | {"single": channel["single_user_limit"]})
    return items


def _table_spelled(channel: Tree) -> Tree:
    item = {_IN_TABLE.get(name, name): value for name, value in channel.items()}
    return item | {"childrens": [_table_spelled(child) for child in channel["children"]]}
