"""The forms of the actions on alarms, which are written by hand, fit the bridge's requests of the same names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FORMS: dict[str, Any] = yaml.safe_load((ROOT / "custom_components/fleet2mqtt/services.yaml").read_text("utf-8"))
REQUESTS: dict[str, Any] = json.loads((ROOT / "docs/contract/bridge_requests.json").read_text("utf-8"))
NAMES = [name for name in REQUESTS if name.startswith(("alarm_", "maintenance_"))]
TYPES: dict[str, dict[str, str]] = {
    "text": {"type": "string"},
    "datetime": {"type": "string", "format": "date-time"},
    "object": {"type": "object"},
}
INTO = {
    "alarm_shelve": {"duration": "until"},
    "maintenance_add": {"device_id": "selector", "backend": "selector", "group": "selector", "duration": "end"},
}
"""Fields that the integration makes an argument of; `device_id` is the `device` of all other actions."""
ENVELOPE = {"transaction", "expires_at"}


@pytest.mark.parametrize("name", NAMES)
def test_form_has_the_arguments_of_the_request(name: str) -> None:
    arguments, fields = REQUESTS[name]["properties"], dict(FORMS[name]["fields"])
    assert fields.pop("config_entry_id")["required"]
    into = INTO.get(name, {}) | ({} if name == "maintenance_add" else {"device_id": "device"})
    assert {into.get(field, field) for field in fields} == arguments.keys() - ENVELOPE
    required = {field for field, about in fields.items() if about.get("required")}
    offered = {argument for field, argument in into.items() if field in fields}
    assert required == set(REQUESTS[name]["required"]) - offered
    for field in fields.keys() - into.keys():
        [selector] = fields[field]["selector"]
        assert arguments[field].items() >= TYPES[selector].items(), field


def test_every_request_about_alarms_has_an_action() -> None:
    assert len(NAMES) == 8
    assert FORMS.keys() >= {*NAMES}
