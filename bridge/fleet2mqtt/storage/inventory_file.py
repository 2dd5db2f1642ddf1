"""What survives a restart besides alarms: devices with rows and last states, ids, and what is still to be removed.

One JSON file, written in a thread some seconds after a change. Rows are stored once a table, without their functions:
a restored device is known and shown, and comes alive when its backend is heard of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson

from fleet2mqtt.devices.model import Category, Component, Device, Entity, Name, Origin, Provenance
from fleet2mqtt.storage import atomic_file

VERSION = 1

_FUNCTIONS = frozenset(("value", "exists", "attributes", "write"))
_ROW = tuple(item.name for item in fields(Entity) if item.name not in _FUNCTIONS)
_DEVICE = tuple(item.name for item in fields(Device) if item.name not in ("record", "entities"))
_values_of = attrgetter(*_DEVICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The content of the file."""

    devices: tuple[Device, ...] = ()
    retired: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    graves: frozenset[str] = frozenset()
    claims: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Provenance] = field(default_factory=dict)


def save(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot. Raises OSError."""
    tables: dict[int, int] = {}
    rows: list[tuple[Entity, ...]] = []
    devices = []
    for device in snapshot.devices:
        table = tables.get(id(device.entities))
        if table is None:
            table = tables[id(device.entities)] = len(rows)
            rows.append(device.entities)
        devices.append({"table": table, **dict(zip(_DEVICE, _values_of(device), strict=True))})
    content = {
        "version": VERSION,
        "tables": [[_row(row) for row in table] for table in rows],
        "devices": devices,
        "retired": snapshot.retired,
        "graves": sorted(snapshot.graves),
        "claims": snapshot.claims,
        "provenance": {id_: [each.origin, each.observed_at] for id_, each in snapshot.provenance.items()},
    }
    atomic_file.replace(path, _dumps(content))


def load(path: Path) -> Snapshot:
    """Read the file; an empty snapshot where there is none. What cannot be read is set aside."""
    if not path.exists():
        return Snapshot()
    try:
        return _restore(_loads(path.read_bytes()))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        atomic_file.set_aside(path, f"{type(error).__name__}: {error}")
        return Snapshot()


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


def _row(row: Entity) -> dict[str, Any]:
    found = {name: getattr(row, name) for name in _ROW}
    found["name"] = [row.name.en, row.name.zh]
    return {key: value for key, value in found.items() if value not in (None, ())}


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
        retired=content["retired"],
        graves=frozenset(content["graves"]),
        claims=content["claims"],
        provenance={
            id_: Provenance(Origin(origin), observed_at) for id_, (origin, observed_at) in content["provenance"].items()
        },
    )


def _restore_row(row: dict[str, Any]) -> Entity:
    name = row.pop("name")
    category = row.pop("category", None)
    return Entity(
        **row
        | {
            "name": Name(*name),
            "component": Component(row["component"]),
            "category": Category(category) if category else None,
            "options": tuple(row.get("options", ())),
        }
    )


def _restore_devices(devices: Iterable[dict[str, Any]], tables: list[tuple[Entity, ...]]) -> Iterable[Device]:
    for device in devices:
        rows = tables[device.pop("table")]
        device["connections"] = tuple((kind, value) for kind, value in device["connections"])
        yield Device(**device, entities=rows)
