"""The set call of chapter 1.4 of the IG200 document: the answer of query, sent back with changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fleet2mqtt.simulators.smart_gateway.devices import check_alias, reading
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

if TYPE_CHECKING:
    from fleet2mqtt.simulators.smart_gateway.state import Simulator

Path = tuple[str, ...]
Change = tuple[str, Path, Any]

_ABSENT = object()
_ALIAS: Path = ("base", "alias")
_MAPPING: Path = ("base", "mapping")


def set_devices(simulator: Simulator, body: Tree, _: str) -> Tree:
    """IG200 document 1.4: the whole answer of query, or its gateways by serial number. All is done, or nothing."""
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
    if simulator.gateways[sn]["base"]["state"] != "running":
        raise RefusalError(Code.OFFLINE)
    now, before = reading(simulator, sn) | {"state": 1}, simulator.answered.get(sn, {})
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
    """Refuse a new value for a field that is not there, of a type other than is read, or out of range."""
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


def _check_mapping(simulator: Simulator, sn: str, rows: list[Any]) -> None:
    for row in rows:
        if not isinstance(row, dict):
            raise RefusalError(Code.PARAMETER_ERROR)
        check_fields(row, (("uuid", str), ("name", str), ("ip", str)))
        check_ipv4(row["ip"])
        rule = simulator.rules.get(row["uuid"])
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
            place: Tree = _look_up(simulator.gateways[sn], path[:-1])
            if path[-1] in place:  # the SIM may have been pulled since
                place[path[-1]] = _stored(path[-1], value)


def _apply_mapping(simulator: Simulator, sn: str, rows: list[Tree]) -> None:
    for row in list(simulator.gateways[sn]["base"]["mapping"]):
        simulator.unassign(row["uuid"])
    for row in rows:
        if row["uuid"] in simulator.rules:
            simulator.assign(row["uuid"], sn, row["ip"])


def _stored(name: str, value: Any) -> Any:
    if name in FLAGS:
        return int(value)
    return NETS[value] if name == "net" and isinstance(value, int) else value
