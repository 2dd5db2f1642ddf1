"""Local users of a simulated AC: chapter 2, which only public sources describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fleet2mqtt.simulators.sangfor_ac.groups import changed
from fleet2mqtt.simulators.sangfor_ac.protocol import (
    Problem,
    Tree,
    check_fields,
    check_group,
    check_ip,
    check_mac,
    check_range,
    check_time,
    optional,
    require,
)
from fleet2mqtt.simulators.sangfor_ac.state import Call, Simulator

_EXTENSIONS: dict[str, type | tuple[type, ...]] = {
    "enable": bool,
    "self_pass": dict,
    "bind_cfg": list,
    "custom_cfg": (dict, list),  # a list of objects by the types of a public client
    "logout": bool,
    "common_user": dict,
    "limit_ipmac": dict,
}
_SHOWN = {"enabled": True, "disabled": False}


def add_user(call: Call) -> str:
    """User, POST."""
    simulator, name = call.simulator, call.body["name"]
    require(name)
    require(name not in simulator.users, Problem.EXISTS)
    group = check_group(optional(call.body, "father_path", "/default"))
    require(group in simulator.groups, Problem.NOT_FOUND)
    fields = _fields(simulator, call.body)
    fields.setdefault("show_name", name)
    simulator.add_user(name, **fields | {"father_path": fields.get("father_path", group)})
    return "Add user success!"


def delete_user(call: Call) -> str:
    """User?_method=DELETE."""
    require(call.body["name"] in call.simulator.users, Problem.NOT_FOUND)
    call.simulator.remove_user(call.body["name"])
    return "Delete user success!"


def modify_user(call: Call) -> str:
    """User?_method=PUT: the fields in `data`; a group and extension fields in `extend` in there."""
    require(call.body["name"] in call.simulator.users, Problem.NOT_FOUND)
    fields = _fields(call.simulator, call.body["data"])
    call.simulator.users[call.body["name"]] |= fields
    return "Modify user success!"


def get_user(call: Call) -> Tree:
    """User?name=."""
    require(call.query["name"] in call.simulator.users, Problem.NOT_FOUND)
    return _shown(call.simulator, call.simulator.users[call.query["name"]])


def search_users(call: Call) -> list[Tree]:
    """User?_method=GET: by a part of the name, an address range or a MAC address; 100 users at most."""
    simulator, value = call.simulator, call.body.get("search_value")
    kinds = {"user": _by_name, "ip": _by_ip, "mac": _by_mac}
    require(call.body["search_type"] in kinds)
    matches = kinds[call.body["search_type"]](value)
    extend = optional(call.body, "extend", {})
    path, status = optional(extend, "father_path", ""), optional(extend, "user_status", "all")
    require(status in ("all", *_SHOWN))
    if call.finds_nothing():
        return []
    items = (user for user in simulator.users.values() if matches(user) and path in ("", user["father_path"]))
    items = (user for user in items if status == "all" or user["enable"] is _SHOWN[status])
    return [_shown(simulator, user) for user in items][: simulator.row_limit]


def policies_of_user(kind: str) -> Callable[[Call], list[str]]:
    """Return the call that reads the "net" or "flux" policies of a user."""

    def get(call: Call) -> list[str]:
        user = call.query["user"]
        require(user in call.simulator.users, Problem.NOT_FOUND)
        return [] if call.finds_nothing() else call.simulator.user_policies[kind].get(user, [])

    return get


def set_policies_of_user(kind: str) -> Callable[[Call], str]:
    """Return the call that changes the "net" or "flux" policies of a user."""

    def change(call: Call) -> str:
        user, policies = call.body["user"], call.simulator.user_policies[kind]
        optional(call.body, "dn", "")
        require(user in call.simulator.users, Problem.NOT_FOUND)
        policies[user] = changed(call, policies.get(user, []), kind)
        return "Modify user policy success!"

    return change


def _fields(simulator: Simulator, body: Tree) -> Tree:
    """Return the fields that a body sets; flat extension fields have no effect on the devices that were tried."""
    fields: Tree = {name: optional(body, name, "") for name in ("desc", "show_name") if name in body}
    if "expire_time" in body:
        date = check_time(body["expire_time"])
        fields["expire_time"] = {"enable": date != "", "date": date}
    extend = optional(body, "extend", {})
    sources = (body, extend) if simulator.flat_user_fields else (extend,)
    for source in sources:
        found = tuple((name, kind) for name, kind in _EXTENSIONS.items() if name in source)
        check_fields(source, found)
        fields |= {name: source[name] for name, _ in found}
    if "father_path" in extend:
        fields["father_path"] = check_group(extend["father_path"])
        require(fields["father_path"] in simulator.groups, Problem.NOT_FOUND)
    return fields


def _shown(simulator: Simulator, user: Tree) -> Tree:
    names = simulator.user_policies["net"].get(user["name"], [])
    policies = [policy["policy_info"] for name in names if (policy := simulator.net_policy(name))]
    shown = user | {"policy": policies, "self_pass": user["self_pass"] | {"password": ""}}
    if simulator.expiry_as_text:
        shown["expire_time"] = shown["expire_time"]["date"]
    if simulator.nested_user_fields:
        shown["extend"] = {name: shown.pop(name) for name in _EXTENSIONS}
    return shown


def _by_name(value: Any) -> Callable[[Tree], bool]:
    require(isinstance(value, str))
    return lambda user: value in user["name"]


def _by_ip(value: Any) -> Callable[[Tree], bool]:
    require(isinstance(value, dict))
    first, last = check_ip(value.get("start")), check_ip(value.get("end"))

    def matches(user: Tree) -> bool:
        ends = [check_range(item["ip"]) for item in user["bind_cfg"] if item.get("ip")]
        return any(low <= last and first <= high for low, high in ends)

    return matches


def _by_mac(value: Any) -> Callable[[Tree], bool]:
    mac = check_mac(value)
    return lambda user: any(item.get("mac", "").upper() == mac for item in user["bind_cfg"])
