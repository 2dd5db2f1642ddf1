"""Announcements of the bridge: every topic of the contract with its retain flag, states, and discovery."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from fleet2mqtt.contract.topics import Topics
from tests.bridge_under_test import (
    CHANNEL,
    GATEWAY,
    LINE,
    MAC,
    VOIP,
    RunningBridge,
    Site,
    config_topic,
    node_names,
    open_site,
    retained,
    state_topic,
)
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio(loop_scope="module")

STATELESS = {"button", "event"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with open_site(tmp_path_factory.mktemp("announce")) as site:
        yield site


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bridge(site: Site) -> AsyncIterator[RunningBridge]:
    async with site.bridge() as bridge:
        await bridge.settle()
        yield bridge


def templates(component: dict[str, Any]) -> str:
    """Return the template by which a component reads its device's state."""
    shown = "json_attributes_template" if component["platform"] == "device_tracker" else "value_template"
    found: str = component.get(shown, "")
    return found


async def test_contract_topics_have_their_retain_flag(site: Site, bridge: RunningBridge) -> None:
    wanted = {f"fleet2mqtt/bridge/{name}" for name in ("state", "info", "health")} | {"fleet2mqtt/alarm/summary"}
    wanted |= {f"fleet2mqtt/bridge/node/{name}/{kind}" for name in node_names() for kind in ("state", "health")}
    wanted |= {
        f"fleet2mqtt/backend/{name}/{kind}" for name in ("hq_voip", "branch") for kind in ("availability", "health")
    }
    sources = {"hq_voip": ("alarms", "lines", "status"), "branch": ("details", "mappings")}
    wanted |= {
        Topics("fleet2mqtt", "homeassistant").source(name, source)
        for name, listed in sources.items()
        for source in listed
    }
    for id_ in await bridge.devices():
        wanted |= {state_topic(id_), f"fleet2mqtt/device/{id_}/availability", config_topic(id_)}
    await wait_until(
        lambda: all(map(bridge.seen.latest, wanted)),
        lambda: f"topics: {[topic for topic in wanted if not bridge.seen.latest(topic)]}",
        PATIENCE,
    )
    standing = await retained(site.broker)
    assert wanted <= standing.keys()
    rest = {topic for topic in standing.keys() - wanted if not topic.endswith("/attributes")}
    assert rest == set()
    assert not bridge.events()  # the sample alarm of the document is backlog of the first run
    await site.push(site.ums.raise_alarm(MAC, push=False))
    await bridge.event_count(1)
    standing = await retained(site.broker)
    assert not [
        topic for topic in standing if re.search(r"/(alarm/event|response|request|result|set|get|logging)", topic)
    ]


async def test_ids_are_made_of_hardware_ids(bridge: RunningBridge) -> None:
    devices = await bridge.devices()
    assert {"bridge", "hq_voip", "branch", VOIP, LINE, GATEWAY, CHANNEL} <= devices.keys()
    assert (devices[LINE]["via"], devices[CHANNEL]["via"], devices[VOIP]["via"]) == (VOIP, GATEWAY, "hq_voip")
    assert all(re.fullmatch(r"[a-z0-9_-]{1,64}", id_) for id_ in devices)


async def test_info_and_health_match_contract(bridge: RunningBridge) -> None:
    info = bridge.seen.latest("fleet2mqtt/bridge/info")
    health = await bridge.seen.wait(
        lambda message: message.topic == "fleet2mqtt/bridge/health" and message.json["mqtt"]["protocol"] == "5"
    )
    backend = await bridge.seen.wait(lambda message: message.topic == "fleet2mqtt/backend/hq_voip/health")
    assert info
    assert info.json.keys() == {"id", "version", "started_at", "mqtt_protocol", "backends"}
    assert info.json["mqtt_protocol"] == "5"
    assert {name: each["platform"] for name, each in info.json["backends"].items()} == {
        "hq_voip": "ums",
        "branch": "smart_gateway",
    }
    assert {"uptime", "outbox", "dropped", "loop_lag", "rss"} <= health.json.keys()
    assert health.json["outbox"].keys() >= {"depth", "oldest_age"}
    assert health.json["mqtt"]["reconnects"] == 0
    assert {"last_success", "error", "next_try", "endpoints", "quota"} <= backend.json.keys()
    assert {"class", "text"} <= (backend.json["error"] or {"class": "", "text": ""}).keys()


async def test_state_has_key_for_each_entity(bridge: RunningBridge) -> None:
    for id_, payload in bridge.descriptions().items():
        state = bridge.state(id_)
        meta = state.pop("_meta")
        read = {key for key, each in payload["components"].items() if f"get('{key}')" in templates(each)}
        assert state.keys() == read, id_
        assert meta.keys() == {"source", "observed_at"}
        assert meta["source"] == "poll"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.\d{3}[+-]\d\d:\d\d", meta["observed_at"])


async def test_discovery_has_the_members_that_home_assistant_takes(bridge: RunningBridge) -> None:
    found = bridge.descriptions()
    assert found.keys() == (await bridge.devices()).keys()
    uniques: set[str] = set()
    for id_, payload in found.items():
        assert payload.keys() == {"device", "origin", "availability", "availability_mode", "components"}
        assert payload["device"]["identifiers"] == [f"fleet2mqtt_{id_}"]
        assert payload["availability_mode"] == "all"
        for key, component in payload["components"].items():
            assert component["unique_id"] == f"fleet2mqtt_{id_}_{key}"
            assert component["object_id"] == f"{id_}_{key}"
            assert component["default_entity_id"] == f"{component['platform']}.{id_}_{key}"
            assert component["qos"] == (1 if component["platform"] in STATELESS else 0)
            uniques.add(component["unique_id"])
    assert len(uniques) == sum(len(payload["components"]) for payload in found.values())


async def test_availability_is_bridge_backend_and_device(bridge: RunningBridge) -> None:
    found = bridge.descriptions()
    listed = {id_: [each["topic"] for each in found[id_]["availability"]] for id_ in (LINE, "hq_voip", "bridge")}
    online = "fleet2mqtt/bridge/state"
    own = "fleet2mqtt/device/{}/availability".format
    assert listed[LINE] == [online, "fleet2mqtt/backend/hq_voip/availability", own(LINE)]
    assert listed["hq_voip"] == [online, own("hq_voip")]
    assert listed["bridge"] == [online, own("bridge")]
