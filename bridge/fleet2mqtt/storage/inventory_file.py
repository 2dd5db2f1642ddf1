"""The inventory file: devices with entity descriptions and last states, ids, pending deletions, delayed conditions.

One JSON file, written in a thread some seconds after a change. Entity descriptions are stored once per
table, without their functions: a restored device is shown, and can be commanded once its backend has answered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson

from fleet2mqtt.devices.conditions import WaitingChange, WaitingChanges
from fleet2mqtt.devices.model import (
    FUNCTIONS,
    Component,
    Device,
    EntityCategory,
    EntityDescription,
    Name,
    StateMeta,
    UpdateOrigin,
)
from fleet2mqtt.storage import atomic_file

INVENTORY = "inventory.json"
"""Name of the file in the data directory."""
VERSION = 1
UNREADABLE = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)
"""Errors by which a file that is damaged is recognised."""

_ROW = tuple(item.name for item in fields(EntityDescription) if item.name not in FUNCTIONS)
_DEVICE = tuple(item.name for item in fields(Device) if item.name not in ("record", "entities", "answered", "complete"))
_MEMBERS = tuple("native" if name == "vendor_id" else name for name in _DEVICE)
"""The file's names of the fields; `native` is from its first version."""
_values_of = attrgetter(*_DEVICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Content of the inventory file."""

    devices: tuple[Device, ...] = ()
    removed_components: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pending_deletions: frozenset[str] = frozenset()
    assignments: Mapping[str, str] = field(default_factory=dict)
    state_meta: Mapping[str, StateMeta] = field(default_factory=dict)
    waiting: WaitingChanges = field(default_factory=dict)
    """Changes of conditions that are delayed."""

    def of(self, owns: Callable[[str], bool]) -> Snapshot:
        """Return what is about the devices whose ids `owns` returns True for."""
        return Snapshot(
            devices=tuple(device for device in self.devices if owns(device.id)),
            removed_components={id_: keys for id_, keys in self.removed_components.items() if owns(id_)},
            pending_deletions=self.pending_deletions if owns("") else frozenset(),
            assignments={id_: vendor_id for id_, vendor_id in self.assignments.items() if owns(id_)},
            state_meta={id_: meta for id_, meta in self.state_meta.items() if owns(id_)},
            waiting={id_: changes for id_, changes in self.waiting.items() if owns(id_)},
        )


def save(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot. Raises OSError."""
    atomic_file.replace(path, dump(snapshot))


def dump(snapshot: Snapshot) -> bytes:
    """Return the content of the file for a snapshot."""
    tables: dict[int, int] = {}
    rows: list[tuple[EntityDescription, ...]] = []
    devices = []
    for device in snapshot.devices:
        table = tables.get(id(device.entities))
        if table is None:
            table = tables[id(device.entities)] = len(rows)
            rows.append(device.entities)
        devices.append({"table": table, **dict(zip(_MEMBERS, _values_of(device), strict=True))})
    content = {
        "version": VERSION,
        "tables": [[_row(row) for row in table] for table in rows],
        "devices": devices,
        "retired": snapshot.removed_components,
        "graves": sorted(snapshot.pending_deletions),
        "claims": snapshot.assignments,
        "provenance": {id_: [each.origin, each.observed_at] for id_, each in snapshot.state_meta.items()},
        "waiting": {
            id_: {key: [each.since, each.waited, each.clears] for key, each in changes.items()}
            for id_, changes in snapshot.waiting.items()
        },
    }
    return _dumps(content)


def load(path: Path) -> Snapshot:
    """Read the file; return an empty snapshot if there is none. A file that cannot be read is set aside."""
    if not path.exists():
        return Snapshot()
    try:
        return parse(path.read_bytes())
    except UNREADABLE as error:
        atomic_file.set_aside(path, f"{type(error).__name__}: {error}")
        return Snapshot()


def parse(data: bytes) -> Snapshot:
    """Return the snapshot in the content of a file. Raises one of UNREADABLE."""
    return _restore(_loads(data))


def _dumps(content: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS, default=_default)
    except TypeError:  # names that a vendor cut in the middle of a character, integers beyond 64 bit
        return json.dumps(content, default=_default).encode("ascii")


def _loads(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)


def _row(row: EntityDescription) -> dict[str, Any]:
    found = {name: getattr(row, name) for name in _ROW}
    found["name"] = [row.name.en, row.name.zh]
    return {key: value for key, value in found.items() if value not in (None, (), "")}


def _default(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def _restore(content: Mapping[str, Any]) -> Snapshot:
    if content["version"] != VERSION:
        message = f"version {content['version']}, expected {VERSION}"
        raise ValueError(message)
    tables = [tuple(_restore_row(row) for row in table) for table in content["tables"]]
    return Snapshot(
        devices=tuple(_restore_devices(content["devices"], tables)),
        removed_components=content["retired"],
        pending_deletions=frozenset(content["graves"]),
        assignments=content["claims"],
        state_meta={
            id_: StateMeta(UpdateOrigin(origin), observed_at)
            for id_, (origin, observed_at) in content["provenance"].items()
        },
        waiting={
            id_: {
                key: WaitingChange(since=since, waited=float(waited), clears=clears)
                for key, (since, waited, clears) in changes.items()
            }
            for id_, changes in content.get("waiting", {}).items()  # not in files of version 0.1.0
        },
    )


def _restore_row(row: dict[str, Any]) -> EntityDescription:
    name = row.pop("name")
    category = row.pop("category", None)
    return EntityDescription(
        **row
        | {
            "name": Name(*name),
            "component": Component(row["component"]),
            "category": EntityCategory(category) if category else None,
            "options": tuple(row.get("options", ())),
        }
    )


def _restore_devices(
    devices: Iterable[dict[str, Any]], tables: list[tuple[EntityDescription, ...]]
) -> Iterable[Device]:
    for device in devices:
        rows = tables[device.pop("table")]
        device["vendor_id"] = device.pop("native")
        device["connections"] = tuple((kind, value) for kind, value in device["connections"])
        device["tags"] = tuple(device.get("tags", ()))
        groups = device.get("groups", {})
        device["groups"] = groups if isinstance(groups, dict) or groups is None else {name: name for name in groups}
        yield Device(**device, entities=rows)
