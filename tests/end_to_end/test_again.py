"""Repeated publishing: the events that repeat everything, those that repeat nothing, and the end of the bridge."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.bridge_under_test import (
    CHANNEL,
    MAC,
    SN,
    VOIP,
    RunningBridge,
    Site,
    config_topic,
    open_site,
    retained,
    state_topic,
    wait_retained,
)
from tests.mqtt.proxy import Proxy
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


@pytest.fixture
async def bridge(site: Site) -> AsyncIterator[RunningBridge]:
    async with site.bridge() as bridge:
        await bridge.settle()
        yield bridge


async def test_unchanged_device_config_is_published_once(site: Site, bridge: RunningBridge) -> None:
    await bridge.refresh()
    before = {
        topic: len(bridge.seen.all(topic))
        for topic in map(config_topic, await bridge.devices())
        if "_mapping_" not in topic
    }
    await bridge.refresh()
    site.gateways.add_gateway("MARKER", "described behind whatever is still to come")
    await bridge.refresh()
    await bridge.seen.wait(lambda message: message.topic == config_topic("branch_marker"))
    assert {topic: len(bridge.seen.all(topic)) for topic in before} == before


async def test_birth_of_home_assistant_publishes_all_again(site: Site, bridge: RunningBridge) -> None:
    topics = [
        topic for topic in await retained(site.broker) if topic.startswith(("fleet2mqtt/device", "homeassistant"))
    ]
    before = {topic: len(bridge.seen.all(topic)) for topic in topics}
    await site.broker.publish("homeassistant/status", "online")
    await wait_until(
        lambda: all(len(bridge.seen.all(topic)) > count for topic, count in before.items()),
        lambda: f"again: {[topic for topic, count in before.items() if len(bridge.seen.all(topic)) == count]}",
    )


@pytest.mark.usefixtures("bridge")
@pytest.mark.parametrize("how", ["restart", "crash"])
async def test_broker_without_retained_messages_gets_all_again(site: Site, how: str) -> None:
    before = await retained(site.broker)
    topics = {topic for topic in before if not topic.endswith("/health")}
    if how == "restart":
        await site.broker.restart()
    else:
        await site.broker.kill()
        await site.broker.start()

    async def missing() -> bool:
        return topics <= (await retained(site.broker)).keys()

    await wait_for_answer(missing, "every topic")
    after = await retained(site.broker)
    still = {topic for topic in topics if not re.search(r"/(bridge|info|summary)", topic)}
    assert {topic: after[topic] for topic in still} == {topic: before[topic] for topic in still}
    assert after["fleet2mqtt/bridge/state"] == b"online"


async def test_messages_in_flight_at_disconnect_are_sent_again_once(site: Site) -> None:
    async with (
        Proxy(site.broker.port) as network,
        site.bridge(mqtt={"port": network.port}, branch={"timeout": PATIENCE}) as bridge,
    ):
        await bridge.settle()
        events = len(bridge.events())
        site.gateways.fault_injector.inject("slow", "/api/v1/devices/set", times=1, seconds=0.005)
        token = bridge.transaction()
        await site.broker.publish(f"fleet2mqtt/device/{CHANNEL}/set", {"enable": "ON", "transaction": token})
        await wait_until(lambda: site.gateways.gateways[SN]["channel"]["0"]["enable"], "the write")
        network.swallowing = True
        assert (await site.push(site.ums.raise_alarm(MAC, push=False)))[0] == 200
        calls = site.gateways.fault_injector.calls
        await wait_until(lambda: calls[-1].path == "/api/v1/devices/query", "the read-back")
        await site.push(b"swallowed with the rest")
        network.swallowing = False
        network.drop()
        assert (await bridge.result(CHANNEL, token))["status"] == "confirmed"
        await bridge.event_count(events + 1)
        await bridge.settle()
        assert len(bridge.results(CHANNEL)) == 1
        assert len(bridge.events()) == events + 1
        await wait_retained(site.broker, {"fleet2mqtt/bridge/state": b"online"})


async def test_stop_publishes_offline_and_crash_publishes_will(site: Site) -> None:
    topic = "fleet2mqtt/bridge/state"
    async with site.bridge():
        await wait_retained(site.broker, {topic: b"online"})
    assert (await retained(site.broker, topic))[topic] == b"offline"
    async with site.bridge() as bridge:
        await wait_retained(site.broker, {topic: b"online"})
        await bridge.crash()
        await wait_retained(site.broker, {topic: b"offline"})


@pytest.mark.usefixtures("bridge")
async def test_will_of_older_connection_is_overwritten(site: Site) -> None:
    await site.broker.publish("fleet2mqtt/bridge/state", "offline", retain=True)
    await wait_retained(site.broker, {"fleet2mqtt/bridge/state": b"online"})


async def test_names_are_in_the_language_asked_for_and_ids_are_not(site: Site) -> None:
    async with site.bridge(language="zh-Hans") as bridge:
        await bridge.settle()
        component = bridge.descriptions()[CHANNEL]["components"]["enable"]
    assert (component["name"], component["unique_id"]) == ("启用", f"fleet2mqtt_{CHANNEL}_enable")


async def test_discovery_disabled_publishes_no_config(site: Site) -> None:
    async with site.bridge(discovery={"enabled": False}) as bridge:
        await bridge.refresh()
        await bridge.seen.wait(lambda message: message.topic == state_topic(CHANNEL), PATIENCE)
        assert bridge.seen.all("homeassistant/#") == []


async def test_missing_attributes_are_cleared(site: Site, bridge: RunningBridge) -> None:
    topic = f"fleet2mqtt/device/{VOIP}/attributes"
    site.ums.change(MAC, device_status="melting")
    await bridge.refresh(backend="hq_voip")
    await bridge.seen.wait(lambda m: m.topic == topic and m.json.get("device_status") == {"raw": "melting"})
    site.ums.change(MAC, device_status="work")
    await bridge.refresh(backend="hq_voip")
    await bridge.shows(VOIP, "device_status", "work")
    latest = bridge.seen.latest(topic)
    assert latest
    assert "device_status" not in latest.json
