"""Handlers of the calls for port mapping rules. IG200 document chapter 2."""

from __future__ import annotations

from fleet2mqtt.simulators.fault_injection import FaultKind
from fleet2mqtt.simulators.smart_gateway.data import NOT_SET
from fleet2mqtt.simulators.smart_gateway.protocol import Code, RefusalError, Tree, check_ipv4, check_names
from fleet2mqtt.simulators.smart_gateway.state import Simulator

_BOTH = 2  # the protocol that is TCP and UDP
_MAX_PORT = 65_535


def list_rules(simulator: Simulator, _: Tree, path: str) -> Tree:
    """Return all rules. IG200 document 2.1."""
    if simulator.fault_injector.take(path, FaultKind.EMPTY):
        return {"list": []}
    times = 2 if simulator.duplicate_rules else 1
    return {"list": [rule for rule in simulator.rules.values() for _ in range(times)]}


def add_rule(simulator: Simulator, body: Tree, _: str) -> Tree:
    """Add a rule; the response does not have its uuid. IG200 document 2.2."""
    _check_rule(simulator, body, "")
    simulator.add_rule(body["name"], body["ip"], body["port"], body["protocol"], body["mark"])
    return {}


def edit_rule(simulator: Simulator, body: Tree, _: str) -> Tree:
    """Change a rule. IG200 document 2.3: table and example differ (addr and ip, number and text), both are accepted."""
    changed = {"ip": body.get("ip", body.get("addr")), "port": body.get("port")}
    if type(changed["port"]) is int:
        changed["port"] = str(changed["port"])
    if not isinstance(changed["port"], str) or body.get("addr", changed["ip"]) != changed["ip"]:
        raise RefusalError(Code.PARAMETER_ERROR)
    uuid, sn = body["uuid"], body["sn"]
    if uuid not in simulator.rules:
        raise RefusalError(Code.UUID_NOT_FOUND)
    if sn and sn not in simulator.gateways:
        raise RefusalError(Code.SERIAL_ERROR)
    changed |= {name: body[name] for name in ("name", "protocol", "mark")}
    _check_rule(simulator, changed, uuid)
    _move(simulator, uuid, sn, changed)
    return {}


def delete_rules(simulator: Simulator, body: Tree, _: str) -> Tree:
    """Delete rules; return the uuids that failed. IG200 document 2.4."""
    failed = []
    for uuid in dict.fromkeys(check_names(body["rules"])):
        if uuid in simulator.rules:
            simulator.remove_rule(uuid)
        else:
            failed.append(uuid)
    return _outcome(simulator, failed)


def assign_rule(simulator: Simulator, body: Tree, _: str) -> Tree:
    """Assign a rule; it belongs to one gateway at a time. IG200 document 2.5."""
    uuid = body["rule"]
    if uuid not in simulator.rules:
        raise RefusalError(Code.UUID_NOT_FOUND)
    _check_running(simulator, body["sn"])
    check_ipv4(body["ip"])
    if simulator.rules[uuid]["sn"]:
        raise RefusalError(Code.PORT_TAKEN)
    simulator.assign(uuid, body["sn"], body["ip"])
    return {}


def unassign_rules(simulator: Simulator, body: Tree, _: str) -> Tree:
    """Unassign rules; return the uuids that failed. IG200 document 2.6."""
    uuids = check_names(body["rules"])
    _check_running(simulator, body["sn"])
    failed = []
    for uuid in dict.fromkeys(uuids):
        if simulator.assigned(body["sn"], uuid):
            simulator.unassign(uuid)
        else:
            failed.append(uuid)
    return _outcome(simulator, failed)


def reassign_rule(simulator: Simulator, body: Tree, _: str) -> Tree:
    """Change the address of an assigned rule. IG200 document 2.7."""
    if body["rule"] not in simulator.rules:
        raise RefusalError(Code.UUID_NOT_FOUND)
    _check_running(simulator, body["sn"])
    assigned = simulator.assigned(body["sn"], body["rule"])
    if assigned is None:
        raise RefusalError(Code.UUID_NOT_FOUND)
    assigned["ip"] = check_ipv4(body["ip"])
    return {}


def _outcome(simulator: Simulator, failed: list[str]) -> Tree:
    return {"code": simulator.partial_code if failed else Code.SUCCESS, "msg": failed}


def _check_running(simulator: Simulator, sn: str) -> None:
    if sn not in simulator.gateways:
        raise RefusalError(Code.SERIAL_ERROR)
    if not simulator.is_running(sn):
        raise RefusalError(Code.OFFLINE)


def _check_rule(simulator: Simulator, changed: Tree, uuid: str) -> None:
    check_ipv4(changed["ip"])
    if not changed["name"].strip() or changed["protocol"] not in (0, 1, _BOTH):
        raise RefusalError(Code.ILLEGAL_DATA)
    ports = _ports(changed["port"])
    for rule in (rule for rule in simulator.rules.values() if rule["uuid"] != uuid):
        if rule["name"] == changed["name"]:
            raise RefusalError(Code.RULE_NAME_EXISTS)
        protocols = {rule["protocol"], changed["protocol"]}
        if (len(protocols) == 1 or _BOTH in protocols) and _overlap(ports, _ports(rule["port"])):
            raise RefusalError(Code.PORT_TAKEN)


def _ports(text: str) -> list[range]:
    """Return the ports of "1935,22000-22010"."""
    ports = []
    for item in text.split(","):
        first, dash, last = item.partition("-")
        if not all(end.isascii() and end.isdecimal() for end in ((first, last) if dash else (first,))):
            raise RefusalError(Code.ILLEGAL_DATA)
        low, high = int(first), int(last or first)
        if not 1 <= low <= high <= _MAX_PORT:
            raise RefusalError(Code.ILLEGAL_DATA)
        ports.append(range(low, high + 1))
    return ports


def _overlap(ports: list[range], others: list[range]) -> bool:
    return any(one.start < other.stop and other.start < one.stop for one in ports for other in others)


def _move(simulator: Simulator, uuid: str, sn: str, changed: Tree) -> None:
    rule = simulator.rules[uuid]
    assigned = simulator.assigned(rule["sn"], uuid) if rule["sn"] else None
    rule |= changed
    if assigned is not None:
        assigned["name"] = changed["name"]
    if sn != rule["sn"]:
        simulator.unassign(uuid)
        if sn:
            simulator.assign(uuid, sn, assigned["ip"] if assigned else NOT_SET)
