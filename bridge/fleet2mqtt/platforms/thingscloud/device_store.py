"""What is known of a project: its devices, merged from every answer and push; the same Device while nothing changes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from fleet2mqtt.devices.model import Device, EntityDescription
from fleet2mqtt.platforms.thingscloud.attributes import Rules, Shape, Spec, row_of, spec_of
from fleet2mqtt.platforms.thingscloud.command_buttons import Button, button_row
from fleet2mqtt.platforms.thingscloud.entities import (
    DEVICE_ROWS,
    DeviceRecord,
    Event,
    FleetRecord,
    device_of,
    extended_row,
    fleet_device,
    told_alarm,
)
from fleet2mqtt.platforms.thingscloud.entity_keys import Keys
from fleet2mqtt.platforms.thingscloud.models import AttributeInfo, DeviceInfo, ExtendInfo, Row, in_zone
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Context

_NEVER = float("-inf")


@dataclass(slots=True)
class _Known:
    """A device, what it was made from, and when each part was asked for (`time.monotonic()`).

    `moved`: it sent something since its values were last read, as far as the list tells. `loose` are values that the
    definitions do not explain even though they were read since.
    """

    raw: Row
    record: DeviceRecord
    requested_at: float
    device: Device | None = None
    moved: bool = True
    schema: dict[str, AttributeInfo] | None = None
    schema_began: float = _NEVER
    values_began: float = _NEVER
    reported_at: datetime | None = None
    alarmed_at: datetime | None = None
    loose: frozenset[str] = frozenset()
    shapes: dict[str, Shape] = field(default_factory=dict)
    rows: tuple[EntityDescription, ...] | None = None

    def unexplained(self) -> frozenset[str]:
        """The values that no definition explains."""
        defined = self.schema or {}
        return frozenset(
            name for name, value in self.record.values.items() if name not in defined and value is not None
        )


class Fleet:
    """The devices by the vendor's ids, and the figures of the project."""

    def __init__(self, context: Context, rules: Rules, buttons: Mapping[str, Button]) -> None:
        self.figures = FleetRecord()
        self.model_names: dict[str, str] = {}
        self.members: dict[str, frozenset[str]] = {}
        """Who is in which groups: device → groups."""
        self._group_names: Mapping[str, str] = {}
        self._backend = context.name
        self._ids = context.ids
        self._zone = context.zone
        self._url: str = context.options["url"]
        self._rules = rules
        self._keys = Keys(backend=context.name, assignments=context.ids.assignments)
        self._known: dict[str, _Known] = {}
        self._buttons = tuple((each, button_row(self._keys(key, "command_"), each)) for key, each in buttons.items())
        self._rows: dict[Spec | str, EntityDescription] = {}
        self._tables: dict[tuple[int, ...], tuple[EntityDescription, ...]] = {}
        self._own: Device | None = None

    # Who is there

    def id(self, vendor_id: str) -> str:
        """The device id of a vendor's id, known or not."""
        return self._ids(self._backend, vendor_id)

    def natives(self) -> tuple[str, ...]:
        """The devices known."""
        return tuple(self._known)

    def by_key(self, device_key: str | None) -> str | None:
        """The device with this `device_key`."""
        found = (vendor_id for vendor_id, known in self._known.items() if known.record.info.device_key == device_key)
        return next(found, None) if device_key else None

    def retain(self, natives: Iterable[str]) -> None:
        """Forget the devices that are not among these."""
        for vendor_id in set(self._known).difference(natives):
            del self._known[vendor_id]

    def waiting(self, natives: Iterable[str]) -> list[str]:
        """Those of these that are known: who sent something first, then whose values were read longest ago."""
        there = [(known, vendor_id) for vendor_id in natives if (known := self._known.get(vendor_id)) is not None]
        there.sort(key=lambda pair: (not pair[0].moved, pair[0].values_began))
        return [vendor_id for _, vendor_id in there]

    def hurry(self, vendor_id: str) -> None:
        """Have this device's values read before others'."""
        if known := self._known.get(vendor_id):
            known.moved = True

    def schema_age(self, vendor_id: str) -> float | None:
        """Seconds since the definitions of a device's attributes were read; None where they have to be."""
        known = self._known.get(vendor_id)
        return None if known is None or known.schema is None else time.monotonic() - known.schema_began

    def outdate(self, vendor_id: str) -> None:
        """Have the definitions of this device's attributes read again."""
        if known := self._known.get(vendor_id):
            known.schema_began = _NEVER

    # What is said of them

    def learn(self, raw: Row, requested_at: float) -> Device | None:
        """Take in an entry of the device list, or a device's information; nothing for one without an id."""
        vendor_id = vendor_json.text(raw.get("id"))
        if vendor_id is None:
            return None
        known = self._known.get(vendor_id)
        if known is None:
            record = DeviceRecord(info=DeviceInfo(id=vendor_id), zone=self._zone)
            known = self._known[vendor_id] = _Known({}, record, _NEVER)
        if requested_at >= known.requested_at and any(known.raw.get(key) != value for key, value in raw.items()):
            known.moved |= known.raw.get("active") != raw.get("active")
            known.raw = known.raw | raw
            info = DeviceInfo.model_validate(known.raw, context=in_zone(self._zone))
            told = told_alarm(info.alarm)
            alarming = told if told is not None else known.record.alarming or False
            self._renew(known, replace(known.record, info=info, alarming=alarming))
            self._placed(vendor_id)
        known.requested_at = max(requested_at, known.requested_at)
        return self.device(vendor_id)

    def define(self, vendor_id: str, rows: Iterable[Row], requested_at: float) -> Device | None:
        """Take in the attributes of a device with their definitions."""
        known = self._known.get(vendor_id)
        if known is None:
            return None
        infos = (AttributeInfo.model_validate(row) for row in rows)
        schema = {info.identifier: info for info in infos if info.identifier}
        if known.schema is None or _definitions(known.schema) != _definitions(schema):
            known.rows = known.device = None
        known.schema, known.schema_began = schema, requested_at
        if (loose := known.unexplained()) != known.loose:
            known.loose, known.rows, known.device = loose, None, None
        rest = {name: known.record.values[name] for name in loose}
        return self.set_values(vendor_id, rest | {name: info.value for name, info in schema.items()}, requested_at)

    def set_values(self, vendor_id: str, values: Mapping[str, Any], requested_at: float) -> Device | None:
        """Take in all values of a device; what was asked for before the newest ones changes nothing."""
        known = self._known.get(vendor_id)
        if known is None:
            return None
        if requested_at >= known.values_began:
            known.values_began, known.moved = requested_at, False
            self._put(known, dict(values))
        return self.device(vendor_id)

    def report(self, vendor_id: str, values: Mapping[str, Any], at: datetime | None) -> Device | None:
        """Take in what a device reported just now; one that overtook this one wins."""
        known = self._known.get(vendor_id)
        if known is None or (at and known.reported_at and at < known.reported_at):
            return None
        known.reported_at = at or known.reported_at
        known.values_began = time.monotonic()
        self._put(known, {**known.record.values, **values})
        return self.device(vendor_id)

    def happen(self, vendor_id: str, event: Event) -> Device | None:
        """Take in an event of a device."""
        return self._change(vendor_id, event=event)

    def alarm(self, vendor_id: str, at: datetime, *, cleared: bool) -> Device | None:
        """Take in that an alarm was raised or cleared, unless a later one is known."""
        known = self._known.get(vendor_id)
        if known is None or (known.alarmed_at and at < known.alarmed_at):
            return None
        known.alarmed_at = at
        return self._change(vendor_id, alarming=not cleared)

    def extend(self, vendor_id: str, rows: Iterable[Row]) -> Device | None:
        """Take in the extended information of a device."""
        infos = tuple(ExtendInfo.model_validate(row) for row in rows)
        return self._change(vendor_id, extended=tuple(info for info in infos if info.id))

    def group(self, names: Mapping[str, str], members: Mapping[str, frozenset[str]]) -> list[Device]:
        """Take in the groups, innermost first, and who is in them (device → groups); gives the devices known."""
        self._group_names, self.members = names, dict(members)
        return [device for vendor_id in self._known if (device := self._placed(vendor_id))]

    def group_one(self, vendor_id: str, groups: Iterable[str]) -> Device | None:
        """Take in which groups one device is in."""
        self.members[vendor_id] = frozenset(groups)
        return self._placed(vendor_id)

    def undefined(self, vendor_id: str) -> bool:
        """Whether a device's definitions have to be read before its values can be shown."""
        known = self._known.get(vendor_id)
        return known is not None and (known.schema is None or not known.unexplained() <= known.loose)

    # Devices

    def device(self, vendor_id: str) -> Device:
        """A device as of now."""
        known = self._known[vendor_id]
        if known.rows is None:
            infos = (self._extended_row(info) for info in known.record.extended)
            buttons = (row for button, row in self._buttons if button.suits(known.record.info))
            rows = (*DEVICE_ROWS, *buttons, *self._attribute_rows(known), *infos)
            known.rows = self._tables.setdefault(tuple(map(id, rows)), rows)
        if known.device is None:
            known.device = device_of(self._backend, self.id(vendor_id), known.rows, known.record)
        return known.device

    def figure(self, **news: Any) -> Device:
        """Take in figures of the project; gives the backend's own device."""
        figures = replace(self.figures, **news)
        if self._own is None or figures != self.figures:
            self.figures = figures
            self._own = fleet_device(self._backend, self._url, figures)
        return self._own

    def _placed(self, vendor_id: str) -> Device | None:
        """A device with its groups and its type by their names."""
        known = self._known.get(vendor_id)
        if known is None:
            return None
        mine = self.members.get(vendor_id, ())
        names = tuple(name for id_, name in self._group_names.items() if id_ in mine)
        return self._change(vendor_id, groups=names, model=self.model_names.get(known.record.info.type or ""))

    def _change(self, vendor_id: str, **news: Any) -> Device | None:
        known = self._known.get(vendor_id)
        if known is None:
            return None
        self._renew(known, replace(known.record, **news))
        return self.device(vendor_id)

    def _put(self, known: _Known, values: dict[str, Any]) -> None:
        for name, value in values.items():
            shape = known.shapes.get(name, Shape())
            if (seen := shape.with_value(value)) is not shape:
                known.shapes[name], known.rows, known.device = seen, None, None
        if known.loose - values.keys():
            known.loose &= values.keys()
            known.rows = known.device = None
        self._renew(known, replace(known.record, values=values))

    def _renew(self, known: _Known, record: DeviceRecord) -> None:
        if record != known.record:
            if (record.extended, record.info.type) != (known.record.extended, known.record.info.type):
                known.rows = None
            known.record, known.device = record, None

    def _attribute_rows(self, known: _Known) -> Iterable[EntityDescription]:
        """A row for each attribute that is defined, and for values that stay without a definition."""
        loose = (AttributeInfo(identifier=name) for name in sorted(known.loose))
        for info in (*(known.schema or {}).values(), *loose):
            name = info.identifier or ""
            spec = spec_of(info, self._keys(name), self._rules, known.shapes.get(name, Shape()))
            if spec is not None:
                yield self._row(spec)

    def _row(self, spec: Spec) -> EntityDescription:
        if spec not in self._rows:
            self._rows[spec] = row_of(spec)
        return self._rows[spec]

    def _extended_row(self, info: ExtendInfo) -> EntityDescription:
        token = f"{info.id}\x1f{info.name}"
        if token not in self._rows:
            self._rows[token] = extended_row(self._keys(info.id or "", "info_"), info)
        return self._rows[token]


def _definitions(schema: Mapping[str, AttributeInfo]) -> dict[str, AttributeInfo]:
    return {name: info.model_copy(update={"value": None}) for name, info in schema.items()}
