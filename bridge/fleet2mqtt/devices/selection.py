"""Selection: which devices of a backend are polled in detail and published, and which of their entities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import product

from fleet2mqtt.devices.model import GROUP_KIND, Device, EntityDescription, EntityDescriptions, Name


class Detail(StrEnum):
    """Entities that a backend's devices have: what an operator alarms on, the usual ones, or all enabled."""

    MINIMAL = "minimal"
    STANDARD = "standard"
    FULL = "full"


class Area(StrEnum):
    """Source of the area that Home Assistant is to suggest for a device."""

    GROUP = "group"
    LOCATION = "location"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of `include` or `exclude`. A device matches if each attribute that the rule names matches.

    `id` (vendor id or device id), `name`, `model`, `group` (name or id), `tag` and `location` are patterns with `*`,
    `?` and `[…]`, compared without case. `kind` is the kind of a sub-device, such as `line`, or `group`; a rule without
    it is about the devices that the vendor lists. A sub-device without groups, tags or a location of its own has those
    of the device through which it is connected.
    """

    id: str | None = None
    name: str | None = None
    model: str | None = None
    group: str | None = None
    tag: str | None = None
    location: str | None = None
    kind: str | None = None

    def matches(self, device: Device) -> bool:
        """Return True if a device matches every attribute of the rule."""
        return (
            self.kind == device.kind
            and _matches(self.id, device.vendor_id, device.id)
            and _matches(self.name, device.name)
            and _matches(self.model, device.model)
            and _matches(self.group, *_group_texts(device))
            and _matches(self.tag, *device.tags)
            and _matches(self.location, device.location)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Changes to one entity by its key; None keeps the value of the platform."""

    enabled: bool | None = None
    name: str | None = None
    icon: str | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The options `include`, `exclude`, `entities`, `overrides`, `area` and `group_devices` of one backend.

    `unpolled` are the sources that are not polled: the devices and entities that they own are not published.
    """

    include: tuple[Rule, ...] = ()
    exclude: tuple[Rule, ...] = ()
    entities: Detail = Detail.STANDARD
    overrides: Mapping[str, Override] = field(default_factory=dict)
    area: Area = Area.GROUP
    group_devices: bool = True
    unpolled: frozenset[str] = frozenset()

    def selects(self, device: Device) -> bool:
        """Return True if the rules select a device by itself. The backend's own device is always selected."""
        if device.id == device.backend:
            return True
        if device.source in self.unpolled:
            return False
        include = [rule for rule in self.include if rule.kind == device.kind]
        exclude = [rule for rule in self.exclude if rule.kind == device.kind]
        if device.groups is None and any(rule.group is not None for rule in (*include, *exclude)):
            return False
        if include and not any(rule.matches(device) for rule in include):
            return False
        return not any(rule.matches(device) for rule in exclude)

    def narrow(self, models: Mapping[str, str], groups: Mapping[str, str]) -> frozenset[tuple[str | None, str | None]]:
        """Return the pairs of a model and a group, by id, that `include` is limited to; None in a pair is any.

        `models` and `groups` are the names that the vendor has for them, by id. Returned is nothing where `include`
        selects devices by something else, or names no model or group that is known.
        """
        pairs = set[tuple[str | None, str | None]]()
        for rule in (rule for rule in self.include if rule.kind is None):
            of_model = [id_ for id_, name in models.items() if _matches(rule.model, name)] if rule.model else [None]
            of_group = (
                [id_ for id_, name in groups.items() if _matches(rule.group, name, id_)] if rule.group else [None]
            )
            pairs.update(product(of_model, of_group))
        return frozenset() if (None, None) in pairs else frozenset(pairs)

    def area_of(self, device: Device) -> str | None:
        """Return the area to suggest for a device: one that its platform chose, or else its group or location."""
        if device.suggested_area is not None or self.area is Area.NONE:
            return device.suggested_area
        if self.area is Area.LOCATION:
            return device.location
        return device.name if device.kind == GROUP_KIND else next(iter((device.groups or {}).values()), None)

    def excludes_kind(self, kind: str) -> bool:
        """Return True if a rule excludes all sub-devices of a kind."""
        return Rule(kind=kind) in self.exclude

    def may_enable(self, prefix: str) -> bool:
        """Return True if entities that are disabled by default may be enabled by a key that begins with `prefix`."""
        enabled = (key for key, override in self.overrides.items() if override.enabled)
        return self.entities is Detail.FULL or any(key.startswith(prefix) for key in enabled)

    def is_enabled(self, entity: EntityDescription) -> bool:
        """Return True if an entity is published and enabled, so that its value is worth a call."""
        if entity.source in self.unpolled:
            return False
        override = self.overrides.get(entity.key)
        if override is not None and override.enabled is not None:
            return override.enabled
        if self.entities is Detail.MINIMAL:
            return entity.essential
        return entity.enabled or self.entities is Detail.FULL

    def publishes(self, entity: EntityDescription) -> bool:
        """Return True if an entity is published, enabled or not."""
        return self.apply(entity) is not None

    def apply(self, entity: EntityDescription) -> EntityDescription | None:
        """Return an entity description as the options want it, None if it is not published."""
        override = self.overrides.get(entity.key)
        wanted = override is not None and override.enabled
        if entity.source in self.unpolled:
            return None
        if self.entities is Detail.MINIMAL and not (entity.essential or wanted):
            return None
        enabled = self.is_enabled(entity)
        if override is None:
            return entity if enabled is entity.enabled else replace(entity, enabled=enabled)
        return replace(
            entity,
            enabled=enabled,
            name=entity.name if override.name is None else Name(override.name, override.name),
            icon=entity.icon if override.icon is None else override.icon,
            unit=entity.unit if override.unit is None else override.unit,
        )

    @property
    def inherits(self) -> bool:
        """True if a rule compares sub-devices by what they may have from the device that connects them."""
        rules = (rule for rule in (*self.include, *self.exclude) if rule.kind is not None)
        return any(value is not None for rule in rules for value in (rule.group, rule.tag, rule.location))

    @property
    def keeps_entities(self) -> bool:
        """True if the options leave all entities as the platform describes them."""
        return self.entities is Detail.STANDARD and not self.overrides and not self.unpolled


def _group_texts(device: Device) -> tuple[str, ...]:
    groups = device.groups or {}
    return (*groups.values(), *groups)


def _matches(pattern: str | None, *values: str | None) -> bool:
    if pattern is None:
        return True
    wanted = pattern.casefold()
    return any(fnmatchcase(value.casefold(), wanted) for value in values if value is not None)


DEFAULT = Selection()


class SelectionFilter:
    """Applies the selections of all backends to their devices.

    `selection_of` returns the selection of a backend as it is configured now.
    """

    def __init__(self, selection_of: Callable[[str], Selection]) -> None:
        self._selection_of = selection_of
        self._excluded: dict[str, str] = {}
        """Ids of devices that are not selected, and their backends: their sub-devices are not selected either."""
        self._connecting: dict[str, Device] = {}
        """Devices by id, with what they inherited, of backends with rules that compare sub-devices by it."""
        self._tables: dict[tuple[str, int], tuple[EntityDescriptions, EntityDescriptions]] = {}

    def selects(self, device: Device) -> bool:
        """Return True if a device is polled in detail and published."""
        selection = self._selection_of(device.backend)
        complete = self._complete(device) if selection.inherits else device
        selected = device.via not in self._excluded and selection.selects(complete)
        if selected:
            self._excluded.pop(device.id, None)
        else:
            self._excluded[device.id] = device.backend
        return selected

    def inherits(self, backend: str) -> bool:
        """Return True if a rule compares sub-devices by what they may have from the device that connects them."""
        return self._selection_of(backend).inherits

    def knows_groups(self, device: Device) -> bool:
        """Return True if the groups of a device are known, those that it has from another included."""
        return device.groups is not None and self._connecting.get(device.id, device).groups is not None

    def _complete(self, device: Device) -> Device:
        """Return a device with the groups, tags and location of the one that connects it, where it has none itself."""
        connecting = self._connecting.get(device.via or "")
        if connecting is not None:
            device = replace(
                device,
                groups=connecting.groups if device.groups == {} else device.groups,
                tags=device.tags or connecting.tags,
                location=connecting.location if device.location is None else device.location,
            )
        self._connecting[device.id] = device
        return device

    def area_of(self, device: Device) -> str | None:
        """Return the area to suggest for a device."""
        return self._selection_of(device.backend).area_of(device)

    def is_excluded(self, id_: str) -> bool:
        """Return True for a device that was seen and is not selected."""
        return id_ in self._excluded

    def apply(self, backend: str, entities: EntityDescriptions) -> EntityDescriptions:
        """Return the entities of a device as its backend's options want them; one tuple for one tuple."""
        selection = self._selection_of(backend)
        if selection.keeps_entities:
            return entities
        known = self._tables.get((backend, id(entities)))
        if known is not None and known[0] is entities:
            return known[1]
        applied = tuple(each for entity in entities if (each := selection.apply(entity)) is not None)
        self._tables[backend, id(entities)] = (entities, applied)
        return applied

    def reset(self, backend: str) -> None:
        """Forget what was decided by the former options of a backend."""
        self._excluded = {id_: name for id_, name in self._excluded.items() if name != backend}
        self._connecting = {id_: each for id_, each in self._connecting.items() if each.backend != backend}
        self._tables = {key: tables for key, tables in self._tables.items() if key[0] != backend}
