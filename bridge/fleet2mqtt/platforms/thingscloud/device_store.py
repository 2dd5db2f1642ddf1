"""The device store of a project: its devices, merged from every response and push."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from fleet2mqtt.devices.model import Device, EntityDescription, Name
from fleet2mqtt.platforms.thingscloud.attributes import (
    ATTRIBUTES_SOURCE,
    AttributeOptions,
    AttributeSpec,
    ValueShape,
    build_entity,
    build_spec,
    has_type,
)
from fleet2mqtt.platforms.thingscloud.command_buttons import CommandButton, build_button
from fleet2mqtt.platforms.thingscloud.entities import (
    DEVICE_ENTITIES,
    MANUFACTURER,
    META_SOURCE,
    PROJECT_ENTITIES,
    SCHEMA_SOURCE,
    DeviceEntity,
    alarm_status,
    build_extended_entity,
)
from fleet2mqtt.platforms.thingscloud.entity_keys import EntityKeys
from fleet2mqtt.platforms.thingscloud.models import (
    AttributeInfo,
    AttributeModel,
    DeviceInfo,
    DeviceRecord,
    ExtendInfo,
    JsonObject,
    ProjectRecord,
    json_object,
    zone_context,
)
from fleet2mqtt.platforms.thingscloud.page_size import LARGEST_PAGE
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Context
from fleet2mqtt.sdk.device_cache import DeviceCache, NewestFirst
from fleet2mqtt.sdk.vendor_json import WireModel

MAX_HELD_DEVICES, MAX_HELD_REPORTS = 10_000, 20
"""Most devices whose reports are held until they are listed, and most reports of each."""
RECENT_REPORT = 600.0
"""Seconds after a report without a time in which newer times in the list are taken for that report's."""
LOCATION_TAGS = ("location", "address", "位置", "地址", "安装位置")
"""Keys of tags that name a device's place, the first one that it has."""
INFO_PREFIX = "info_"
"""The beginning of the keys of extended information."""
_PLACES_KEY = "/places"  # no vendor id is empty
_NEVER = float("-inf")


class _Report(NamedTuple):
    """Values that a device reported, and when."""

    values: Mapping[str, Any]
    at: datetime | None


@dataclass(slots=True)
class _DeviceEntry:
    """The data of a device, and when its parts were requested (`time.monotonic()`).

    `has_new_values`: it sent something since its values were last read, as far as the list shows, at `news_at` by its
    own time and listed at `news_listed_at`; `has_times`: the list has such times. `requested`: its values shall be read
    soon, `definitions_expired`: its definitions, too. `pushed_at` is when its newest report came. `undefined` are
    values without a definition, although the definitions were read after them.
    `reported_at` and `online_at` are the device's times of its newest report and of its last coming or going;
    `received_at` is when each value was last pushed. `listed_alarm` is the alarm status of the list, `has_alarm_status`
    that this vendor's list ever had one for this device, `alarm_pushed` that an alarm was pushed after it. `answered`
    are sources that have answered.
    """

    raw: JsonObject
    record: DeviceRecord
    has_new_values: bool = True
    definitions: dict[str, AttributeInfo] | None = None
    definitions_requested_at: float = _NEVER
    values_requested_at: float = _NEVER
    reported_at: datetime | None = None
    online_at: datetime | None = None
    requested: bool = False
    has_times: bool = False
    news_at: datetime | None = None
    news_listed_at: float = _NEVER
    pushed_at: float = _NEVER
    definitions_expired: bool = False
    received_at: dict[str, float] = field(default_factory=dict)
    listed_alarm: bool | None = None
    has_alarm_status: bool = False
    alarm_pushed: bool = False
    answered: frozenset[str] = frozenset()
    undefined: frozenset[str] = frozenset()
    shapes: dict[str, ValueShape] = field(default_factory=dict)
    entities: tuple[DeviceEntity, ...] | None = None

    @property
    def updated_at(self) -> float:
        """Return when any value was last read or pushed."""
        return max(self.values_requested_at, max(self.received_at.values(), default=_NEVER))

    @property
    def has_news(self) -> bool:
        """Return whether it sent values that neither were read nor came as a report."""
        if not self.has_new_values or self.requested:
            return self.has_new_values
        if self.reported_at is not None and self.news_at is not None:
            return self.news_at > self.reported_at
        return not self.was_pushed_recently

    @property
    def was_pushed_recently(self) -> bool:
        """Return whether a report came during the last minutes."""
        return time.monotonic() - self.pushed_at < RECENT_REPORT

    def without_definition(self) -> frozenset[str]:
        """Return the identifiers of values without a definition."""
        defined = self.definitions or {}
        values = self.record.values.items()
        return frozenset(name for name, value in values if name not in defined and value is not None)


@dataclass(slots=True)
class _TypeEntry:
    """Definitions that the devices of a type share, of attributes and, once read, of extended information."""

    definitions: dict[str, AttributeInfo] = field(default_factory=dict)
    definitions_requested_at: float = _NEVER
    infos: tuple[ExtendInfo, ...] | None = None
    is_wanted: bool | None = None


class DeviceStore:
    """The devices by the vendor's ids, and the totals of the project."""

    def __init__(
        self,
        context: Context,
        options: AttributeOptions,
        buttons: Mapping[str, CommandButton],
        has_active_alarms: Callable[[str], bool | None],
    ) -> None:
        """`has_active_alarms` returns by vendor id whether an alarm on disk is active; None if unknown."""
        places: dict[str, Any] = orjson.loads(context.checkpoint(_PLACES_KEY) or "{}")
        self.model_names: dict[str, str] = places.get("models", {})
        self.members = {vendor_id: frozenset(groups) for vendor_id, groups in places.get("members", {}).items()}
        """The groups of each device, by vendor id."""
        self._project = ProjectRecord()
        self._answered: frozenset[str] = frozenset()
        self._has_active_alarms = has_active_alarms
        self._held: dict[str, list[_Report]] = {}
        self._group_names: Mapping[str, str] = places.get("groups", {})
        self._has_read_groups = "groups" in places or context.interval(META_SOURCE) == math.inf
        self._cache = DeviceCache(backend=context.name, ids=context.ids)
        self._newest = NewestFirst()
        self._zone = context.zone
        self._checkpoint = context.checkpoint
        self._options = options
        self._listed_total = 0
        """Devices of the project when all were listed last."""
        self._keys = EntityKeys(backend=context.name, assignments=context.ids.assignments)
        self._entries: dict[str, _DeviceEntry] = {}
        self._types: dict[str, _TypeEntry] = {}
        self._changed: set[str] = set()
        """Vendor ids of devices that a response about another one changed."""
        self._full_sweep_interval: float = context.options["full_sweep_interval"]
        self._is_enabled = context.is_enabled
        self._may_enable_infos = context.may_enable(INFO_PREFIX)
        self._wanted: dict[int, bool] = {}
        self._buttons = tuple(
            (button, build_button(self._keys(key, "command_"), button)) for key, button in buttons.items()
        )
        self._attribute_entities: dict[AttributeSpec, DeviceEntity] = {}
        self._extended_entities: dict[tuple[str | None, str | None], DeviceEntity] = {}

    # Which devices there are

    def device_id(self, vendor_id: str) -> str:
        """Return the device id of a vendor id, whether or not it is listed."""
        return self._cache.id(vendor_id)

    def vendor_ids(self) -> tuple[str, ...]:
        """Return the vendor ids of the devices that were listed."""
        return tuple(self._entries)

    @property
    def group_names(self) -> Mapping[str, str]:
        """Return the names of the groups by id."""
        return self._group_names

    def count_pages(self, filters: Iterable[tuple[str | None, str | None]] = ((None, None),)) -> int:
        """Return how many pages the lists of these types and groups have, as far as is known; by default of all."""
        types = Counter(entry.record.info.type for entry in self._entries.values())
        groups = Counter(group for members in self.members.values() for group in members)
        count = 0
        for type_, group in filters:
            everything = max(self._listed_total, len(self.members))
            devices = groups[group] if group is not None else types[type_] if type_ is not None else everything
            count += max(1, math.ceil(devices / LARGEST_PAGE))
        return count

    def is_listed(self, vendor_id: str) -> bool:
        """Return whether a device was listed."""
        return vendor_id in self._entries

    def is_online(self, vendor_id: str) -> bool | None:
        """Return whether a device is online, as last listed or read."""
        entry = self._entries.get(vendor_id)
        return None if entry is None else entry.record.info.online

    def find_by_key(self, device_key: str | None) -> str | None:
        """Return the vendor id of the device with this `device_key`."""
        found = (vendor_id for vendor_id, entry in self._entries.items() if entry.record.info.device_key == device_key)
        return next(found, None) if device_key else None

    def retain(self, vendor_ids: Collection[str], *, is_all: bool = True) -> None:
        """Discard the devices that are not among these; `is_all` if they are all that the project has."""
        if is_all:
            self._listed_total = len(vendor_ids)
        gone = set(self._entries).difference(vendor_ids)
        for vendor_id in gone:
            del self._entries[vendor_id]
            self._newest.discard(vendor_id)
        self._cache.discard(map(self.device_id, gone))
        self._held.clear()

    def sweep_order(self, vendor_ids: Iterable[str], attempted_at: Mapping[str, float]) -> list[str]:
        """Return those of these that are listed: first devices with new values, then the longest not read.

        `attempted_at` is when each was last tried; a device that fails does not come first again and again.
        """
        listed = [(entry, vendor_id) for vendor_id in vendor_ids if (entry := self._entries.get(vendor_id)) is not None]

        def priority(item: tuple[_DeviceEntry, str]) -> tuple[bool, bool, bool, float]:
            entry, vendor_id = item
            waits_for_definitions = bool(entry.received_at) and entry.definitions is None
            last = max(entry.updated_at, attempted_at.get(vendor_id, _NEVER))
            return not waits_for_definitions, not entry.requested, not entry.has_news, last

        return [vendor_id for _, vendor_id in sorted(listed, key=priority)]

    def request_values(self, vendor_id: str) -> None:
        """Have this device's values read before those of others."""
        if entry := self._entries.get(vendor_id):
            entry.has_new_values = entry.requested = True

    def mark_pushed(self, vendor_id: str) -> None:
        """Record that a device reports by itself: it is polled rarely while it does."""
        if entry := self._entries.get(vendor_id):
            entry.pushed_at = time.monotonic()

    def is_due(self, vendor_id: str, *, live: bool = False) -> bool:
        """Return whether a device's values have to be read; not without an enabled entity that shows one.

        Read are first values, those of attributes without a definition, what was requested, what the device sent
        without a report arriving, and everything in a slow full sweep. A device whose messages have no times in the
        list is read each time, unless it is `live` (what it reports arrives by itself) or reported a short while ago.
        """
        entry = self._entries.get(vendor_id)
        if entry is None or not self._wants_values(vendor_id, entry):
            return False
        if entry.requested or entry.has_news or self.needs_definitions(vendor_id):
            return True
        if time.monotonic() - entry.values_requested_at > self._full_sweep_interval:
            return True
        return not (entry.has_times or live or entry.was_pushed_recently)

    def _wants_values(self, vendor_id: str, entry: _DeviceEntry) -> bool:
        """Return whether an attribute's entity is enabled, or may be as far as the definitions that are known tell."""
        if entry.entities is None:
            self.device(vendor_id)
        entities = entry.entities or ()
        if id(entities) not in self._wanted:
            self._wanted[id(entities)] = self._has_enabled(entities)
        if self._wanted[id(entities)]:
            return True
        type_ = self._type_of(entry)
        if type_ is None or not type_.definitions:
            return not any(entity.source == ATTRIBUTES_SOURCE for entity in entities)
        if type_.is_wanted is None:
            # Their components do not matter here, nor that some without a type have no entity before they have a value.
            keys = (self._keys(name) for name in type_.definitions)
            stand_ins = (EntityDescription(key=key, name=Name("", ""), source=ATTRIBUTES_SOURCE) for key in keys)
            type_.is_wanted = self._has_enabled(stand_ins)
        return type_.is_wanted

    def _has_enabled(self, entities: Iterable[EntityDescription]) -> bool:
        return any(entity.source == ATTRIBUTES_SOURCE and self._is_enabled(entity) for entity in entities)

    def expire_definitions(self, vendor_id: str) -> None:
        """Have the definitions of this device's attributes read again."""
        if entry := self._entries.get(vendor_id):
            entry.definitions_expired = True

    def unread(self) -> Iterator[str]:
        """Yield the vendor ids of the devices whose values have to be read for the first time."""
        for vendor_id, entry in self._entries.items():
            if entry.values_requested_at == _NEVER and self._wants_values(vendor_id, entry):
                yield vendor_id

    def definition_readers(
        self, vendor_ids: Iterable[str], max_age: float, attempted_at: Mapping[str, float]
    ) -> set[str]:
        """Return those of these devices whose definitions are read now: of each type one, another one each time.

        `max_age` is the age in seconds after which definitions are read again, `attempted_at` when each was last tried.
        """
        now, readers = time.monotonic(), set[str]()
        candidates: dict[str, tuple[float, str]] = {}
        for vendor_id in vendor_ids:
            entry = self._entries.get(vendor_id)
            if entry is None or not self._wants_values(vendor_id, entry):
                continue
            type_ = self._type_of(entry)
            requested_at = entry.definitions_requested_at if type_ is None else type_.definitions_requested_at
            if entry.definitions_expired or (type_ is None and now - requested_at > max_age):
                readers.add(vendor_id)
            elif type_ is not None and now - requested_at > max_age:
                last = max(entry.definitions_requested_at, attempted_at.get(vendor_id, _NEVER))
                key = entry.record.info.type or ""
                candidates[key] = min(candidates.get(key, (last, vendor_id)), (last, vendor_id))
        return readers | {vendor_id for _, vendor_id in candidates.values()}

    def needs_definitions(self, vendor_id: str) -> bool:
        """Return whether a device's definitions have to be read before its values can be shown."""
        entry = self._entries.get(vendor_id)
        return entry is not None and (entry.definitions is None or not entry.without_definition() <= entry.undefined)

    def types(self) -> tuple[str, ...]:
        """Return the ids of the types of the listed devices."""
        return tuple(dict.fromkeys(type_ for entry in self._entries.values() if (type_ := entry.record.info.type)))

    def wants_infos(self, vendor_id: str) -> bool:
        """Return whether an entity of a device's extended information is enabled."""
        entry = self._entries.get(vendor_id)
        type_ = None if entry is None else self._type_of(entry)
        if type_ is None or type_.infos is None:
            return entry is not None and self._may_enable_infos
        return any(self._is_enabled(self._extended_entity(info)) for info in type_.infos)

    def take_changed(self) -> list[Device]:
        """Return the devices that responses about others changed, and forget them."""
        changed, self._changed = self._changed, set()
        return [self.device(vendor_id) for vendor_id in changed if vendor_id in self._entries]

    def _type_of(self, entry: _DeviceEntry) -> _TypeEntry | None:
        type_ = entry.record.info.type
        return self._types.setdefault(type_, _TypeEntry()) if type_ else None

    # What the vendor reports of them

    def apply_device(self, raw: JsonObject, requested_at: float) -> Device | None:
        """Apply an item of the device list, or a device's information; nothing for an item without an id."""
        vendor_id = vendor_json.text(raw.get("id"))
        if vendor_id is None:
            return None
        entry = self._entries.get(vendor_id)
        if entry is None:
            record = DeviceRecord(info=DeviceInfo(id=vendor_id), zone=self._zone)
            shapes = ValueShape.load(self._checkpoint(_shapes_key(vendor_id)))
            entry = self._entries[vendor_id] = _DeviceEntry({}, record, shapes=shapes)
        if self._newest.accept(vendor_id, requested_at):
            if any(entry.raw.get(key) != value for key, value in raw.items()):
                self._note_times(entry, raw.get("active"), requested_at)
                entry.raw = entry.raw | raw
                info = DeviceInfo.model_validate(entry.raw, context=zone_context(self._zone))
                changes_type = info.type != entry.record.info.type
                self._set_record(entry, replace(entry.record, info=info))
                self._place(vendor_id)
                if changes_type:
                    self._share_definitions(entry)
                    self._share_infos(entry)
            self._apply_listed_alarm(vendor_id, entry)
        for report in self._held.pop(vendor_id, ()):
            self.apply_report(vendor_id, report.values, report.at)
        return self.device(vendor_id)

    def _note_times(self, entry: _DeviceEntry, active: Any, requested_at: float) -> None:
        """Record whether the list shows a message with values that is newer than those that were read."""
        before, times = _value_times(entry.raw.get("active")), _value_times(active)
        if active is None or times == before:
            return
        moments = (
            vendor_json.timestamp(value.get("ts") if isinstance(value, dict) else value, self._zone)
            for value in times.values()
        )
        entry.has_times, entry.has_new_values = bool(times), True
        entry.news_at = max((at for at in moments if at is not None), default=None)
        entry.news_listed_at = requested_at

    def _apply_listed_alarm(self, vendor_id: str, entry: _DeviceEntry) -> None:
        """Apply the alarm status of the list; where it had one, an emptied `alarm` means no alarm."""
        status = alarm_status(entry.record.info.alarm)
        if status is None and entry.has_alarm_status and not entry.record.info.alarm:
            status = False
        entry.listed_alarm, entry.alarm_pushed = status, False
        entry.has_alarm_status |= status is not None
        self._set_alarming(vendor_id, entry)

    def _set_alarming(self, vendor_id: str, entry: _DeviceEntry) -> None:
        """Set `alarming`: the status of the list, unless an alarm was pushed since, or else the alarms on disk."""
        alarming = entry.listed_alarm
        if alarming is None or entry.alarm_pushed:
            active = self._has_active_alarms(vendor_id)
            alarming = alarming if active is None else active
        self._set_record(entry, replace(entry.record, alarming=alarming))

    def apply_definitions(self, vendor_id: str, items: Iterable[JsonObject], requested_at: float) -> Device | None:
        """Apply the attributes of a device with their definitions."""
        entry = self._entries.get(vendor_id)
        if entry is None:
            return None
        infos = (AttributeInfo.model_validate(item) for item in items)
        definitions = {info.identifier: info for info in infos if info.identifier}
        if entry.definitions is None or _without_values(entry.definitions) != _without_values(definitions):
            entry.entities = None
        entry.definitions, entry.definitions_requested_at = definitions, requested_at
        if (undefined := entry.without_definition()) != entry.undefined:
            entry.undefined, entry.entities = undefined, None
        values = {name: entry.record.values[name] for name in undefined}
        values |= {name: info.value for name, info in definitions.items()}
        device = self.apply_values(vendor_id, values, requested_at)
        entry.definitions_expired = False
        self._share_with_type(entry, requested_at)
        return device

    def _share_with_type(self, entry: _DeviceEntry, requested_at: float) -> None:
        """Share a device's definitions with those of its type: all that they have no others for, or that changed."""
        type_ = self._type_of(entry)
        if type_ is None:
            return
        shared = _without_values(entry.definitions or {})
        changed = {
            name: info
            for name, info in shared.items()
            if name not in type_.definitions or (info.model != AttributeModel() and info != type_.definitions[name])
        }
        is_first = type_.definitions_requested_at == _NEVER
        type_.definitions_requested_at = max(requested_at, type_.definitions_requested_at)
        if not changed and not is_first:
            return
        type_.definitions |= changed
        type_.is_wanted = None
        for vendor_id, other in self._entries.items():
            if other is entry or other.record.info.type != entry.record.info.type:
                continue
            if own := (other.definitions or {}).keys() & changed.keys():
                other.definitions = {**(other.definitions or {}), **{name: changed[name] for name in own}}
                other.entities = None
            self._share_definitions(other)
            if other.entities is None:
                self._changed.add(vendor_id)

    def _share_definitions(self, entry: _DeviceEntry) -> None:
        """Give a device the definitions of its type for those of its values that it has none for."""
        type_ = self._type_of(entry)
        if type_ is None or type_.definitions_requested_at == _NEVER:
            return
        found = {name: type_.definitions[name] for name in entry.without_definition() if name in type_.definitions}
        if found or entry.definitions is None:
            entry.definitions, entry.entities = {**(entry.definitions or {}), **found}, None
            entry.undefined -= found.keys()

    def apply_type_infos(self, type_: str, items: Iterable[JsonObject]) -> list[Device]:
        """Apply the extended information that a type defines; return its devices."""
        infos = (
            ExtendInfo.model_validate({**item, "value": None}) for item in items if item.get("enabled") is not False
        )
        self._types.setdefault(type_, _TypeEntry()).infos = tuple(info for info in infos if info.id)
        vendor_ids = [vendor_id for vendor_id, entry in self._entries.items() if entry.record.info.type == type_]
        for vendor_id in vendor_ids:
            self._share_infos(self._entries[vendor_id])
        return [self.device(vendor_id) for vendor_id in vendor_ids]

    def _share_infos(self, entry: _DeviceEntry) -> None:
        """Give a device the extended information of its type; values stay unknown where no entity is enabled."""
        type_ = self._type_of(entry)
        if type_ is None or type_.infos is None:
            return
        values = {info.id: info.value for info in entry.record.extended}
        extended = tuple(info.model_copy(update={"value": values.get(info.id)}) for info in type_.infos)
        self._set_record(entry, replace(entry.record, extended=extended))
        if not any(self._is_enabled(self._extended_entity(info)) for info in type_.infos):
            entry.answered |= {SCHEMA_SOURCE}

    def unsaved_places(self) -> dict[str, str]:
        """Return what has to be saved of groups and types: areas and models stay as they are after a restart."""
        members = {vendor_id: sorted(groups) for vendor_id, groups in sorted(self.members.items()) if groups}
        content = {"groups": dict(self._group_names), "members": members, "models": self.model_names}
        text = orjson.dumps(content).decode()
        return {} if text == self._checkpoint(_PLACES_KEY) else {_PLACES_KEY: text}

    def unsaved_checkpoints(self, vendor_id: str) -> dict[str, str]:
        """Return what has to be saved of a device: the types of attributes whose definitions have none.

        Without it, an attribute that has no value after a restart would have no type, and lose its entity.
        """
        entry = self._entries.get(vendor_id)
        if entry is None or entry.definitions is None:
            return {}
        typed = {name for name, info in entry.definitions.items() if has_type(info)}
        text = ValueShape.dump({name: shape for name, shape in entry.shapes.items() if name not in typed})
        key = _shapes_key(vendor_id)
        return {} if text == (self._checkpoint(key) or "") else {key: text}

    def apply_values(self, vendor_id: str, values: Mapping[str, Any], requested_at: float) -> Device | None:
        """Apply all values of a device, unless they were requested before those that are there."""
        entry = self._entries.get(vendor_id)
        if entry is None:
            return None
        if requested_at >= entry.values_requested_at:
            known = entry.record.values.items()
            entry.definitions_expired |= any(value is not None and name not in values for name, value in known)
            entry.values_requested_at, entry.requested = requested_at, False
            entry.has_new_values = requested_at < entry.news_listed_at
            entry.received_at = {name: at for name, at in entry.received_at.items() if at > requested_at}
            newer = {name: entry.record.values.get(name) for name in entry.received_at}
            self._set_values(entry, {**values, **newer})
            if entry.definitions is not None:
                entry.answered |= {ATTRIBUTES_SOURCE}
        return self.device(vendor_id)

    def apply_report(self, vendor_id: str, values: Mapping[str, Any], at: datetime | None) -> Device | None:
        """Apply values that a device just reported, unless a later report is there.

        Until the first complete list, reports of devices that are not listed yet are held.
        """
        entry = self._entries.get(vendor_id)
        if entry is None:
            self._hold(vendor_id, _Report(values, at))
            return None
        if at and entry.reported_at and at < entry.reported_at:
            return None
        entry.reported_at = at or entry.reported_at
        self.mark_pushed(vendor_id)
        entry.received_at |= dict.fromkeys(values, time.monotonic())
        self._set_values(entry, {**entry.record.values, **values})
        return self.device(vendor_id)

    def apply_online(self, vendor_id: str, online: bool, at: datetime | None) -> Device | None:  # noqa: FBT001
        """Apply that a device came or went, unless a later one is there; the list shows one that is not listed yet."""
        entry = self._entries.get(vendor_id)
        if entry is None or (at and entry.online_at and at < entry.online_at):
            return None
        entry.online_at = at or entry.online_at
        self._newest.accept(vendor_id, time.monotonic())  # a list that was requested before is older
        entry.raw = entry.raw | {"online": online}
        return self._change(vendor_id, info=entry.record.info.model_copy(update={"online": online}))

    def _hold(self, vendor_id: str, report: _Report) -> None:
        held = self._held.setdefault(vendor_id, [])
        held.append(report)
        del held[:-MAX_HELD_REPORTS]
        if len(self._held) > MAX_HELD_DEVICES:
            del self._held[next(iter(self._held))]

    def apply_missed(self, vendor_id: str, source: str) -> Device | None:
        """Apply that a source could not be read for several sweeps: its values are unknown, but for pushed ones."""
        entry = self._entries.get(vendor_id)
        if entry is None:
            return None
        entry.answered |= {source}
        if source == ATTRIBUTES_SOURCE:
            values = {name: value for name, value in entry.record.values.items() if name in entry.received_at}
            self._set_record(entry, replace(entry.record, values=values))
        else:
            extended = tuple(info.model_copy(update={"value": None}) for info in entry.record.extended)
            self._set_record(entry, replace(entry.record, extended=extended))
        return self.device(vendor_id)

    def apply_alarms(self, vendor_id: str, *, pushed: bool = False) -> Device | None:
        """Apply that an alarm of a device was raised or cleared, by the log or `pushed`."""
        entry = self._entries.get(vendor_id)
        if entry is None:
            return None
        entry.alarm_pushed |= pushed
        self._set_alarming(vendor_id, entry)
        return self.device(vendor_id)

    def refresh_alarms(self) -> list[Device]:
        """Apply the alarms on disk to every device, once the log was read for the first time."""
        return [device for vendor_id in self._entries if (device := self.apply_alarms(vendor_id))]

    def apply_extended(self, vendor_id: str, items: Iterable[JsonObject]) -> Device | None:
        """Apply the extended information of a device."""
        infos = tuple(ExtendInfo.model_validate(item) for item in items)
        if entry := self._entries.get(vendor_id):
            entry.answered |= {SCHEMA_SOURCE}
        return self._change(vendor_id, extended=tuple(info for info in infos if info.id))

    def apply_groups(self, names: Mapping[str, str], members: Mapping[str, frozenset[str]]) -> list[Device]:
        """Apply the names of the groups, innermost first, and the groups of each device; return the listed devices."""
        self._group_names, self.members, self._has_read_groups = names, dict(members), True
        return [device for vendor_id in self._entries if (device := self._place(vendor_id))]

    def apply_device_groups(self, vendor_id: str, groups: Iterable[str]) -> Device | None:
        """Apply the groups of one device."""
        self.members[vendor_id] = frozenset(groups)
        return self._place(vendor_id)

    def update_project(self, **changes: Any) -> Device:
        """Change fields of the project's record; return the backend's own device."""
        self._project = replace(self._project, **changes)
        return self._cache.backend_device(
            self._project,
            PROJECT_ENTITIES,
            manufacturer=MANUFACTURER,
            model="thingscloud",
            answered=self._answered,
        )

    def clear_project(self, part: str) -> Device:
        """Make the values of a part of the project unknown: it could not be read for several sweeps."""
        current = getattr(self._project, part)
        unknown = type(current)(**dict.fromkeys(current.model_fields_set)) if isinstance(current, WireModel) else None
        return self.update_project(**{part: unknown})

    def mark_answered(self, source: str) -> None:
        """Record that a source has answered for every part of the project."""
        self._answered |= {source}

    # Devices

    def device(self, vendor_id: str) -> Device:
        """Return a device as of now. It is available while it is listed; its connection is the entity `online`."""
        entry = self._entries[vendor_id]
        if entry.entities is None:
            buttons = (entity for button, entity in self._buttons if button.applies_to(entry.record.info))
            extended = (self._extended_entity(info) for info in entry.record.extended)
            entities = (*DEVICE_ENTITIES, *buttons, *self._attribute_entities_of(entry), *extended)
            entry.entities = self._cache.intern(entities)
        record = entry.record
        info = record.info
        return self._cache.build(
            self.device_id(vendor_id),
            record,
            entry.entities,
            vendor_id=vendor_id,
            scope="devices",
            name=info.name or info.device_key or vendor_id,
            via=self._cache.backend,
            manufacturer=MANUFACTURER,
            model=info.type_info.name or record.model,
            serial_number=info.device_key,
            groups=self._groups(vendor_id) if self._has_read_groups else None,
            tags=_tags(info.tags),
            location=_location(info.tags),
            alarms=True,
            answered=entry.answered,
        )

    def _place(self, vendor_id: str) -> Device | None:
        """Set the names of a device's groups and type."""
        entry = self._entries.get(vendor_id)
        if entry is None:
            return None
        names = tuple(self._groups(vendor_id).values())
        return self._change(vendor_id, groups=names, model=self.model_names.get(entry.record.info.type or ""))

    def _groups(self, vendor_id: str) -> dict[str, str]:
        """Return the names of a device's groups by id, innermost first."""
        groups = self.members.get(vendor_id, ())
        return {id_: name for id_, name in self._group_names.items() if id_ in groups}

    def _change(self, vendor_id: str, **changes: Any) -> Device | None:
        entry = self._entries.get(vendor_id)
        if entry is None:
            return None
        self._set_record(entry, replace(entry.record, **changes))
        return self.device(vendor_id)

    def _set_values(self, entry: _DeviceEntry, values: dict[str, Any]) -> None:
        for name, value in values.items():
            shape = entry.shapes.get(name, ValueShape())
            if (changed := shape.with_value(value)) is not shape:
                entry.shapes[name], entry.entities = changed, None
        if entry.undefined - values.keys():
            entry.undefined &= values.keys()
            entry.entities = None
        self._set_record(entry, replace(entry.record, values=values))
        self._share_definitions(entry)

    def _set_record(self, entry: _DeviceEntry, record: DeviceRecord) -> None:
        if record != entry.record:
            if (record.extended, record.info.type) != (entry.record.extended, entry.record.info.type):
                entry.entities = None
            entry.record = record

    def _attribute_entities_of(self, entry: _DeviceEntry) -> Iterable[DeviceEntity]:
        """Yield an entity description for each attribute with a definition, and for values that stay without one."""
        undefined = (AttributeInfo(identifier=name) for name in sorted(entry.undefined))
        for info in (*(entry.definitions or {}).values(), *undefined):
            name = info.identifier or ""
            spec = build_spec(info, self._keys(name), self._options, entry.shapes.get(name, ValueShape()))
            if spec is None:
                continue
            if spec not in self._attribute_entities:
                self._attribute_entities[spec] = build_entity(spec)
            yield self._attribute_entities[spec]

    def _extended_entity(self, info: ExtendInfo) -> DeviceEntity:
        token = info.id, info.name
        if token not in self._extended_entities:
            self._extended_entities[token] = build_extended_entity(self._keys(info.id or "", INFO_PREFIX), info)
        return self._extended_entities[token]


def _value_times(active: Any) -> JsonObject:
    """Return the times of the messages with values, from the undocumented `active`; of all where none is so named."""
    times = json_object(active)
    return {kind: at for kind, at in times.items() if "attr" in kind.lower()} or times


def _tags(tags: JsonObject) -> tuple[str, ...]:
    """Return the tags of a device, each as `key` and as `key=value`."""
    texts = ((key, vendor_json.text(value)) for key, value in tags.items())
    return tuple(tag for key, text in texts for tag in ((key,) if text is None else (key, f"{key}={text}")))


def _location(tags: JsonObject) -> str | None:
    """Return the tag that names a device's place: the vendor has no field for it."""
    texts = {key.strip().lower(): vendor_json.text(value) for key, value in tags.items()}
    return next((text for key in LOCATION_TAGS if (text := texts.get(key))), None)


def _shapes_key(vendor_id: str) -> str:
    return f"{vendor_id}/shapes"


def _without_values(definitions: Mapping[str, AttributeInfo]) -> dict[str, AttributeInfo]:
    return {name: info.model_copy(update={"value": None}) for name, info in definitions.items()}
