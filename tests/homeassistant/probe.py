"""Findings of Home Assistant's own code about discovery messages: parts that it ignores, or newer releases refuse.

    .venv-ha/bin/python tests/homeassistant/probe.py < messages.json

Messages come in by topic; what is found goes out as a JSON list of texts. Home Assistant itself drops a key that it
does not know without a word, which no test of its log can see.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import tempfile
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import voluptuous as vol
from homeassistant.components.mqtt.abbreviations import ABBREVIATIONS
from homeassistant.components.mqtt.schemas import DEVICE_DISCOVERY_SCHEMA, SHARED_OPTIONS
from homeassistant.components.number.const import DEVICE_CLASS_UNITS as NUMBER_UNITS
from homeassistant.components.sensor.const import DEVICE_CLASS_STATE_CLASSES, DEVICE_CLASS_UNITS
from homeassistant.core import HomeAssistant

if TYPE_CHECKING:
    from collections.abc import Iterator

FOR_NEWER_RELEASES = {"default_entity_id"}
UNITS = {"sensor": DEVICE_CLASS_UNITS, "number": NUMBER_UNITS}


def findings(message: dict[str, Any]) -> Iterator[str]:
    """Return the findings about one message."""
    try:
        taken = DEVICE_DISCOVERY_SCHEMA(deepcopy(message))
    except vol.Invalid as refused:
        yield f"refused: {refused}"
        return
    yield from (f"not used: {key}" for key in message.keys() - taken.keys())
    yield from (f"not used: device.{key}" for key in message["device"].keys() - taken["device"].keys())
    shared = {key: message[key] for key in SHARED_OPTIONS if key in message}
    about = {key: message[key] for key in ("device", "origin")}
    for name, component in message["components"].items():
        yield from (f"{name}: {each}" for each in component_findings({**shared, **about, **component}))


def component_findings(config: dict[str, Any]) -> Iterator[str]:
    """Return the findings about one component, as Home Assistant passes it to the platform."""
    platform = config["platform"]
    given = {key: value for key, value in config.items() if key != "platform"}
    for each in given.get("availability", ()):
        each |= {ABBREVIATIONS[key]: each.pop(key) for key in each.keys() & ABBREVIATIONS.keys()}
    schema = importlib.import_module(f"homeassistant.components.mqtt.{platform}").DISCOVERY_SCHEMA
    try:
        taken = schema(deepcopy(given))
    except vol.Invalid as refused:
        yield f"refused: {refused}"
        return
    yield from (f"not used: {key}" for key in given.keys() - taken.keys() - FOR_NEWER_RELEASES)
    if config.get("default_entity_id") != f"{platform}.{config.get('object_id')}":
        yield "default_entity_id and object_id are not both there and the same"
    yield from unit_findings(platform, config)


def unit_findings(platform: str, config: dict[str, Any]) -> Iterator[str]:
    """Yield the units and state classes of which 2025.4 only warns; since 2025.7 they cost the entity."""
    device_class, unit = config.get("device_class"), config.get("unit_of_measurement")
    units = UNITS.get(platform, {}).get(device_class)
    if units is not None and unit not in units:
        yield f"unit {unit} of {device_class}"
    states, state = DEVICE_CLASS_STATE_CLASSES.get(device_class), config.get("state_class")
    if platform == "sensor" and states is not None and state is not None and state not in states:
        yield f"state class {state} of {device_class}"


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        HomeAssistant(folder)  # which templates look for
        messages = json.load(sys.stdin)
        json.dump([f"{topic}: {each}" for topic, message in messages.items() for each in findings(message)], sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
