"""Entity descriptions of attributes. The user's override decides, then the attribute's definition, then its value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import orjson

from fleet2mqtt.devices.model import Component, Device, EntityDescription, Name, Value, on_off
from fleet2mqtt.platforms.thingscloud.attribute_types import (
    AttributeType,
    WriteMode,
    first_option,
    infer_type,
    parse_choices,
    parse_type,
    parse_write_mode,
)
from fleet2mqtt.platforms.thingscloud.device_classes import guess_device_class, guess_state_class, parse_unit
from fleet2mqtt.platforms.thingscloud.geo import Coordinates, position
from fleet2mqtt.platforms.thingscloud.models import AttributeInfo, DeviceRecord, DeviceWriter, JsonObject
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.limits import MAX_ATTRIBUTES, MAX_STATE, TEXT

ATTRIBUTES_SOURCE = "attributes"
UNKNOWN = "unknown"
MAX_NUMBER = 2**53 - 1
"""The bound of a number without one: Home Assistant's default is 100, and a time in ms is beyond 10**9."""
MIN_STEP = 0.001

_WRITABLE_COMPONENTS = {
    Component.NUMBER: AttributeType.NUMBER,
    Component.SWITCH: AttributeType.SWITCH,
    Component.SELECT: AttributeType.ENUM,
    Component.TEXT: AttributeType.TEXT,
}
_READ_ONLY_COMPONENTS = {
    Component.BINARY_SENSOR: AttributeType.SWITCH,
    Component.DEVICE_TRACKER: AttributeType.POINT,
}
_SWITCH_SPELLINGS = (("true", "false"), ("on", "off"), ("yes", "no"), ("1", "0"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeOverride:
    """The user's settings for the attributes with one identifier; None where the definition decides."""

    component: Component | None = None
    unit: str | None = None
    device_class: str | None = None
    state_class: str | None = None
    writable: bool | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeOptions:
    """The options about attributes; `writable` is documented, all or none."""

    overrides: Mapping[str, AttributeOverride] = field(default_factory=dict)
    writable: str = "documented"
    coordinates: Coordinates = Coordinates.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeSpec:
    """The basis of an attribute's entity description.

    `choices` are (option, vendor's value, label); `mode` is READ, DEVICE or CLOUD.
    """

    key: str
    identifier: str
    name: str
    type: AttributeType
    mode: WriteMode
    unit: str | None = None
    device_class: str | None = None
    state_class: str | None = None
    choices: tuple[tuple[str, str, str], ...] = ()
    precision: int | None = None
    minimum: float = -MAX_NUMBER
    maximum: float = MAX_NUMBER
    step: float = 1
    coordinates: Coordinates = Coordinates.NONE


@dataclass(frozen=True, slots=True)
class ValueShape:
    """Common type of an attribute's values so far: the type of the first, and whether any had a fraction."""

    type: AttributeType | None = None
    fraction: bool = False

    @classmethod
    def load(cls, text: str | None) -> dict[str, ValueShape]:
        """Return the shapes by identifier that `dump` made the text of."""
        content: dict[str, Any] = orjson.loads(text) if text else {}
        return {name: cls(AttributeType(type_), fraction) for name, (type_, fraction) in content.items()}

    @staticmethod
    def dump(shapes: Mapping[str, ValueShape]) -> str:
        """Return the text to save shapes by identifier; "" for none."""
        content = {name: (shape.type, shape.fraction) for name, shape in sorted(shapes.items()) if shape.type}
        return orjson.dumps(content).decode() if content else ""

    def with_value(self, value: Any) -> ValueShape:
        """Return the shape with one more value; the same object if nothing changes."""
        type_ = self.type or infer_type(value)
        fraction = self.fraction or (isinstance(value, float) and not value.is_integer())
        return self if (type_, fraction) == (self.type, self.fraction) else ValueShape(type_, fraction)


def has_type(info: AttributeInfo) -> bool:
    """Return whether an attribute's definition has its type."""
    return (parse_type(info.model.data_type) or parse_type(info.data_type)) is not None


def build_spec(info: AttributeInfo, key: str, options: AttributeOptions, shape: ValueShape) -> AttributeSpec | None:
    """Build the basis of an attribute's entity description; None while its type is not known."""
    identifier = info.identifier or ""
    override = options.overrides.get(identifier, AttributeOverride())
    type_ = _type(info, override, shape)
    if type_ is None:
        return None
    data_options = info.model.data_options
    choices = _name_choices(parse_choices(data_options)) if type_ is AttributeType.ENUM else ()
    type_ = AttributeType.TEXT if type_ is AttributeType.ENUM and not choices else type_
    names = identifier, info.model.name
    unit = override.unit if override.unit is not None else parse_unit(first_option(data_options, "unit"), *names)
    device_class, state_class = override.device_class, override.state_class
    if device_class is None and type_ is AttributeType.NUMBER:
        device_class = guess_device_class(unit or None, *names)
    if state_class is None:
        state_class = guess_state_class(device_class, *names)
    spec = AttributeSpec(
        key=key,
        identifier=identifier,
        name=override.name or info.model.name or identifier,
        type=type_,
        mode=_mode(info, override, options, type_),
        unit=unit or None,
        device_class=device_class or None,
        state_class=state_class or None,
        choices=choices,
        coordinates=options.coordinates if type_ is AttributeType.POINT else Coordinates.NONE,
    )
    return spec if type_ is not AttributeType.NUMBER else _with_bounds(spec, data_options, fraction=shape.fraction)


def _type(info: AttributeInfo, override: AttributeOverride, shape: ValueShape) -> AttributeType | None:
    forced = (_WRITABLE_COMPONENTS | _READ_ONLY_COMPONENTS).get(override.component) if override.component else None
    type_ = forced or parse_type(info.model.data_type) or parse_type(info.data_type) or shape.type
    return AttributeType.TEXT if type_ is AttributeType.SWITCH and override.component is Component.SENSOR else type_


def _mode(
    info: AttributeInfo, override: AttributeOverride, options: AttributeOptions, type_: AttributeType
) -> WriteMode:
    if type_ in (AttributeType.JSON, AttributeType.POINT):
        return WriteMode.READ
    documented = parse_write_mode(info.model.attr_type)
    documented = parse_write_mode(info.attr_type) if documented is WriteMode.UNKNOWN else documented
    writable = override.writable
    if writable is None and override.component is not None:
        writable = override.component in _WRITABLE_COMPONENTS
    if writable is None:
        by_option = {"none": False, "all": documented is not WriteMode.READ}
        writable = by_option.get(options.writable, documented in (WriteMode.DEVICE, WriteMode.CLOUD))
    if not writable:
        return WriteMode.READ
    return WriteMode.CLOUD if documented is WriteMode.CLOUD else WriteMode.DEVICE


def _name_choices(choices: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str, str], ...]:
    """Return each value with its option: the value in lower case without blanks, made unique."""
    named: dict[str, tuple[str, str, str]] = {}
    for value, label in choices:
        name = "_".join(value.lower().split())
        while name in named or name == UNKNOWN:
            name += "_"
        named[name] = name, value, label
    return tuple(named.values())


def _with_bounds(spec: AttributeSpec, options: JsonObject, *, fraction: bool) -> AttributeSpec:
    places = vendor_json.number(first_option(options, "precision", "decimal", "decimals"))
    precision = int(places) if places is not None and 0 <= places <= 9 else None
    minimum = vendor_json.number(first_option(options, "min", "minimum"))
    maximum = vendor_json.number(first_option(options, "max", "maximum"))
    low = -MAX_NUMBER if minimum is None else minimum
    high = MAX_NUMBER if maximum is None else maximum
    step = vendor_json.number(first_option(options, "step"))
    if step is None or step <= 0:
        step = 10.0**-precision if precision is not None else MIN_STEP if fraction else 1
    bounds = (low, high) if low < high else (-MAX_NUMBER, MAX_NUMBER)
    return replace(spec, precision=precision, minimum=bounds[0], maximum=bounds[1], step=max(step, MIN_STEP))


# Values


def to_state(spec: AttributeSpec, raw: Any) -> Value:
    """Return a vendor's value as the state carries it."""
    if raw is None:
        return None
    match spec.type:
        case AttributeType.NUMBER:
            return _number(spec, raw)
        case AttributeType.SWITCH:
            return on_off(vendor_json.boolean(raw))
        case AttributeType.ENUM:
            return _option(spec, raw) or (UNKNOWN if spec.mode is WriteMode.READ else None)
        case AttributeType.POINT:
            return position(raw, spec.coordinates)
        case AttributeType.TEXT | AttributeType.JSON:
            return to_text(raw) if spec.type is AttributeType.TEXT else shorten(to_text(raw))


def to_attributes(spec: AttributeSpec, raw: Any) -> Mapping[str, Any] | None:
    """Return what a state cannot carry: an option's label, an unlisted value, the content of an object."""
    if raw is None:
        return None
    if spec.type is AttributeType.NUMBER:
        return {"raw": raw} if spec.mode is not WriteMode.READ and _number(spec, raw) is None else None
    if spec.type is AttributeType.ENUM:
        option = _option(spec, raw)
        label = next((label for name, value, label in spec.choices if name == option and label != value), None)
        return {"raw": raw} if option is None else {"label": label} if label else None
    return whole_value(raw) if spec.type is AttributeType.JSON else None


def to_text(raw: Any) -> str:
    """Return a value as text: a text as it is, anything else as JSON."""
    return raw if isinstance(raw, str) else orjson.dumps(raw).decode()


def shorten(text: str) -> str:
    """Return a text that a state can carry."""
    return text if len(text) <= MAX_STATE else text[: MAX_STATE - 1] + "…"


def whole_value(raw: Any) -> Mapping[str, Any]:
    """Return the attributes with an object or list; as a text, which can be cut, if it is too large to be recorded."""
    text = to_text(raw)
    return {"value": raw} if len(text.encode()) < MAX_ATTRIBUTES - len('{"value":}') else {TEXT: text}


def _number(spec: AttributeSpec, raw: Any) -> int | float | None:
    """Return a number; None outside the range of a number entity, which is an error for Home Assistant."""
    number = vendor_json.number(raw)
    if number is None or spec.mode is WriteMode.READ or spec.minimum <= number <= spec.maximum:
        return number
    return None


def _option(spec: AttributeSpec, raw: Any) -> str | None:
    text = to_text(raw).strip()
    return next((name for name, value, _ in spec.choices if value == text), None)


def encode_value(spec: AttributeSpec, previous: Any, value: Any) -> Any:
    """Return a value in the vendor's spelling, that of the `previous` value: true, 1 or "ON"; 5 or "5"."""
    match spec.type:
        case AttributeType.SWITCH:
            return _encode_switch(previous, on=bool(value))
        case AttributeType.NUMBER:
            number = int(value) if float(value).is_integer() else value
            return str(number) if isinstance(previous, str) else number
        case AttributeType.ENUM:
            text = next(vendor_value for name, vendor_value, _ in spec.choices if name == value)
            is_number = isinstance(previous, int | float) and not isinstance(previous, bool)
            number = vendor_json.number(text) if is_number else None
            return text if number is None else number
        case _:
            return value


def _encode_switch(previous: Any, *, on: bool) -> bool | int | str:
    if isinstance(previous, str):
        for spellings in _SWITCH_SPELLINGS:
            if previous.strip().lower() in spellings:
                text = spellings[0] if on else spellings[1]
                if previous.strip().isupper():
                    return text.upper()
                return text.title() if previous.strip().istitle() else text
    return int(on) if isinstance(previous, int | float) and not isinstance(previous, bool) else on


# Entity descriptions


def build_entity(spec: AttributeSpec) -> EntityDescription[DeviceRecord, DeviceWriter]:
    """Build the entity description of an attribute."""
    fields: dict[str, Any] = {
        "key": spec.key,
        "name": Name(spec.name, spec.name),
        "component": _COMPONENTS[spec.type, spec.mode is not WriteMode.READ],
        "value": lambda record: to_state(spec, record.values.get(spec.identifier)),
        "exists": lambda _: True,
        "source": ATTRIBUTES_SOURCE,
        "enabled": spec.type is not AttributeType.JSON,
        "write": partial(_write, spec) if spec.mode is not WriteMode.READ else None,
    }
    has_attributes = spec.type in (AttributeType.ENUM, AttributeType.JSON)
    if has_attributes or (spec.type is AttributeType.NUMBER and spec.mode is not WriteMode.READ):
        fields["attributes"] = lambda record: to_attributes(spec, record.values.get(spec.identifier))
    if spec.type is AttributeType.ENUM:
        options = tuple(name for name, _, _ in spec.choices)
        sensor = {"device_class": "enum", "options": (*options, UNKNOWN)}
        fields |= sensor if spec.mode is WriteMode.READ else {"options": options}
    if spec.type is AttributeType.NUMBER:
        fields |= _number_fields(spec)
    elif spec.type is AttributeType.SWITCH:
        fields["device_class"] = spec.device_class
    return EntityDescription(**fields)


_COMPONENTS = {
    (AttributeType.NUMBER, False): Component.SENSOR,
    (AttributeType.NUMBER, True): Component.NUMBER,
    (AttributeType.SWITCH, False): Component.BINARY_SENSOR,
    (AttributeType.SWITCH, True): Component.SWITCH,
    (AttributeType.ENUM, False): Component.SENSOR,
    (AttributeType.ENUM, True): Component.SELECT,
    (AttributeType.TEXT, False): Component.SENSOR,
    (AttributeType.TEXT, True): Component.TEXT,
    (AttributeType.JSON, False): Component.SENSOR,
    (AttributeType.POINT, False): Component.DEVICE_TRACKER,
}


def _number_fields(spec: AttributeSpec) -> dict[str, Any]:
    fields: dict[str, Any] = {"unit": spec.unit, "device_class": spec.device_class}
    if spec.mode is WriteMode.READ:
        return fields | {"state_class": spec.state_class, "precision": spec.precision}
    return fields | {"minimum": spec.minimum, "maximum": spec.maximum, "step": spec.step}


async def _write(spec: AttributeSpec, writer: DeviceWriter, device: Device, value: Any) -> None:
    previous = device.record.values.get(spec.identifier)
    values = {spec.identifier: encode_value(spec, previous, value)}
    await writer.write_attributes(device, values, cloud=spec.mode is WriteMode.CLOUD)
