"""Schemas: the published JSON Schema of each action agrees with what the action accepts and refuses."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import voluptuous as vol

from fleet2mqtt.platforms.smart_gateway.actions import ACTIONS
from fleet2mqtt.sdk.json_schema import json_schema

SN = "172DE6AC9832DE"
RULE: dict[str, Any] = {"name": "SSH", "ip": "192.168.16.60", "port": "22,2200-2299", "protocol": 2}
EDIT = {"uuid": "6f1c2f0a"}
ASSIGN = {"rule": "6f1c2f0a", "sn": SN, "ip": "192.168.4.5"}

ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("device_register", {"sn": 172, "alias": "branch 7"}),
    ("device_delete", {"sn": SN}),
    ("device_list", {}),
    ("device_list", {"page": 0, "limit": 1000, "filtration": 3, "condition": "V1"}),
    ("device_query", {"sns": [SN, 5], "chart": True}),
    ("device_chart", {"sn": SN, "channel": [0, "8"]}),
    ("device_set", {"sn": SN, "base": {"alias": "a", "mapping": [{"uuid": "1", "name": "", "ip": "10.0.0.1"}]}}),
    ("device_set", {"sn": SN, "network": {"lan": {"ip": "10.0.0.1"}, "hotspot": {"enable": True, "chain": 6}}}),
    ("device_set", {"sn": SN, "channel": {"0": {"enable": 1, "net": "SA", "initFlow": 1.5}}, "parameters": {"top": 0}}),
    ("mapping_list", {}),
    ("mapping_add", RULE),
    ("mapping_add", RULE | {"port": 22, "mark": "x"}),
    ("mapping_add", RULE | {"port": "1935, 22000 - 22010,65535"}),
    ("mapping_edit", EDIT),
    ("mapping_edit", EDIT | RULE | {"sn": "", "devName": "", "devType": ""}),
    ("mapping_delete", {"rules": ["a", 5]}),
    ("mapping_assign", ASSIGN),
    ("mapping_reassign", ASSIGN),
    ("mapping_unassign", {"sn": SN, "rules": ["a"]}),
]
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("device_register", {"sn": "", "alias": "a"}),
    ("device_register", {"sn": -1, "alias": "a"}),
    ("device_register", {"sn": "A"}),
    ("device_register", {"sn": "A", "alias": ""}),
    ("device_delete", {"sn": [SN]}),
    ("device_list", {"limit": 0}),
    ("device_list", {"filtration": 4}),
    ("device_list", {"page": True}),
    ("device_list", {"sort": 1}),
    ("device_query", {"sns": []}),
    ("device_query", {"sns": SN}),
    ("device_query", {"sns": [SN], "chart": 1}),
    ("device_chart", {"sn": SN, "channel": "0"}),
    ("device_set", {"sn": SN, "base": {}}),
    ("device_set", {"sn": SN, "base": {"state": "running"}}),
    ("device_set", {"sn": SN, "base": {"mapping": [{"uuid": "1", "ip": "10.0.0.1"}]}}),
    ("device_set", {"sn": SN, "network": {"lan": {}}}),
    ("device_set", {"sn": SN, "network": {"lan": {"ip": "192.168.4"}}}),
    ("device_set", {"sn": SN, "channel": {}}),
    ("device_set", {"sn": SN, "channel": {"0": {}}}),
    ("device_set", {"sn": SN, "channel": {"0": {"signal": 1}}}),
    ("device_set", {"sn": SN, "channel": {"0": {"initFlow": -1}}}),
    ("device_set", {"sn": SN, "parameters": {"top": 2}}),
    ("mapping_list", {"page": 1}),
    ("mapping_add", RULE | {"port": "abc"}),
    ("mapping_add", RULE | {"port": "22;23"}),
    ("mapping_add", RULE | {"port": "0"}),
    ("mapping_add", RULE | {"port": "65536"}),
    ("mapping_add", RULE | {"port": 0}),
    ("mapping_add", RULE | {"port": ""}),
    ("mapping_add", RULE | {"port": True}),
    ("mapping_add", RULE | {"protocol": 3}),
    ("mapping_add", RULE | {"colour": "red"}),
    ("mapping_add", {"name": "SSH"}),
    ("mapping_edit", {"name": "SSH"}),
    ("mapping_edit", EDIT | {"port": "x"}),
    ("mapping_delete", {"rules": []}),
    ("mapping_delete", {}),
    ("mapping_assign", ASSIGN | {"ip": "router"}),
    ("mapping_assign", ASSIGN | {"address": "10.0.0.1"}),
    ("mapping_reassign", {"rule": "a", "sn": SN}),
    ("mapping_unassign", {"rules": ["a"]}),
]


def _cases(cases: list[tuple[str, dict[str, Any]]], *, accepted: bool) -> list[Any]:
    return [pytest.param(*case, accepted, id=f"{case[0]}-{number}") for number, case in enumerate(cases)]


@pytest.mark.parametrize(
    ("name", "arguments", "accepted"), [*_cases(ACCEPTED, accepted=True), *_cases(REFUSED, accepted=False)]
)
def test_published_schema_agrees_with_the_action(name: str, arguments: dict[str, Any], accepted: bool) -> None:
    """Faults 4.9."""
    schema = next(action.schema for action in ACTIONS if action.name == name)
    assert jsonschema.Draft202012Validator(json_schema(schema)).is_valid(arguments) is accepted
    try:
        vol.Schema(dict(schema))(arguments)
    except vol.Invalid:
        assert not accepted
    else:
        assert accepted


def test_schema_of_every_action_is_tried() -> None:
    names = {action.name for action in ACTIONS}
    assert {name for name, _ in ACCEPTED} == {name for name, _ in REFUSED} == names
