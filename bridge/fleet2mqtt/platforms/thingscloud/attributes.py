"""An attribute of a device → a row. What it is comes from the user's override, then its model, then its value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import orjson

from fleet2mqtt.devices.model import Component, Device, EntityDescription, Name, Value, on_off
from fleet2mqtt.platforms.thingscloud.attribute_types import (
    Kind,
    Way,
    choices,
    class_of,
    kind_of,
    kind_of_value,
    option,
    unit_of,
    way_of,
)
from fleet2mqtt.platforms.thingscloud.geo import Coordinates, position
from fleet2mqtt.platforms.thingscloud.models import AttributeInfo, Row
from fleet2mqtt.sdk import vendor_json

UNKNOWN = "unknown"
MAX_STATE = 255
MOST = 2**53 - 1
"""The bound of a number that has none: Home Assistant would take 100, and complain of a time in ms beyond 10**9."""
LEAST_STEP = 0.001

_SET_AS = {
    Component.NUMBER: Kind.NUMBER,
    Component.SWITCH: Kind.SWITCH,
    Component.SELECT: Kind.ENUM,
    Component.TEXT: Kind.TEXT,
}
_SHOWN_AS = {Component.BINARY_SENSOR: Kind.SWITCH, Component.DEVICE_TRACKER: Kind.POINT}
_PAIRS = (("true", "false"), ("on", "off"), ("yes", "no"), ("1", "0"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What the user says of the attributes with one identifier; None where the vendor's word counts."""

    component: Component | None = None
    unit: str | None = None
    device_class: str | None = None
    writable: bool | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The options that decide about attributes; `writable` is documented, all or none."""

    overrides: Mapping[str, Override] = field(default_factory=dict)
    writable: str = "documented"
    coordinates: Coordinates = Coordinates.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """All that a row is made of. `choices` are (option, vendor's value, label); `way` is READ, DEVICE or CLOUD."""

    key: str
    identifier: str
    name: str
    kind: Kind
    way: Way
    unit: str | None = None
    device_class: str | None = None
    choices: tuple[tuple[str, str, str], ...] = ()
    precision: int | None = None
    minimum: float = -MOST
    maximum: float = MOST
    step: float = 1
    coordinates: Coordinates = Coordinates.NONE


@dataclass(frozen=True, slots=True)
class Shape:
    """What the values of an attribute have looked like: the kind of the first, and whether one had a fraction."""

    kind: Kind | None = None
    fraction: bool = False

    def with_value(self, value: Any) -> Shape:
        """The shape after this value too; the same object if it tells nothing new."""
        kind = self.kind or kind_of_value(value)
        fraction = self.fraction or (isinstance(value, float) and not value.is_integer())
        return self if (kind, fraction) == (self.kind, self.fraction) else Shape(kind, fraction)


def spec_of(info: AttributeInfo, key: str, rules: Rules, shape: Shape) -> Spec | None:
    """What the row of an attribute is made of; None while nothing tells its kind."""
    identifier = info.identifier or ""
    over = rules.overrides.get(identifier, Override())
    kind = _kind(info, over, shape)
    if kind is None:
        return None
    options = info.model.data_options
    listed = _options(choices(options)) if kind is Kind.ENUM else ()
    kind = Kind.TEXT if kind is Kind.ENUM and not listed else kind
    unit = over.unit if over.unit is not None else unit_of(option(options, "unit"))
    device_class = class_of(unit, identifier, info.model.name) if over.device_class is None else over.device_class
    spec = Spec(
        key=key,
        identifier=identifier,
        name=over.name or info.model.name or identifier,
        kind=kind,
        way=_way(info, over, rules, kind),
        unit=unit or None,
        device_class=device_class or None,
        choices=listed,
        coordinates=rules.coordinates if kind is Kind.POINT else Coordinates.NONE,
    )
    return spec if kind is not Kind.NUMBER else _number(spec, options, fraction=shape.fraction)


def _kind(info: AttributeInfo, over: Override, shape: Shape) -> Kind | None:
    forced = (_SET_AS | _SHOWN_AS).get(over.component) if over.component else None
    told = forced or kind_of(info.model.data_type) or kind_of(info.data_type) or shape.kind
    return Kind.TEXT if told is Kind.SWITCH and over.component is Component.SENSOR else told


def _way(info: AttributeInfo, over: Override, rules: Rules, kind: Kind) -> Way:
    if kind in (Kind.JSON, Kind.POINT):
        return Way.READ
    told = way_of(info.model.attr_type)
    told = way_of(info.attr_type) if told is Way.UNKNOWN else told
    wanted = over.writable
    if wanted is None and over.component is not None:
        wanted = over.component in _SET_AS
    if wanted is None:
        wanted = {"none": False, "all": told is not Way.READ}.get(rules.writable, told in (Way.DEVICE, Way.CLOUD))
    return Way.READ if not wanted else Way.CLOUD if told is Way.CLOUD else Way.DEVICE


def _options(listed: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str, str], ...]:
    """Each value with the option that stands for it: itself, in lower case and without blanks, as far as that parts."""
    found: dict[str, tuple[str, str, str]] = {}
    for value, label in listed:
        name = "_".join(value.lower().split())
        while name in found or name == UNKNOWN:
            name += "_"
        found[name] = name, value, label
    return tuple(found.values())


def _number(spec: Spec, options: Row, *, fraction: bool) -> Spec:
    places = vendor_json.number(option(options, "precision", "decimal", "decimals"))
    precision = int(places) if places is not None and 0 <= places <= 9 else None
    low, high = (
        vendor_json.number(option(options, "min", "minimum")),
        vendor_json.number(option(options, "max", "maximum")),
    )
    low, high = -MOST if low is None else low, MOST if high is None else high
    step = vendor_json.number(option(options, "step"))
    if step is None or step <= 0:
        step = 10.0**-precision if precision is not None else LEAST_STEP if fraction else 1
    bounds = (low, high) if low < high else (-MOST, MOST)
    return replace(spec, precision=precision, minimum=bounds[0], maximum=bounds[1], step=max(step, LEAST_STEP))


# Values


def shown(spec: Spec, raw: Any) -> Value:
    """A value as the state has it."""
    if raw is None:
        return None
    match spec.kind:
        case Kind.NUMBER:
            return vendor_json.number(raw)
        case Kind.SWITCH:
            return on_off(vendor_json.truth(raw))
        case Kind.ENUM:
            return _chosen(spec, raw) or (UNKNOWN if spec.way is Way.READ else None)
        case Kind.POINT:
            return position(raw, spec.coordinates)
        case Kind.TEXT | Kind.JSON:
            words = said(raw)
            return words if len(words) <= MAX_STATE else words[: MAX_STATE - 1] + "…"


def attributes(spec: Spec, raw: Any) -> Mapping[str, Any] | None:
    """What a state cannot carry: an option's label or an unlisted value, a long text, the content of an object."""
    if raw is None:
        return None
    if spec.kind is Kind.ENUM:
        chosen = _chosen(spec, raw)
        label = next((label for name, value, label in spec.choices if name == chosen and label != value), None)
        return {"raw": raw} if chosen is None else {"label": label} if label else None
    if spec.kind is Kind.JSON:
        return {"value": raw}
    return {"text": said(raw)} if spec.kind is Kind.TEXT and len(said(raw)) > MAX_STATE else None


def said(raw: Any) -> str:
    """A value as text: itself, or as JSON."""
    return raw if isinstance(raw, str) else orjson.dumps(raw).decode()


def _chosen(spec: Spec, raw: Any) -> str | None:
    words = said(raw).strip()
    return next((name for name, value, _ in spec.choices if value == words), None)


def encoded(spec: Spec, old: Any, value: Any) -> Any:
    """A value as the vendor writes this one, `old` being what was read last: true, 1 or "ON"; 5 or "5"."""
    match spec.kind:
        case Kind.SWITCH:
            return _switched(old, on=bool(value))
        case Kind.NUMBER:
            number = int(value) if float(value).is_integer() else value
            return str(number) if isinstance(old, str) else number
        case Kind.ENUM:
            words = next(vendor for name, vendor, _ in spec.choices if name == value)
            numeric = (
                isinstance(old, int | float) and not isinstance(old, bool) and vendor_json.number(words) is not None
            )
            return vendor_json.number(words) if numeric else words
        case _:
            return value


def _switched(old: Any, *, on: bool) -> bool | int | str:
    if isinstance(old, str):
        for pair in _PAIRS:
            if old.strip().lower() in pair:
                words = pair[0] if on else pair[1]
                return words.upper() if old.strip().isupper() else words.title() if old.strip().istitle() else words
    return int(on) if isinstance(old, int | float) and not isinstance(old, bool) else on


# Rows


def row_of(spec: Spec) -> EntityDescription:
    """The row: read and written side by side."""
    name = Name(spec.name, spec.name)
    about: dict[str, Any] = {
        "key": spec.key,
        "name": name,
        "component": _COMPONENTS[spec.kind, spec.way is not Way.READ],
        "value": lambda record: shown(spec, record.values.get(spec.identifier)),
        "exists": lambda _: True,
        "write": partial(_write, spec) if spec.way is not Way.READ else None,
    }
    if spec.kind in (Kind.ENUM, Kind.JSON, Kind.TEXT):
        about["attributes"] = lambda record: attributes(spec, record.values.get(spec.identifier))
    if spec.kind is Kind.ENUM:
        options = tuple(name for name, _, _ in spec.choices)
        reading = {"device_class": "enum", "options": (*options, UNKNOWN)}
        about |= reading if spec.way is Way.READ else {"options": options}
    if spec.kind is Kind.NUMBER:
        about |= _number_row(spec)
    elif spec.kind is Kind.SWITCH:
        about["device_class"] = spec.device_class
    return EntityDescription(**about)


_COMPONENTS = {
    (Kind.NUMBER, False): Component.SENSOR,
    (Kind.NUMBER, True): Component.NUMBER,
    (Kind.SWITCH, False): Component.BINARY_SENSOR,
    (Kind.SWITCH, True): Component.SWITCH,
    (Kind.ENUM, False): Component.SENSOR,
    (Kind.ENUM, True): Component.SELECT,
    (Kind.TEXT, False): Component.SENSOR,
    (Kind.TEXT, True): Component.TEXT,
    (Kind.JSON, False): Component.SENSOR,
    (Kind.POINT, False): Component.DEVICE_TRACKER,
}


def _number_row(spec: Spec) -> dict[str, Any]:
    about: dict[str, Any] = {"unit": spec.unit, "device_class": spec.device_class}
    if spec.way is Way.READ:
        counts = "total_increasing" if spec.device_class == "energy" else "measurement"
        return about | {"state_class": counts, "precision": spec.precision}
    return about | {"minimum": spec.minimum, "maximum": spec.maximum, "step": spec.step}


async def _write(spec: Spec, system: Any, device: Device, value: Any) -> None:
    old = device.record.values.get(spec.identifier)
    await system.write_attribute(device, {spec.identifier: encoded(spec, old, value)}, cloud=spec.way is Way.CLOUD)
