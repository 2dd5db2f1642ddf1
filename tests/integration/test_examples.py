"""The automations that README.md and docs/home-assistant.md show, with alarms that are raised and cleared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.script import async_validate_actions_config
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import async_mock_service

from tests.integration.bridge import alarm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from homeassistant.core import HomeAssistant

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/home-assistant.md")
_YAML = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)


def examples() -> list[tuple[str, dict[str, Any]]]:
    """Return the examples whose trigger is an alarm, with the page that shows each."""
    found = []
    for page in PAGES:
        for text in _YAML.findall((ROOT / page).read_text("utf-8")):
            if "event_type: fleet2mqtt_alarm" not in text:
                continue
            shown = yaml.safe_load(text)
            found.append((page, shown))
    return found


def actions_of(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the actions of the integration within an example, however deep, as Home Assistant calls them."""
    if isinstance(value, dict):
        name = value.get("perform_action", value.get("action"))
        if isinstance(name, str) and name.startswith("fleet2mqtt."):
            yield {"action": name, "data": value.get("data", {})}
        for inner in value.values():
            yield from actions_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from actions_of(inner)


SHOWN = [
    (page, yaml.safe_load(text))
    for page in PAGES
    for text in _YAML.findall((ROOT / page).read_text("utf-8"))
    if "fleet2mqtt." in text
]


@pytest.mark.parametrize(("page", "example"), SHOWN, ids=[page for page, _ in SHOWN])
async def test_example_calls_actions_with_their_fields(hass: HomeAssistant, page: str, example: Any) -> None:
    services = yaml.safe_load((ROOT / "custom_components/fleet2mqtt/services.yaml").read_text("utf-8"))
    called = list(actions_of(example))
    assert called, page
    for each in called:
        fields = services[each["action"].removeprefix("fleet2mqtt.")]["fields"]
        assert each["data"].keys() <= fields.keys(), each
        required = {name for name, field in fields.items() if field.get("required")}
        assert required <= each["data"].keys(), each
    steps = example if isinstance(example, list) else example.get("actions")
    if steps is not None:
        assert await async_validate_actions_config(hass, cv.SCRIPT_SCHEMA(steps))


def test_each_page_shows_an_automation_on_alarms() -> None:
    assert [page for page, _ in examples()] == list(PAGES)


@pytest.mark.parametrize(("page", "example"), examples(), ids=[page for page, _ in examples()])
async def test_example_on_alarms_runs_for_a_raised_alarm_and_not_for_a_cleared_one(
    hass: HomeAssistant, page: str, example: dict[str, Any]
) -> None:
    calls = async_mock_service(hass, "test", "tell")
    automation = {"alias": page, "triggers": example["triggers"], "actions": [{"action": "test.tell"}]}
    assert await async_setup_component(hass, "automation", {"automation": [automation]})
    await hass.async_block_till_done()
    for number, kind in enumerate(("raised", "cleared", "raised"), 1):
        hass.bus.async_fire("fleet2mqtt_alarm", alarm(number, type=kind, severity="critical", backend="hq_voip"))
        await hass.async_block_till_done()
    assert len(calls) == 2
