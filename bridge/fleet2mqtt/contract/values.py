"""Command values: what came on MQTT → what a row's `write` takes, and what the state will show once it is done."""

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
"""Larger numbers, which no vendor has, would overflow on their way; what is not finite is no less either."""
PRESS = "PRESS"


def plain(row: EntityDescription, payload: bytes) -> Any:
    """The value in the payload of `set/<key>`, as Home Assistant sends it. Raises CommandError."""
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CommandError("invalid_value", "the payload is not UTF-8") from error
    if row.component is not Component.NUMBER:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # whatever it is, it is no number
        return text


def validate(row: EntityDescription, value: Any) -> Any:
    """What `write` takes: bool, number, option, text, or None for a press. Raises CommandError."""
    try:
        return _SCHEMAS[row.component](row)(value)
    except vol.Invalid as error:
        raise CommandError("invalid_value", f"{row.key}: {error.msg}") from error


def shown(row: EntityDescription, value: Any) -> Value:
    """A validated value as the state shows it."""
    if row.component is Component.BUTTON:
        return PRESS
    return on_off(value) if row.component is Component.SWITCH else value


def observed(row: EntityDescription, device: Device, value: Any) -> tuple[bool, Value]:
    """Whether the device now has the validated value, and what its state shows."""
    if row.component is Component.BUTTON:
        return True, None
    if row.secret:
        return row.value is not None and row.value(device.record) == vendor_json.secret_digest(value), None
    state = device.state.get(row.key)
    wanted = shown(row, value)
    if isinstance(state, int | float) and isinstance(wanted, int | float):
        return math.isclose(state, wanted, rel_tol=1e-9, abs_tol=1e-9), state
    return state == wanted, state


def _switch(_: EntityDescription) -> vol.Schema:
    def truth(value: Any) -> bool:
        word = value.upper() if isinstance(value, str) else value
        if word is True or word == "ON":
            return True
        if word is False or word == "OFF":
            return False
        message = 'expected "ON" or "OFF"'
        raise vol.Invalid(message)

    return vol.Schema(truth)


def _number(row: EntityDescription) -> vol.Schema:
    low, high = row.minimum, row.maximum

    def within(value: Any) -> int | float:
        number = None if isinstance(value, bool) else value
        if not isinstance(number, int | float) or not abs(number) < _LARGEST:
            message = "expected a number"
            raise vol.Invalid(message)
        if (low is not None and number < low) or (high is not None and number > high):
            message = f"expected a number from {low} to {high}"
            raise vol.Invalid(message)
        step = row.step or 1
        steps = (number - (low or 0)) / step
        if not math.isclose(steps, round(steps), abs_tol=1e-6):
            message = f"expected a multiple of {step}"
            raise vol.Invalid(message)
        return int(number) if float(number).is_integer() else number

    return vol.Schema(within)


def _select(row: EntityDescription) -> vol.Schema:
    def option(value: Any) -> str:
        if not isinstance(value, str) or value.lower() not in row.options:
            message = f"expected one of {', '.join(row.options)}"
            raise vol.Invalid(message)
        return value.lower()

    return vol.Schema(option)


def _text(row: EntityDescription) -> vol.Schema:
    low, high = int(row.minimum or 0), int(row.maximum or MAX_TEXT)

    def text(value: Any) -> str:
        if not isinstance(value, str) or not low <= len(value) <= high:
            message = f"expected a text of {low} to {high} characters"
            raise vol.Invalid(message)
        if any(not character.isprintable() for character in value):
            message = "expected printable characters only"
            raise vol.Invalid(message)
        if row.pattern is not None and re.fullmatch(row.pattern, value) is None:
            message = f"expected a text that matches {row.pattern}"
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
