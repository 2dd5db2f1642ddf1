"""Command values: parsing and validation of what is written to an entity, and its comparison with the state."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import voluptuous as vol

from fleet2mqtt.devices.model import Component, Device, EntityDescription, Value, on_off
from fleet2mqtt.errors import CommandError
from fleet2mqtt.sdk import vendor_json

WRITABLE = frozenset((Component.BUTTON, Component.NUMBER, Component.SELECT, Component.SWITCH, Component.TEXT))

MAX_TEXT = 255
_LARGEST = 1e200
"""Larger numbers, which no vendor has, would overflow; infinity and NaN are not below it either."""
PRESS = "PRESS"


def parse_plain(entity: EntityDescription, payload: bytes) -> Any:
    """Return the value in the payload of `set/<key>`, as Home Assistant sends it. Raises CommandError."""
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CommandError("invalid_value", "the payload is not UTF-8") from error
    if entity.component is not Component.NUMBER:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # not a number: `validate` refuses it
        return text


def validate(entity: EntityDescription, value: Any) -> Any:
    """Return the value for `write`: bool, number, option, text, or None for a press. Raises CommandError."""
    try:
        return _SCHEMAS[entity.component](entity)(value)
    except vol.Invalid as error:
        raise CommandError("invalid_value", f"{entity.key}: {error.msg}") from error


def state_value(entity: EntityDescription, value: Any) -> Value:
    """Return a validated value as the state contains it."""
    if entity.component is Component.BUTTON:
        return PRESS
    return on_off(value) if entity.component is Component.SWITCH else value


def observed(entity: EntityDescription, device: Device, value: Any) -> tuple[bool, Value]:
    """Return whether the device has the validated value, and the value in its state."""
    if entity.component is Component.BUTTON:
        return True, None
    if entity.secret:
        return entity.value is not None and entity.value(device.record) == vendor_json.secret_digest(value), None
    state = device.state.get(entity.key)
    expected = state_value(entity, value)
    if isinstance(state, int | float) and isinstance(expected, int | float):
        return math.isclose(state, expected, rel_tol=1e-9, abs_tol=1e-9), state
    return state == expected, state


def _switch(_: EntityDescription) -> vol.Schema:
    def boolean(value: Any) -> bool:
        text = value.upper() if isinstance(value, str) else value
        if text is True or text == "ON":
            return True
        if text is False or text == "OFF":
            return False
        message = 'expected "ON" or "OFF"'
        raise vol.Invalid(message)

    return vol.Schema(boolean)


def _number(entity: EntityDescription) -> vol.Schema:
    low, high = entity.minimum, entity.maximum

    def within(value: Any) -> int | float:
        number = None if isinstance(value, bool) else value
        if not isinstance(number, int | float) or not abs(number) < _LARGEST:
            message = "expected a number"
            raise vol.Invalid(message)
        if (low is not None and number < low) or (high is not None and number > high):
            message = f"expected a number from {low} to {high}"
            raise vol.Invalid(message)
        step = entity.step or 1
        steps = (number - (low or 0)) / step
        if not math.isclose(steps, round(steps), abs_tol=1e-6):
            message = f"expected a multiple of {step}"
            raise vol.Invalid(message)
        return int(number) if float(number).is_integer() else number

    return vol.Schema(within)


def _select(entity: EntityDescription) -> vol.Schema:
    options = {option.casefold(): option for option in entity.options}

    def option(value: Any) -> str:
        if not isinstance(value, str) or value.casefold() not in options:
            message = f"expected one of {', '.join(entity.options)}"
            raise vol.Invalid(message)
        return options[value.casefold()]

    return vol.Schema(option)


def _text(entity: EntityDescription) -> vol.Schema:
    low, high = int(entity.minimum or 0), int(entity.maximum or MAX_TEXT)

    def text(value: Any) -> str:
        if not isinstance(value, str) or not low <= len(value) <= high:
            message = f"expected a text of {low} to {high} characters"
            raise vol.Invalid(message)
        if any(not character.isprintable() for character in value):
            message = "expected printable characters only"
            raise vol.Invalid(message)
        if entity.pattern is not None and re.fullmatch(entity.pattern, value) is None:
            message = f"expected a text that matches {entity.pattern}"
            raise vol.Invalid(message)
        return value

    return vol.Schema(text)


def _button(_: EntityDescription) -> vol.Schema:
    def press(value: Any) -> None:
        if value not in (PRESS, True):
            message = f"expected {PRESS}"
            raise vol.Invalid(message)

    return vol.Schema(press)


_SCHEMAS = {
    Component.SWITCH: _switch,
    Component.NUMBER: _number,
    Component.SELECT: _select,
    Component.TEXT: _text,
    Component.BUTTON: _button,
}
