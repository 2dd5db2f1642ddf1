"""What the bridge speaks of: devices, their entities, alarms, and updates that bring them. Data only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

Value = str | int | float | bool | None | Mapping[str, Any]
"""A state value as it stands in the state object: "ON"/"OFF", number, ISO 8601 text, text, None for unknown."""


class Component(StrEnum):
    """Home Assistant's MQTT components that the bridge uses."""

    BINARY_SENSOR = "binary_sensor"
    BUTTON = "button"
    DEVICE_TRACKER = "device_tracker"
    EVENT = "event"
    NUMBER = "number"
    SELECT = "select"
    SENSOR = "sensor"
    SWITCH = "switch"
    TEXT = "text"


STATELESS = frozenset((Component.BUTTON, Component.EVENT))
"""Components that have no key in the state object."""


class EntityCategory(StrEnum):
    """Home Assistant's entity categories."""

    CONFIG = "config"
    DIAGNOSTIC = "diagnostic"


class Severity(StrEnum):
    """ITU-T X.733 perceived severity."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    WARNING = "warning"
    INDETERMINATE = "indeterminate"
    CLEARED = "cleared"


class UpdateOrigin(StrEnum):
    """How a value came to be known."""

    POLL = "poll"
    PUSH = "push"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Name:
    """A name in the languages the bridge speaks."""

    en: str
    zh: str

    def text(self, language: str) -> str:
        """In `en` or `zh-Hans`."""
        return self.zh if language == "zh-Hans" else self.en


Write = Callable[[Any, "Device", Any], Awaitable["Update | None"]]
"""`await write(client, device, value)`: send one validated value to the vendor; gives what its answer already shows.

A switch's value is a bool, a number's an int or float, a select's one of the options, a text's a str, a button's None.
Raises BackendError, CommandError.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityDescription:
    """One row of a platform's table: what it is called, how it is read, and, beside that, how it is written.

    `value` takes the record that the device was made from. `exists` says whether that record has such a value at all
    (default: `value` gives not None); once seen, an entity stays when its value goes missing. Rows restored from disk
    have neither `value` nor `write`.
    """

    key: str
    name: Name
    component: Component = Component.SENSOR
    value: Callable[[Any], Value] | None = None
    exists: Callable[[Any], bool] | None = None
    attributes: Callable[[Any], Mapping[str, Any] | None] | None = None
    write: Write | None = None
    category: EntityCategory | None = None
    enabled: bool = True
    device_class: str | None = None
    state_class: str | None = None
    unit: str | None = None
    icon: str | None = None
    options: tuple[str, ...] = ()
    precision: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    pattern: str | None = None
    """What a text must match as a whole; without anchors."""
    secret: bool = False
    """Write-only: neither shown in a state nor repeated in a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device as of one moment: identity, rows, and the values read by them.

    `scope` names the inventory that lists it (`devices`, `lines:000EA93D022E`); `native` is the vendor's own id.
    `record` is what the rows read and write; None once restored from disk. `alarms` asks for the alarm entities;
    `counts_alarms` says that the platform has counters per severity of its own.
    """

    id: str
    backend: str
    vendor_id: str
    scope: str
    name: str
    entities: tuple[EntityDescription, ...]
    state: Mapping[str, Value]
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    available: bool = True
    via: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    sw_version: str | None = None
    hw_version: str | None = None
    serial_number: str | None = None
    connections: tuple[tuple[str, str], ...] = ()
    suggested_area: str | None = None
    configuration_url: str | None = None
    alarms: bool = False
    counts_alarms: bool = False
    record: Any = field(default=None, compare=False, repr=False)

    def entity(self, key: str) -> EntityDescription | None:
        """The row with this key, if the device has it."""
        return next((row for row in self.entities if row.key == key), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One event of an alarm: raised or cleared, as in the alarm contract (docs/mqtt.md).

    `id` is `<backend>:<the vendor's own id>` and the same by push, by poll and after a restart. `active` says that this
    vendor reports recovery, so that a raised alarm stands until cleared; `alarm_key` then names what stands (the same
    for the raised and the cleared event).
    """

    id: str
    backend: str
    device: str
    severity: Severity
    level: str
    name: str
    raised_at: datetime
    source: UpdateOrigin
    cleared: bool = False
    active: bool = False
    alarm_key: str = ""
    line: str | None = None
    code: int | str | None = None
    category: str | None = None
    description: str | None = None
    description_en: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """A complete, successful list of one scope: every device id that the vendor has there now."""

    scope: str
    ids: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """News from a backend, whichever way it came. `began` is `time.monotonic()` before the vendor was asked.

    `marks` are texts for `Context.watermark`, by device. They are on disk together with the alarms or not at all, so
    that nothing that happens in between can part an alarm from what it will be known again by.
    """

    backend: str
    origin: UpdateOrigin
    requested_at: float
    observed_at: datetime
    devices: tuple[Device, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    inventories: tuple[Inventory, ...] = ()
    checkpoints: Mapping[str, str] = field(default_factory=dict)


def read(rows: tuple[EntityDescription, ...], record: Any) -> dict[str, Value]:
    """The state object of a record: a key per row that has a value."""
    return {row.key: row.value(record) for row in rows if row.value is not None and not row.secret}


def read_attributes(rows: tuple[EntityDescription, ...], record: Any) -> dict[str, Mapping[str, Any]]:
    """The attributes of a record: a key per row that has some."""
    found = {row.key: row.attributes(record) for row in rows if row.attributes is not None}
    return {key: values for key, values in found.items() if values}


def present(rows: tuple[EntityDescription, ...], record: Any) -> tuple[EntityDescription, ...]:
    """The rows of a table that this record has a value for."""
    return tuple(row for row in rows if _exists(row, record))


def _exists(row: EntityDescription, record: Any) -> bool:
    if row.exists is not None:
        return row.exists(record)
    return row.value is None or row.value(record) is not None


def on_off(value: bool | int | None) -> str | None:  # noqa: FBT001 - a truth is what it is about
    """A truth as a state says it."""
    return None if value is None else "ON" if value else "OFF"


@dataclass(frozen=True, slots=True)
class StateMeta:
    """Where a device's values are from: `_meta` of the state."""

    origin: UpdateOrigin
    observed_at: str
