"""Published JSON Schemas of all actions, held against the validators that a request meets."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import voluptuous as vol

from fleet2mqtt.sdk.api import platforms
from fleet2mqtt.sdk.json_schema import json_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleet2mqtt.sdk.api import ActionDescription

PROBES: tuple[Any, ...] = (
    None,
    True,
    "",
    "abc",
    "12",
    "10.0.0.5",
    "2024-03-07",
    "2024-03-07 10:00:00",
    "000EA93D022E",
    "00:0e:a9:3d:02:2e, 000EA9610BCC",
    123456789012,
    "yesterday",
    "/default",
    0,
    1,
    -1,
    1.5,
    10**9,
    [],
    ["a"],
    [1],
    [""],
    [{}],
    [["a"]],
    {},
    {"a": "b"},
    {"a": 1},
    {"unknown_member": []},
)
"""Values of every kind for every argument."""

JSON_TEXTS = ("latticeInfo",)
"""Arguments that are JSON in a text, the form of which JSON Schema cannot describe."""


def tables() -> Iterator[tuple[str, ActionDescription]]:
    for name, load in sorted(platforms().items()):
        for action in load().ACTIONS:  # type: ignore[attr-defined]
            yield name, action


def accepts(schema: vol.Schema, arguments: dict[str, Any]) -> bool:
    try:
        schema(arguments)
    except vol.Invalid:
        return False
    return True


def valid_base(schema: vol.Schema, action: ActionDescription) -> dict[str, Any]:
    """Return arguments that the action takes: its required ones, by trial."""
    required = [str(marker) for marker in action.schema if isinstance(marker, vol.Required)]
    candidates: list[list[Any]] = []
    for name in required:
        single = vol.Schema({marker: check for marker, check in action.schema.items() if str(marker) == name})
        fitting = [value for value in PROBES if accepts(single, {name: value})]
        candidates.append(fitting[:3])
    for values in itertools.islice(itertools.product(*candidates), 200):
        base = dict(zip(required, values, strict=True))
        if accepts(schema, base):
            return base
    return {}


@pytest.mark.parametrize(
    ("platform", "action"), [pytest.param(*each, id=f"{each[0]}-{each[1].name}") for each in tables()]
)
def test_published_schema_accepts_and_refuses_what_the_action_does(platform: str, action: ActionDescription) -> None:
    """Every probe for every argument, and an argument that the action does not know."""
    schema = vol.Schema(dict(action.schema))
    published = jsonschema.Draft202012Validator(json_schema(dict(action.schema)))
    base = valid_base(schema, action)
    tried = [base, {**base, "unknown_argument": 1}, *({**base, str(m): v} for m in action.schema for v in PROBES)]
    tried += [{key: value for key, value in base.items() if key != left_out} for left_out in base]
    differing = [
        each
        for each in tried
        if accepts(schema, each) is not published.is_valid(each)
        if not any(isinstance(each.get(name), str) for name in JSON_TEXTS)
    ]
    assert differing == [], f"{platform} {action.name}"
