"""Bindings of a simulated AC: Sangfor document, chapter 4."""

from __future__ import annotations

from fleet2mqtt.simulators.sangfor_ac.protocol import (
    Problem,
    Tree,
    check_fields,
    check_ip,
    check_mac,
    optional,
    require,
)
from fleet2mqtt.simulators.sangfor_ac.state import Call

_NOAUTH = (("enable", bool), ("expire_time", int))


def find_user_bindings(call: Call) -> list[Tree]:
    """Sangfor document 4.1: by user name, IP or MAC address."""
    simulator, search = call.simulator, call.query.get("search", "").upper()
    require(search or simulator.bindings_without_search)
    if call.finds_nothing():
        return []

    def matches(item: Tree) -> bool:
        keys = [key.upper() for key in (item["name"], *item["addr"].split("+"))]
        return any(search in key for key in keys) if simulator.fuzzy_bindings else search in ("", *keys)

    return [item for item in simulator.bindings if matches(item)]


def find_ipmac_binding(call: Call) -> Tree:
    """Sangfor document 4.2: one object, and an error where there is none."""
    search = call.query["search"].upper()
    found = (item for item in call.simulator.ipmac.values() if search in (item["ip"], item["mac"].upper()))
    item = None if call.finds_nothing() else next(found, None)
    require(item, Problem.NOT_FOUND)
    return item or {}


def delete_user_binding(call: Call) -> None:
    """Sangfor document 4.3: every binding to the IP or MAC address, whoever's it is."""
    simulator, addr = call.simulator, call.body["addr"]
    if simulator.deletes_pairs and "+" in addr:
        wanted = _pair(addr)
    elif addr.count("-") == 5:
        wanted = check_mac(addr)
    else:
        check_ip(addr)
        wanted = addr
    gone = [item for item in simulator.bindings if wanted in (item["addr"].upper(), *item["addr"].upper().split("+"))]
    require(gone, Problem.NOT_FOUND)
    simulator.bindings[:] = [item for item in simulator.bindings if item not in gone]


def delete_ipmac_binding(call: Call) -> None:
    """Sangfor document 4.4."""
    check_ip(call.body["ip"])
    require(call.body["ip"] in call.simulator.ipmac, Problem.NOT_FOUND)
    del call.simulator.ipmac[call.body["ip"]]


def add_user_binding(call: Call) -> None:
    """Sangfor document 4.5; `expire_time` is read as `indate`."""
    body, simulator = call.body, call.simulator
    check_fields(body["noauth"], _NOAUTH)
    require(body["name"] and body["noauth"]["expire_time"] >= 0)
    checks = {"ip": check_ip, "mac": check_mac, "ipmac": _pair}
    require(body["addr_type"] in checks)
    checks[body["addr_type"]](body["addr"])
    same = (body["name"], body["addr"].upper())
    require(all((item["name"], item["addr"].upper()) != same for item in simulator.bindings), Problem.EXISTS)
    simulator.bind_user(
        body["name"],
        body["addr"],
        addr_type=body["addr_type"],
        enable=body["enable"],
        desc=optional(body, "desc", ""),
        limitlogon=body["limitlogon"],
        noauth={"enable": body["noauth"]["enable"], "indate": body["noauth"]["expire_time"]},
    )


def add_ipmac_binding(call: Call) -> None:
    """Sangfor document 4.6."""
    ip, mac, desc = call.body["ip"], call.body["mac"], optional(call.body, "desc", "")
    check_ip(ip)
    check_mac(mac)
    require(ip not in call.simulator.ipmac, Problem.EXISTS)
    call.simulator.bind_ip(ip, mac, desc)


def _pair(addr: str) -> str:
    ip, _, mac = addr.partition("+")
    check_ip(ip)
    return f"{ip}+{check_mac(mac)}"
