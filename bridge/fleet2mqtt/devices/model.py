"""Devices, entity descriptions, alarms, and the updates that bring them. Data only."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic

from typing_extensions import TypeVar

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
    UPDATE = "update"


GROUP_KIND = "group"
"""`Device.kind` of a device that stands for a group of devices."""

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
    """Origin of an update."""

    POLL = "poll"
    PUSH = "push"
    COMMAND = "command"
    CONDITION = "condition"
    """An alarm that the bridge raises and clears itself."""


@dataclass(frozen=True, slots=True)
class Name:
    """A name in each language of the bridge."""

    en: str
    zh: str

    def text(self, language: str) -> str:
        """Return the name in `en` or `zh-Hans`."""
        return self.zh if language == "zh-Hans" else self.en


RecordT = TypeVar("RecordT", default=Any)
"""The platform's record that a device's entities are read from."""
ClientT = TypeVar("ClientT", default=Any)
"""The platform's object that an entity's write function gets."""

Write = Callable[[Any, "Device", Any], Awaitable["Update | None"]]
"""`await write(client, device, value)`: send one validated value to the vendor; return what its response shows.

A switch's value is a bool, a number's an int or float, a select's one of the options, a text's a str, a button's None.
Raises BackendError, CommandError.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityDescription(Generic[RecordT, ClientT]):
    """The definition of an entity: key, names, how it is read, and, beside that, how it is written.

    `value` takes the record that the device was built from. `exists` is True if the record has the entity's field at
    all (default: `value` returns not None); once seen, an entity stays until complete responses of its source no longer
    contain the field. A blank field exists, and its value is None.

    `source` is the name of the source that owns the key, "" for the one that lists the device: until that source has
    answered, the key keeps the value it had. `group` names what is written together: keys of one group in one `set` go
    out in one call of `write_group(client, device, {key: value})`. `confirmed` judges a button by its visible effect:
    it takes the device as read back, and returns None where that does not tell.

    Descriptions restored from disk have no functions.
    """

    key: str
    name: Name
    component: Component = Component.SENSOR
    value: Callable[[RecordT], Value] | None = None
    exists: Callable[[RecordT], bool] | None = None
    attributes: Callable[[RecordT], Mapping[str, Any] | None] | None = None
    write: Callable[[ClientT, Device, Any], Awaitable[Update | None]] | None = None
    group: str = ""
    write_group: Callable[[ClientT, Device, Mapping[str, Any]], Awaitable[Update | None]] | None = None
    confirmed: Callable[[Device], bool | None] | None = None
    source: str = ""
    local: bool = False
    """The value is the bridge's own: a write is not read back from the vendor, and works without it."""
    category: EntityCategory | None = None
    enabled: bool = True
    essential: bool = False
    """Part of `entities: minimal`: an operator alarms on it."""
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
    """Regular expression that a text must match as a whole; without anchors."""
    secret: bool = False
    """Write-only: neither shown in a state nor repeated in a result."""


EntityDescriptions = tuple[EntityDescription[RecordT, ClientT], ...]
"""A table of entity descriptions."""

FUNCTIONS = frozenset(("value", "exists", "attributes", "write", "write_group", "confirmed"))
"""Fields of an entity description that work only with the record and client of a running backend."""


def without_functions(entity: EntityDescription) -> EntityDescription:
    """Return the definition of an entity as it is restored from disk."""
    absent: dict[str, Any] = dict.fromkeys(FUNCTIONS)
    return replace(entity, **absent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device as of one moment: identity, entity descriptions, and the values read by them.

    `scope` names the inventory that lists it (`devices`, `lines:000EA93D022E`); `vendor_id` is the vendor's own id;
    `source` is the source that reads its state, "" for the primary one.

    `answered` are the sources that have answered for this device since the start: keys that are owned by others keep
    the values they had. None means all of them.

    `complete` is False while the vendor sends less about the device than it has, because it cannot reach it: entities
    that are missing then are not removed.

    `kind` is the kind of a sub-device (line, channel, rule, compartment), `group` for a group device, None for a device
    that the vendor lists.
    `groups` are the vendor's groups that the device is in, name by id, the innermost first; None until they are known.
    They, `tags` and `location` are what rules of selection compare.

    `record` is what the entity descriptions read and write; None once restored from disk. `alarms` asks for the alarm
    entities; `counts_alarms` is True if the platform has counters per severity of its own.
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
    kind: str | None = None
    groups: Mapping[str, str] | None = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    location: str | None = None
    alarms: bool = False
    counts_alarms: bool = False
    source: str = ""
    answered: frozenset[str] | None = field(default=None, compare=False, repr=False)
    complete: bool = field(default=True, compare=False, repr=False)
    record: Any = field(default=None, compare=False, repr=False)

    def entity(self, key: str) -> EntityDescription | None:
        """Return the entity description with this key, None if the device has none."""
        return next((entity for entity in self.entities if entity.key == key), None)


@dataclass(slots=True, kw_only=True)  # made for each alarm: frozen takes three times as long
class Alarm:
    """One event of an alarm: raised or cleared, as in the alarm contract (docs/mqtt.md).

    `id` is `<backend>:<the vendor's own id>` the same by push, by poll and after a restart. `active` is True if this
    vendor reports the clear, so that a raised alarm is active until then; `alarm_key` then identifies it within its
    device (the same for the raise and the clear event).
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
    backlog: bool = False
    """Raised before the bridge was responsible for it: before its first run, or before it knew the device."""
    alarm_type: str = ""
    """Type of the alarm without its device: the key of a condition; by default the vendor's name."""
    suppressed: bool = False
    """Withheld: its event is not published on `alarm/event`."""
    suppressed_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEvent:
    """Something that happened at a device, for its event entity `key`. It is published once, and never retained.

    `event_type` is one of the entity's options; `attributes` are published beside it.
    """

    device: str
    key: str
    event_type: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """A complete, successful list of one scope: every device id that the vendor has there now.

    An empty list removes nothing, unless it is `confirmed_empty`: the vendor states that there are none.
    """

    scope: str
    ids: frozenset[str]
    confirmed_empty: bool = False


@dataclass(slots=True, kw_only=True)  # made for each alarm: frozen takes three times as long
class Update:
    """Devices, alarms and inventories that a backend reports at once.

    `requested_at` is `time.monotonic()` before the vendor was asked. `checkpoints` are texts for `Context.checkpoint`,
    by device. They are on disk together with the alarms or not at all, so that a crash in between cannot separate an
    alarm from what it will be recognised by. `removed` are ids of devices that a confirmed delete of our own named:
    they are removed at once. `made_at` is `time.monotonic()` when it was made: a device of a later update was built
    from all that the device of an earlier one was. The `alarms` belong to who accepts the update: rules change them.
    """

    backend: str
    origin: UpdateOrigin
    requested_at: float
    observed_at: datetime
    devices: tuple[Device, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    events: tuple[DeviceEvent, ...] = ()
    inventories: tuple[Inventory, ...] = ()
    removed: tuple[str, ...] = ()
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    made_at: float = field(default_factory=time.monotonic, compare=False, repr=False)


def read_state(entities: Iterable[EntityDescription[RecordT]], record: RecordT) -> dict[str, Value]:
    """Return the state object of a record: one key per entity that has a value function."""
    return {entity.key: entity.value(record) for entity in entities if entity.value is not None and not entity.secret}


def read_attributes(entities: Iterable[EntityDescription[RecordT]], record: RecordT) -> dict[str, Mapping[str, Any]]:
    """Return the attributes of a record: one key per entity that has any."""
    found = {entity.key: entity.attributes(record) for entity in entities if entity.attributes is not None}
    return {key: values for key, values in found.items() if values}


def read_existing(
    entities: Iterable[EntityDescription[RecordT, ClientT]], record: RecordT
) -> tuple[tuple[EntityDescription[RecordT, ClientT], ...], dict[str, Value]]:
    """Return the entity descriptions whose fields a record has, and its state object, reading each value once."""
    found: list[EntityDescription[RecordT, ClientT]] = []
    state: dict[str, Value] = {}
    for entity in entities:
        if entity.exists is not None and not entity.exists(record):
            continue
        if entity.value is not None:
            value = entity.value(record)
            if value is None and entity.exists is None:
                continue
            if not entity.secret:
                state[entity.key] = value
        found.append(entity)
    return tuple(found), state


def on_off(value: bool | int | None) -> str | None:  # noqa: FBT001 - the boolean is the subject
    """Return a boolean as states carry it: "ON", "OFF" or None."""
    return None if value is None else "ON" if value else "OFF"


@dataclass(frozen=True, slots=True)
class StateMeta:
    """Source and time of the last change of a device's state: `_meta`."""

    origin: UpdateOrigin
    observed_at: str
