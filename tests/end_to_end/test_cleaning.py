"""Removal of devices: two complete inventories, restarts with every vendor down, torn files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.simulators.smart_gateway.data import SECOND_SN
from tests.bridge_under_test import (
    CHANNEL,
    GATEWAY,
    LINE,
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
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIST = "/api/v1/devices/list"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


@pytest.fixture
async def bridge(site: Site) -> AsyncIterator[RunningBridge]:
    async with site.bridge() as bridge:
        await bridge.settle()
        yield bridge


def topics(device: str) -> list[str]:
    return [config_topic(device), state_topic(device), f"fleet2mqtt/device/{device}/availability"]


async def parts(bridge: RunningBridge, device: str) -> list[str]:
    return [id_ for id_ in await bridge.devices() if id_.startswith(device)]


async def test_empty_list_removes_nothing(site: Site, bridge: RunningBridge) -> None:
    before = (await bridge.devices()).keys()
    site.ums.fault_injector.inject("empty")
    site.gateways.fault_injector.inject("empty", "*/mapping/*")  # which has no total
    for _ in range(3):
        await bridge.refresh()
    assert (await bridge.devices()).keys() == before


async def test_two_responses_with_total_of_zero_remove_all(site: Site, bridge: RunningBridge) -> None:
    """Faults 3.10."""
    gateways = await parts(bridge, GATEWAY)
    site.gateways.fault_injector.inject("empty", "*/devices/list")
    await bridge.refresh()
    assert (await bridge.devices()).keys() > set(gateways)
    await bridge.refresh()
    assert set(gateways).isdisjoint(await bridge.devices())


async def test_second_inventory_without_device_removes_it_and_its_sub_devices(
    site: Site, bridge: RunningBridge
) -> None:
    gone, kept = await parts(bridge, GATEWAY), await parts(bridge, VOIP)
    assert len(gone) > 1
    site.gateways.remove_gateway(SN)
    await bridge.refresh()
    assert (await bridge.devices()).keys() > set(gone)
    assert (await retained(site.broker)).keys() >= {topic for id_ in gone for topic in topics(id_)}
    await bridge.refresh()
    assert set(gone).isdisjoint(await bridge.devices())
    await wait_retained(site.broker, dict.fromkeys((topic for id_ in gone for topic in topics(id_)), b""))
    assert (await retained(site.broker)).keys() >= {topic for id_ in kept for topic in topics(id_)}


async def test_failed_page_removes_nothing(site: Site) -> None:
    async with site.bridge(branch={"page_size": 1}, hq_voip={"page_size": 1}) as bridge:
        await bridge.settle()
        before = (await bridge.devices()).keys()
        site.gateways.remove_gateway(SECOND_SN)
        site.ums.remove_device(MAC)
        for name in ("smart", "gateway"):
            site.gateways.add_gateway(name, name)
            site.ums.add_device()
        for _ in range(3):
            for simulator, path in ((site.gateways, LIST), (site.ums, "/s1/device")):
                simulator.fault_injector.calls.clear()
                simulator.fault_injector.inject("malformed", path)  # the first page is as bad as any
            await bridge.refresh()
            for simulator in (site.gateways, site.ums):
                assert simulator.fault_injector.calls
                simulator.fault_injector.clear()
        assert (await bridge.devices()).keys() >= before


async def test_device_that_returns_is_announced_again(site: Site, bridge: RunningBridge) -> None:
    gateway = site.gateways.gateways[SN]
    site.gateways.remove_gateway(SN)
    await bridge.refresh()
    await bridge.refresh()
    await wait_retained(site.broker, dict.fromkeys(topics(CHANNEL), b""))
    site.gateways.gateways[SN] = gateway
    await bridge.refresh()
    await wait_retained(site.broker, {f"fleet2mqtt/device/{CHANNEL}/availability": b"online"})
    assert (await retained(site.broker)).keys() >= set(topics(GATEWAY)) | set(topics(CHANNEL))


async def test_removed_device_returns_while_vendor_lists_it(site: Site, bridge: RunningBridge) -> None:
    answer = await bridge.ask("forget", device=VOIP)
    assert {VOIP, LINE} <= set(answer["data"]["forgotten"])
    await wait_retained(site.broker, dict.fromkeys(topics(VOIP), b""))
    await bridge.refresh()
    assert {VOIP, LINE} <= (await bridge.devices()).keys()
    await wait_retained(site.broker, {f"fleet2mqtt/device/{LINE}/availability": b"online"})


async def test_bridge_device_cannot_be_removed(site: Site, bridge: RunningBridge) -> None:
    for named in ({"device": "bridge"}, {"devices": ["bridge", VOIP]}):
        answer = await bridge.ask("forget", **named)
        assert (answer["status"], answer["error"]["code"]) == ("error", "invalid_arguments")
    assert {"bridge", VOIP} <= (await bridge.devices()).keys()
    assert (await retained(site.broker)).keys() >= set(topics("bridge")) | set(topics(VOIP))


async def test_devices_survive_restart_with_vendors_down(site: Site) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
        known = await bridge.devices()
        shown = bridge.state(CHANNEL)
    await site.stop_vendors()
    await site.broker.restart()
    async with site.bridge() as bridge:
        again = await bridge.devices()
        await bridge.is_available("branch", "offline")
        await bridge.is_available("hq_voip", "offline")
        assert again.keys() == known.keys()
        for id_ in (LINE, CHANNEL, GATEWAY):
            assert again[id_] == known[id_]
        await wait_until(lambda: all(map(bridge.state, known)), "every state")
        assert bridge.state(CHANNEL) == shown
        await wait_until(lambda: all(bridge.seen.latest(config_topic(id_)) for id_ in known), "every description")
        answer = await bridge.set(CHANNEL, {"enable": "OFF"})
        assert (answer["status"], answer["error"]["code"]) == ("failed", "not_ready")
        pressed = await bridge.set("branch", {"refresh": "PRESS"})
        assert (pressed["status"], pressed["error"]["code"]) == ("failed", "unreachable"), "it does try"


async def test_pending_deletion_completes_after_restart(site: Site) -> None:
    async with site.bridge(branch={"scan_interval": {"devices": 0.1}}) as bridge:
        await bridge.settle()
        await site.broker.kill()
        site.gateways.remove_gateway(SN)
        site.gateways.fault_injector.calls.clear()
        await wait_until(lambda: len(site.gateways.fault_injector.calls) > 3, "more than two inventories")
    await site.broker.start()
    for topic in topics(CHANNEL):
        await site.broker.publish(topic, "left behind", retain=True)
    async with site.bridge():
        await wait_retained(site.broker, dict.fromkeys(topics(CHANNEL), b""))


async def test_renamed_device_keeps_ids(site: Site, bridge: RunningBridge) -> None:
    before = await bridge.devices()
    site.ums.rename(MAC, "reception")
    site.gateways.set_base(SN, alias="tower")
    await bridge.refresh()
    after = await bridge.devices()
    assert after.keys() == before.keys()
    assert (after[VOIP]["name"], after[GATEWAY]["name"]) == ("reception", "tower")
    assert after[LINE]["name"].startswith("reception")


async def test_removed_component_is_published_once_with_platform_only(site: Site) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
        assert "test_fxo" in (await bridge.devices())[VOIP]["keys"]
    site.ums.drawn_lines[MAC] = []  # without lines there is nothing to test
    async with site.bridge() as bridge:
        for _ in range(3):
            await bridge.refresh()
        await bridge.ask("announce")
        topic = config_topic(VOIP)
        await bridge.seen.wait(
            lambda message: (
                message.topic == topic and message.json["components"].get("test_fxo") == {"platform": "button"}
            )
        )
        await bridge.ask("announce")
        await bridge.seen.wait(lambda message: message.topic == topic and "test_fxo" not in message.json["components"])
        retiring = [m for m in bridge.seen.all(topic) if m.json["components"].get("test_fxo") == {"platform": "button"}]
        assert len(retiring) == 1


async def test_devices_of_unconfigured_backend_stay_unavailable(site: Site) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
    async with site.bridge(branch=None) as bridge:
        await bridge.is_available("branch", "offline")
        await wait_until(lambda: any("branch is no longer configured" in line for line in bridge.warnings()), "a word")
        assert CHANNEL in await bridge.devices()
        pressed = await bridge.set("branch", {"refresh": "PRESS"})
        assert (pressed["status"], pressed["error"]["code"]) == ("failed", "not_ready")
        answer = await bridge.ask("forget", backend="branch")
        assert CHANNEL in answer["data"]["forgotten"]
        await wait_retained(site.broker, dict.fromkeys(topics(CHANNEL), b""))


async def test_damaged_inventory_is_set_aside_and_logged(site: Site) -> None:
    async with site.bridge() as bridge:
        await bridge.settle()
        known = (await bridge.devices()).keys()
    await site.damage_inventories()
    async with site.bridge() as bridge:
        await wait_until(lambda: any("inventory.json cannot be used" in line for line in bridge.warnings()), "a word")
        await bridge.refresh()
        assert (await bridge.devices()).keys() == known
    assert list(site.folder.rglob("inventory.json.corrupt-*"))
