"""Values at Home Assistant's limits, events of devices, and the availability of a source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet2mqtt.contract.payloads import OFFLINE, ONLINE
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.model import Component, DeviceEvent
from tests.homeassistant.test_fleet import probed
from tests.publishing.harness import open_parts
from tests.sample_devices import device, row, update

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker import Broker
    from tests.homeassistant.hass import Hass

TOPICS = Topics("limits", "homeassistant")
ENTITIES = (
    row("remark"),
    row("rules"),
    row("limit", Component.NUMBER, minimum=5, maximum=35),
    row("flow", Component.NUMBER),
    row("door", Component.EVENT, options=("opened", "closed")),
    row("voltage", source="lines"),
    row("rules_update", Component.UPDATE),
)
VERSIONS = {"installed_version": "2021-09-01", "latest_version": "2021-09-08"}
REMARK = "端口 " * 100
STATE = {"remark": REMARK, "rules": 100, "limit": 85, "flow": 4000, "voltage": 48, "rules_update": VERSIONS}
RULES = [{"name": f"rule {n}", "comment": "x" * 300} for n in range(100)]


async def test_values_at_the_limits_are_accepted_without_a_warning(
    hass: Hass, hass_broker: Broker, tmp_path: Path
) -> None:
    begin = len(hass.log())
    made = device("hq_9", entities=ENTITIES, state=STATE, attributes={"rules": {"rules": RULES}})
    async with open_parts(hass_broker.port, tmp_path, TOPICS, ["lines"], client_id="limits") as parts:
        for topic in (TOPICS.state, TOPICS.backend("hq", "availability"), TOPICS.source("hq", "lines")):
            parts.publisher.set_retained(topic, ONLINE)
        await parts.hub.accept(update(made))

        limit = await hass.wait_state("number.hq_9_limit", lambda state: state["state"] == "85")
        assert (limit["attributes"]["min"], limit["attributes"]["max"]) == (5, 85)
        await hass.wait_state("number.hq_9_flow", lambda state: state["state"] == "4000")
        remark = await hass.wait_state("sensor.hq_9_remark", lambda state: "text" in state["attributes"])
        assert remark["state"] == REMARK[:254] + "…"
        assert remark["attributes"]["text"] == REMARK
        rules = await hass.wait_state("sensor.hq_9_rules", lambda state: "omitted" in state["attributes"])
        assert rules["attributes"]["omitted"] == 100 - len(rules["attributes"]["rules"])

        await hass.wait_state("update.hq_9_rules_update", lambda state: state["attributes"].items() >= VERSIONS.items())
        await hass.wait_state("update.hq_9_rules_update", lambda state: state["state"] == "on")
        current = {"installed_version": "2021-09-08", "latest_version": "2021-09-08"}
        for versions in (current, None):  # what is not known any more changes nothing, and costs no warning
            changed = device("hq_9", entities=ENTITIES, state=STATE | {"rules_update": versions})
            await parts.hub.accept(update(changed, requested_at=0.5))
            await hass.wait_state("update.hq_9_rules_update", lambda state: state["state"] == "off")

        await hass.wait_state("sensor.hq_9_voltage", lambda state: state["state"] == "48")
        parts.publisher.set_retained(TOPICS.source("hq", "lines"), OFFLINE)
        await hass.wait_state("sensor.hq_9_voltage", lambda state: state["state"] == "unavailable")
        await hass.wait_state("sensor.hq_9_rules", lambda state: state["state"] == "100")
        parts.publisher.set_retained(TOPICS.source("hq", "lines"), ONLINE)
        parts.publisher.set_retained(TOPICS.backend("hq", "availability"), OFFLINE)
        await hass.wait_state("sensor.hq_9_rules", lambda state: state["state"] == "unavailable")
        await hass.wait_state("sensor.hq_9_voltage", lambda state: state["state"] == "unavailable")

        parts.publisher.set_retained(TOPICS.backend("hq", "availability"), ONLINE)
        await hass.wait_state("event.hq_9_door", lambda state: state["state"] == "unknown")
        events = tuple(
            DeviceEvent(device="hq_9", key="door", event_type=type_, attributes={"by": "card"})
            for type_ in ("opened", "closed")
        )
        await parts.hub.accept(update(events=events[:1], requested_at=1))
        fired = await hass.wait_state("event.hq_9_door", lambda state: state["attributes"]["event_type"] == "opened")
        assert fired["attributes"]["by"] == "card"
        await parts.hub.accept(update(events=events[1:], requested_at=2))
        await hass.wait_state("event.hq_9_door", lambda state: state["attributes"]["event_type"] == "closed")
        topic = TOPICS.discovery("hq_9")
        assert await probed({topic: (await hass_broker.retained(topic))[topic].json}) == []
        await parts.hub.forget(["hq_9"])
    assert hass.problems(since=begin) == []
