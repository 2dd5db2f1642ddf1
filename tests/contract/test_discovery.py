"""Discovery messages of hand-made devices, for members that the platforms' devices do not have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet2mqtt.contract.discovery import Discovery
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import ALARM_ENTITIES
from fleet2mqtt.devices.model import Component, Device, EntityCategory, EntityDescription, Name
from tests.sample_devices import device, row

DISCOVERY = Discovery(Topics("site/fleet 2", "homeassistant"), "en", "1.2.3")
STATE = "site/fleet 2/device/hq_1/state"


def component(entity: EntityDescription, **changes: Any) -> dict[str, Any]:
    made: Device = device(entities=(entity,), state={}, **changes)
    config: dict[str, Any] = DISCOVERY.config(made)
    found: dict[str, Any] = config["components"][entity.key]
    return found


def test_node_id_begins_with_the_base_topics_slug() -> None:
    node = Topics("site/fleet", "homeassistant").node("hq_1")
    assert node.endswith("_hq_1")
    assert "/" not in node
    assert Topics("fleet2mqtt", "ha").discovery("hq_1") == "ha/device/fleet2mqtt_hq_1/config"


@pytest.mark.parametrize(
    ("entity", "wanted"),
    [
        (row("x", unit="dBm", precision=1), {"unit_of_measurement": "dBm", "suggested_display_precision": 1}),
        (row("x", device_class="enum", options=("a", "b")), {"device_class": "enum", "options": ["a", "b"]}),
        (
            row("x", category=EntityCategory.CONFIG, enabled=False),
            {"entity_category": "config", "enabled_by_default": False},
        ),
        (row("x", Component.NUMBER, minimum=0, maximum=9, step=0.5), {"min": 0, "max": 9, "step": 0.5, "mode": "box"}),
        (row("x", Component.TEXT, pattern="[a-z]+"), {"pattern": "^(?:[a-z]+)?$"}),
        (row("x", Component.TEXT, secret=True), {"mode": "password", "value_template": "{{ '' }}"}),
        (row("alarm", Component.EVENT, options=("critical",)), {"event_types": ["critical"], "qos": 1}),
        (
            row("x", Component.EVENT, options=("opened",)),
            {
                "event_types": ["opened"],
                "qos": 1,
                "state_topic": "site/fleet 2/device/hq_1/event/x",
            },
        ),
        (row("x", Component.DEVICE_TRACKER), {"source_type": "gps", "json_attributes_topic": STATE}),
        (
            row("x", Component.UPDATE),
            {
                "state_topic": STATE,
                "value_template": "{{ (value_json.get('x') or {}) | tojson }}",
                "display_precision": 0,
            },
        ),
        (row("x", Component.BUTTON), {"command_topic": "site/fleet 2/device/hq_1/set/x", "qos": 1}),
    ],
)
def test_component_has_the_members_of_its_entity_description(entity: EntityDescription, wanted: dict[str, Any]) -> None:
    assert component(entity).items() >= wanted.items()


@pytest.mark.parametrize("kind", [Component.BUTTON, Component.EVENT, Component.DEVICE_TRACKER])
def test_component_without_state_has_no_state_topic(kind: Component) -> None:
    assert component(row("x", kind)).get("state_topic") != STATE


@pytest.mark.parametrize(
    "kind",
    [Component.SENSOR, Component.BINARY_SENSOR, Component.EVENT, Component.DEVICE_TRACKER, Component.UPDATE],
)
def test_component_without_write_has_no_command_topic(kind: Component) -> None:
    assert "command_topic" not in component(row("x", kind))


def test_component_of_a_plain_sensor_has_no_optional_members() -> None:
    assert component(row("x")).keys() == {
        *("platform", "name", "unique_id", "default_entity_id", "object_id", "qos", "state_topic", "value_template")
    }


def test_event_entity_of_a_platform_has_its_own_topic_and_no_template() -> None:
    """Faults 5.10."""
    event = component(row("last_event", Component.EVENT, options=("event",)))
    assert event["state_topic"] == "site/fleet 2/device/hq_1/event/last_event"
    assert event["event_types"] == ["event"]
    assert "value_template" not in event
    assert "value_template" in component(row("alarm", Component.EVENT, options=("critical",)))


def test_attributes_have_their_own_topic() -> None:
    plain = component(row("x"))
    shown = component(row("x", attributes=lambda _: None))
    restored = component(row("x"), attributes={"x": {"raw": 1}})  # from disk: without its functions
    assert "json_attributes_topic" not in plain
    assert shown["json_attributes_topic"] == "site/fleet 2/device/hq_1/attributes"
    assert shown["json_attributes_template"] == restored["json_attributes_template"]


def test_removed_component_is_sent_as_its_bare_platform() -> None:
    made = device()
    config = DISCOVERY.config_with_removals(made, {"old": "sensor"})
    assert config["components"] == {**DISCOVERY.config(made)["components"], "old": {"platform": "sensor"}}


def test_device_block_omits_unknown_members() -> None:
    about = DISCOVERY.config(device())["device"]
    assert about.keys() == {"identifiers", "connections", "name"}
    full = device(via="hq_0", model="OM50", serial_number="1", connections=(("mac", "00:0e"),), suggested_area="hall")
    about = DISCOVERY.config(full)["device"]
    assert about["connections"] == [["mac", "00:0e"]]
    assert about["via_device"].endswith("_hq_0")
    assert about.keys() == {
        "identifiers",
        "name",
        "via_device",
        "model",
        "serial_number",
        "connections",
        "suggested_area",
    }


def test_backends_own_device_is_available_without_its_backend() -> None:
    own = DISCOVERY.config(device("hq"))
    assert own["device"]["via_device"].endswith("_bridge")
    assert [each["topic"] for each in own["availability"]] == [
        "site/fleet 2/bridge/state",
        "site/fleet 2/device/hq/availability",
    ]


@pytest.mark.parametrize(("language", "name"), [("en", "Last alarm"), ("zh-Hans", "最近告警")])
def test_entity_names_follow_the_language(language: str, name: str) -> None:
    discovery = Discovery(DISCOVERY.topics, language, "1")
    found = discovery.config(device(entities=ALARM_ENTITIES, alarms=True))["components"]["last_alarm"]
    assert found["name"] == name
    assert Name("a", "b").text(language) in ("a", "b")


def test_entity_of_a_secondary_source_depends_on_its_availability() -> None:
    discovery = Discovery(DISCOVERY.topics, "en", "1", {"hq": {"lines"}}.__getitem__)
    entities = (row("x", source="lines"), row("y", source="devices"), row("z"))
    config = discovery.config(device(entities=entities, state={}))
    topics = [
        "site/fleet 2/bridge/state",
        "site/fleet 2/backend/hq/availability",
        "site/fleet 2/device/hq_1/availability",
    ]
    assert [each["topic"] for each in config["availability"]] == topics
    assert [each["t"] for each in config["components"]["x"]["availability"]] == [
        *topics,
        "site/fleet 2/backend/hq/source/lines/availability",
    ]
    assert "availability" not in config["components"]["y"]
    assert "availability" not in config["components"]["z"]
    read_by_it = discovery.config(device(entities=entities, state={}, source="lines"))
    assert "availability" not in read_by_it["components"]["x"]


SHARING = (
    row("signal", Component.SENSOR),
    row("level", Component.NUMBER, minimum=0, maximum=9),
    row("text", Component.TEXT),
    row("reboot", Component.BUTTON),
    row("opened", Component.EVENT, options=("opened",)),
    row("place", Component.DEVICE_TRACKER),
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"id_": "hq_2", "name": 'Lobby "B" \ud800'},
        {"id_": "hq_3", "state": {"level": 12}},
        {"id_": "hq_4", "state": {"text": "x" * 300}},
        {"id_": "hq_5", "attributes": {"signal": {"band": 3}}},
        {"id_": "hq_6", "source": "lines"},
        {"id_": "hq_7", "via": "hq_1"},
        {"id_": "hq"},
        {"id_": "bridge"},
    ],
)
def test_payload_is_the_config_as_json_whatever_devices_share(changes: dict[str, Any]) -> None:
    discovery = Discovery(Topics("fleet2mqtt", "homeassistant"), "en", "1.2.3", lambda _: ("lines",))
    for made in (device("hq_0", entities=SHARING, state={}), device(**{"entities": SHARING, "state": {}} | changes)):
        assert json.loads(discovery.payload(made)) == discovery.config(made)


def test_payload_keeps_the_components_of_a_number_of_tables() -> None:
    discovery = Discovery(Topics("fleet2mqtt", "homeassistant"), "en", "1.2.3")
    for number in (*range(300), *range(300)):
        made = device(f"hq_{number}", entities=(row(f"x{number}"),), state={})
        assert json.loads(discovery.payload(made)) == discovery.config(made)
