"""Handler of the set call: a query's response, sent back with changes. IG200 document 1.4."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from fleet2mqtt.simulators.smart_gateway.devices import check_alias, query_item
from fleet2mqtt.simulators.smart_gateway.protocol import (
    FLAGS,
    FLOWS,
    NETS,
    WRITABLE,
    Code,
    RefusalError,
    Tree,
    check_fields,
    check_ipv4,
)
from fleet2mqtt.simulators.smart_gateway.state import Simulator

Path = tuple[str, ...]
Change = tuple[str, Path, Any]

_ABSENT = object()
_ALIAS: Path = ("base", "alias")
_MAPPING: Path = ("base", "mapping")


def set_devices(simulator: Simulator, body: Tree, _: str) -> Tree:
    """Change settings: a whole response of query, or its gateways by serial number. All is applied, or nothing."""
    nodes = body.get("devices", body)
    if not isinstance(nodes, dict) or not nodes:
        raise RefusalError(Code.PARAMETER_ERROR)
    changes = [change for sn, node in nodes.items() for change in _changes(simulator, sn, node)]
    aliases = [value for _, path, value in changes if path == _ALIAS]
    if len(set(aliases)) < len(aliases):
        raise RefusalError(Code.ALIAS_EXISTS)
    if simulator.apply_delay:
        asyncio.get_running_loop().call_later(simulator.apply_delay, _apply, simulator, changes)
    else:
        _apply(simulator, changes)
    return {}


def _changes(simulator: Simulator, sn: str, node: Any) -> Iterator[Change]:
    if not isinstance(node, dict):
        raise RefusalError(Code.PARAMETER_ERROR)
    if sn not in simulator.gateways:
        raise RefusalError(Code.SERIAL_ERROR)
    if not simulator.is_running(sn):
        raise RefusalError(Code.OFFLINE)
    now, before = query_item(simulator, sn) | {"state": 1}, simulator.last_queried.get(sn, {})
    for path, value in _leaves(node):
        if path[0] == "chart" or _is_same(value, _look_up(now, path)):
            continue
        if _pattern(path) in WRITABLE:
            _check(simulator, (sn, path, value), _look_up(now, path))
            yield sn, path, value
        elif not _is_same(value, _look_up(before, path)):
            raise RefusalError(Code.ILLEGAL_DATA)


def _leaves(node: Tree, above: Path = ()) -> Iterator[tuple[Path, Any]]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value


def _look_up(tree: Any, path: Path) -> Any:
    for name in path:
        if not isinstance(tree, dict) or name not in tree:
            return _ABSENT
        tree = tree[name]
    return tree


def _is_same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and bool(value == other)


def _pattern(path: Path) -> str:
    return ".".join(("channel", "*", *path[2:]) if path[0] == "channel" else path)


def _check(simulator: Simulator, change: Change, current: Any) -> None:
    """Check a changed value. Raises RefusalError for an absent field, another type than read, or a bad value."""
    sn, path, value = change
    if current is _ABSENT:
        raise RefusalError(Code.ILLEGAL_DATA)
    number = path[-1] in FLOWS and type(value) in (int, float)
    if type(value) is not type(current) and not number:
        raise RefusalError(Code.PARAMETER_ERROR)
    if not WRITABLE[_pattern(path)](value):
        raise RefusalError(Code.ILLEGAL_DATA)
    if path == _ALIAS:
        check_alias(simulator, sn, value)
    elif path == _MAPPING:
        _check_mapping(simulator, sn, value)


def _check_mapping(simulator: Simulator, sn: str, assignments: list[Any]) -> None:
    for assignment in assignments:
        if not isinstance(assignment, dict):
            raise RefusalError(Code.PARAMETER_ERROR)
        check_fields(assignment, (("uuid", str), ("name", str), ("ip", str)))
        check_ipv4(assignment["ip"])
        rule = simulator.rules.get(assignment["uuid"])
        if rule is None:
            raise RefusalError(Code.UUID_NOT_FOUND)
        if rule["sn"] not in ("", sn):
            raise RefusalError(Code.PORT_TAKEN)


def _apply(simulator: Simulator, changes: list[Change]) -> None:
    for sn, path, value in changes:
        if sn not in simulator.gateways:  # deleted since
            continue
        if path == _ALIAS:
            simulator.set_base(sn, alias=value)
        elif path == _MAPPING:
            _apply_mapping(simulator, sn, value)
        else:
            target: Tree = _look_up(simulator.gateways[sn], path[:-1])
            if path[-1] in target:  # the SIM may have been pulled since
                target[path[-1]] = _stored(path[-1], value)


def _apply_mapping(simulator: Simulator, sn: str, assignments: list[Tree]) -> None:
    for assignment in list(simulator.gateways[sn]["base"]["mapping"]):
        simulator.unassign(assignment["uuid"])
    for assignment in assignments:
        if assignment["uuid"] in simulator.rules:
            simulator.assign(assignment["uuid"], sn, assignment["ip"])


def _stored(name: str, value: Any) -> Any:
    if name in FLAGS:
        return int(value)
    return NETS[value] if name == "net" and isinstance(value, int) else value
