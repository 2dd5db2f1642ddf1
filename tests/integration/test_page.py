"""The snippets of docs/home-assistant.md work as it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from homeassistant.setup import async_setup_component
from homeassistant.util.yaml import parse_yaml
from pytest_homeassistant_custom_component.common import async_mock_service

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from pytest_homeassistant_custom_component.common import MockConfigEntry

    from tests.integration.bridge import Bridge

PAGE = (Path(__file__).parents[2] / "docs/home-assistant.md").read_text("utf-8")


def example(part: str, entry: MockConfigEntry) -> Any:
    """The first YAML that has this text, with the bridge that the tests have."""
    found = next(text for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE) if part in text)
    return parse_yaml(found.replace("01JABCDEF", entry.entry_id))


@pytest.mark.parametrize(("con_state", "told"), [("2", 0), ("0", 2), (0, 2)])
async def test_page_lists_lines_that_are_down(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry, con_state: str | int, told: int
) -> None:
    """The UMS document 3.7 has `con_state` as a text."""
    line = {"line": "FXO-7", "number": "8006", "reg_state": "1", "con_state": con_state, "voltage": "0/30"}
    bridge.answers["fxo_test"] = lambda _: {"detects": [line]}
    notes = async_mock_service(hass, "notify", "notify")
    actions = example("fleet2mqtt.fxo_test", loaded)["actions"]
    assert await async_setup_component(hass, "script", {"script": {"night": {"sequence": actions}}})
    await hass.services.async_call("script", "night", blocking=True)
    assert [note.data["message"] for note in notes] == [
        f"Lines are down at {mac}" for mac in ("000EA93D022E", "000EA9610BCC")[:told]
    ]


async def test_page_lists_rules_by_name(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    bridge.answers["mapping_list"] = lambda _: {"list": [{"name": "camera"}, {"name": "door"}]}
    notes = async_mock_service(hass, "notify", "persistent_notification")
    actions = example("fleet2mqtt.mapping_list", loaded)
    assert await async_setup_component(hass, "script", {"script": {"rules": {"sequence": actions}}})
    await hass.services.async_call("script", "rules", blocking=True)
    assert [note.data["message"] for note in notes] == ["camera, door"]
