"""Values as they are published, and their discovery (faults.md 3.8 and 5.6)."""

from __future__ import annotations

from typing import Any

import pytest

from fleet2mqtt.contract.discovery import Discovery
from fleet2mqtt.contract.published import discovery_facts, published_values
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.model import Component
from fleet2mqtt.sdk.limits import MAX_STATE
from tests.sample_devices import device, row

DISCOVERY = Discovery(Topics("fleet2mqtt", "homeassistant"), "en", "1")


def component(value: Any, component: Component = Component.SENSOR, **more: Any) -> dict[str, Any]:
    """The discovery of entity `x` of a device with this value."""
    config = DISCOVERY.config(device(entities=(row("x", component, **more),), state={"x": value}))
    found: dict[str, Any] = config["components"]["x"]
    return found


def test_values_within_the_limits_are_published_as_they_are() -> None:
    made = device(state={"signal": -60, "enable": "x" * MAX_STATE}, attributes={})
    values = published_values(made)
    assert (values.state, values.attributes) == (made.state, made.attributes)
    assert discovery_facts(made) == frozenset()


def test_text_that_is_too_long_is_cut_and_an_attribute_as_a_whole() -> None:
    text = "端口" * 500
    made = device(state={"signal": text, "enable": "ON"}, attributes={"signal": {"raw": 1}})
    values = published_values(made)
    assert values.state == {"signal": text[:254] + "…", "enable": "ON"}
    assert values.attributes == {"signal": {"raw": 1, "text": text}}
    assert discovery_facts(made) == {("signal", None)}


def test_discovery_of_a_cut_text_reads_its_attributes() -> None:
    assert "json_attributes_topic" not in component("x" * 255)
    assert component("x" * 256)["json_attributes_topic"] == "fleet2mqtt/device/hq_1/attributes"


@pytest.mark.parametrize(
    ("value", "own", "published"),
    [
        (85, (5, 35), (5, 85)),
        (-1.5, (5, 35), (-1.5, 35)),
        (5, (5, 35), (5, 35)),
        (None, (5, 35), (5, 35)),
        ("85", (5, 35), (5, 35)),
        (500, (None, None), (1, 500)),
        (0, (None, 35), (0, 35)),
        (50, (None, None), (None, None)),
    ],
)
def test_range_of_a_number_contains_its_value(value: Any, own: Any, published: Any) -> None:
    found = component(value, Component.NUMBER, minimum=own[0], maximum=own[1])
    assert (found.get("min"), found.get("max")) == published


def test_range_of_a_sensor_is_left_alone() -> None:
    assert "max" not in component(500)
