"""Command values: parsing, validation, comparison with the state."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet2mqtt.contract import values
from fleet2mqtt.devices.model import Component, Device, EntityDescription, Name
from fleet2mqtt.errors import CommandError
from fleet2mqtt.sdk import vendor_json

NAME = Name("x", "x")
SWITCH = EntityDescription(key="x", name=NAME, component=Component.SWITCH)
NUMBER = EntityDescription(key="x", name=NAME, component=Component.NUMBER, minimum=0, maximum=10, step=0.5)
WHOLE = EntityDescription(key="x", name=NAME, component=Component.NUMBER)
SELECT = EntityDescription(key="x", name=NAME, component=Component.SELECT, options=("auto", "nsa"))
TEXT = EntityDescription(key="x", name=NAME, component=Component.TEXT, minimum=1, maximum=5, pattern=r"[a-z]+\d?")
FREE = EntityDescription(key="x", name=NAME, component=Component.TEXT)
BUTTON = EntityDescription(key="x", name=NAME, component=Component.BUTTON)
SECRET = EntityDescription(key="x", name=NAME, component=Component.TEXT, secret=True, value=lambda record: record)


def device(state: Any, record: Any = None) -> Device:
    return Device(
        id="d", backend="b", vendor_id="d", scope="s", name="d", entities=(), state={"x": state}, record=record
    )


@pytest.mark.parametrize(
    ("row", "given_", "wanted"),
    [
        (SWITCH, "ON", True),
        (SWITCH, "off", False),
        (SWITCH, True, True),
        (SWITCH, False, False),
        (NUMBER, 2.5, 2.5),
        (NUMBER, 10, 10),
        (NUMBER, 4.0, 4),
        (WHOLE, -7, -7),
        (SELECT, "NSA", "nsa"),
        (TEXT, "abc1", "abc1"),
        (FREE, "", ""),
        (FREE, "热点 ✓", "热点 ✓"),
        (BUTTON, "PRESS", None),
        (BUTTON, True, None),
    ],
)
def test_validate_returns_the_value_for_write(row: EntityDescription, given_: Any, wanted: Any) -> None:
    found = values.validate(row, given_)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("row", "given_"),
    [
        *((SWITCH, value) for value in ("", "1", 1, 0, None, "TRUE", ["ON"])),
        *((NUMBER, value) for value in (-0.5, 10.5, 0.3, True, "5", None, float("nan"), float("inf"), 10**400, [5])),
        *((WHOLE, value) for value in (0.5, "x")),
        *((SELECT, value) for value in ("sa", "", None, 0, ["auto"])),
        *((TEXT, value) for value in ("", "toolong", "A", "a1b", "a\n", 5, None)),
        *((FREE, value) for value in ("a\x00b", "line\nbreak", "x" * 256)),
        *((BUTTON, value) for value in ("", "press", None, False)),
    ],
)
def test_validate_of_an_invalid_value_raises(row: EntityDescription, given_: Any) -> None:
    with pytest.raises(CommandError) as caught:
        values.validate(row, given_)
    assert caught.value.code == "invalid_value"


@pytest.mark.parametrize(
    ("row", "payload", "wanted"),
    [
        (NUMBER, b"2.5", 2.5),
        (NUMBER, b" 3 ", 3),
        (NUMBER, b"three", "three"),
        (NUMBER, b"[" * 100_000, "[" * 100_000),
        (TEXT, b"5", "5"),
        (SWITCH, b"ON", "ON"),
    ],
)
def test_parse_plain_depends_on_the_component(row: EntityDescription, payload: bytes, wanted: Any) -> None:
    assert values.parse_plain(row, payload) == wanted


def test_parse_plain_of_bytes_that_are_not_utf8_raises() -> None:
    with pytest.raises(CommandError, match="UTF-8"):
        values.parse_plain(TEXT, b"\xff")


@given(st.one_of(st.none(), st.booleans(), st.floats(), st.text(), st.lists(st.integers())))
def test_validate_of_any_value_returns_or_raises(value: Any) -> None:
    for row in (SWITCH, NUMBER, WHOLE, SELECT, TEXT, FREE, BUTTON):
        try:
            found = values.validate(row, value)
        except CommandError:
            continue
        assert values.state_value(row, found) == (values.PRESS if row is BUTTON else values.state_value(row, found))
        assert values.observed(row, device(values.state_value(row, found)), found)[0]


@pytest.mark.parametrize(
    ("row", "value", "state", "matches"),
    [
        (SWITCH, True, "ON", True),
        (SWITCH, True, "OFF", False),
        (SWITCH, False, None, False),
        (NUMBER, 2.5, 2.5000000001, True),
        (NUMBER, 3, 3.0, True),
        (NUMBER, 3, "3", False),
        (NUMBER, 3, None, False),
        (SELECT, "nsa", "nsa", True),
        (FREE, "a", "b", False),
        (BUTTON, None, None, True),
    ],
)
def test_observed_compares_state_and_value(row: EntityDescription, value: Any, state: Any, *, matches: bool) -> None:
    assert values.observed(row, device(state), value)[0] is matches


def test_observed_of_a_secret_compares_digests_and_hides_it() -> None:
    sealed = device(None, record=vendor_json.secret_digest("sesame"))
    assert values.observed(SECRET, sealed, "sesame") == (True, None)
    assert values.observed(SECRET, sealed, "Sesame") == (False, None)
