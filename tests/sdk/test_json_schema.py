"""JSON Schemas that say what the arguments' validators accept."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
import voluptuous as vol

from fleet2mqtt.sdk.json_schema import Described, json_schema
from fleet2mqtt.sdk.validators import identifier, whole


def _date(value: str) -> str:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        raise vol.Invalid("expected a date")
    return value


SCHEMA = {
    vol.Required("ids"): vol.All([vol.All(identifier, vol.Length(min=1))], vol.Length(min=1, max=2)),
    vol.Optional("on"): Described(_date, type="string", pattern=r"^\d{4}-\d\d-\d\d$"),
    vol.Optional("slots"): [{vol.Required("index"): whole}],
    vol.Optional("place"): vol.All({vol.Optional("x"): whole, vol.Optional("y"): whole}, vol.Length(min=1)),
}


@pytest.mark.parametrize(
    ("arguments", "accepted"),
    [
        ({"ids": ["a"]}, True),
        ({"ids": ["a", 7]}, True),
        ({"ids": ["a", -7]}, False),
        ({"ids": []}, False),
        ({"ids": ["a", "b", "c"]}, False),
        ({"ids": ["a"], "on": "2024-03-07"}, True),
        ({"ids": ["a"], "on": "yesterday"}, False),
        ({"ids": ["a"], "slots": [{"index": 1}]}, True),
        ({"ids": ["a"], "slots": [{"index": 1, "colour": "red"}]}, False),
        ({"ids": ["a"], "slots": [{"index": "1"}]}, False),
        ({"ids": ["a"], "place": {"y": 1}}, True),
        ({"ids": ["a"], "place": {}}, False),
        ({"ids": [-7]}, False),
        ({"ids": ["a"], "colour": "red"}, False),
        ({}, False),
    ],
)
def test_json_schema_accepts_what_the_validators_accept(arguments: dict[str, Any], accepted: bool) -> None:
    """Faults 4.9."""
    assert jsonschema.Draft202012Validator(json_schema(SCHEMA)).is_valid(arguments) is accepted
    try:
        vol.Schema(SCHEMA)(arguments)
    except vol.Invalid:
        assert not accepted
    else:
        assert accepted


def test_property_may_have_the_name_of_a_keyword() -> None:
    converted = json_schema({vol.Optional("properties"): str, vol.Optional("type"): str})
    assert converted["properties"].keys() == {"properties", "type"}
