"""The automations that README.md and docs/home-assistant.md show, with alarms that are raised and cleared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import async_mock_service

from tests.integration.bridge import alarm

if TYPE_CHECKING:
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
