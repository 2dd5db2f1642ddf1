"""Commands under pressure: retained ones, too many at once, a vendor that is gone, polls and presses side by side."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.bridge_under_test import (
    CHANNEL,
    GATEWAY,
    LINE,
    MAC,
    SN,
    VOIP,
    RunningBridge,
    Site,
    open_site,
    reply_to,
)
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

    from tests.loop_time import LoopTime

SET = "/api/v1/devices/set"
LIST = "/api/v1/devices/list"
DETECT = f"/s1/device/{MAC}/detect"
MAX_AGE = 60.0


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


@pytest.fixture
async def bridge(site: Site) -> AsyncIterator[RunningBridge]:
    async with site.bridge(commands={"confirm_timeout": 0.1, "max_pending": 2}) as bridge:
        await bridge.settle()
        yield bridge


def writes(site: Site) -> int:
    return sum(call.path == SET for call in site.gateways.fault_injector.calls)


@pytest.mark.parametrize("topic", [f"device/{CHANNEL}/set/enable", "bridge/request/announce"])
async def test_retained_command_at_start_is_refused_with_one_warning(site: Site, topic: str) -> None:
    topic = f"fleet2mqtt/{topic}"
    await site.broker.publish(topic, "{}" if "request" in topic else "OFF", retain=True)
    for _ in range(2):
        async with site.bridge() as bridge:
            await bridge.settle()
            await wait_until(bridge.warnings, "a warning")
            [warning] = bridge.warnings()
            assert topic in warning
            assert f"mosquitto_pub -r -n -t '{topic}'" in warning
            health = await bridge.ask("health")
            assert health["data"]["bridge"]["dropped"]["retained_command"] == 1
            await site.broker.publish(topic, "", retain=False)  # clearing it is no command
            await bridge.set(CHANNEL, {"nothing": 1})
            answers = [
                *bridge.results(CHANNEL),
                *(m.json for m in bridge.seen.all("fleet2mqtt/bridge/response/announce")),
            ]
            faults = [answer["error"]["code"] for answer in answers if answer["error"]]
            assert sorted(faults) == ["retained", "unknown_key"]
    assert writes(site) == 0


@pytest.mark.parametrize(
    ("topic", "payload", "transaction"), [("set/enable", "ON", None), ("set", {"enable": "ON", "transaction": 7}, 7)]
)
async def test_retained_command_while_running_is_refused(
    site: Site, bridge: RunningBridge, topic: str, payload: Any, transaction: int | None
) -> None:
    await site.broker.publish(f"fleet2mqtt/device/{CHANNEL}/{topic}", payload, retain=True)
    await wait_until(lambda: bridge.results(CHANNEL), "a result")
    [result] = bridge.results(CHANNEL)
    assert (result["status"], result["error"]["code"]) == ("invalid", "retained")
    assert result["transaction"] == transaction
    await wait_until(bridge.warnings, "a warning")
    assert writes(site) == 0


async def test_commands_above_the_bound_end_queue_full(site: Site, bridge: RunningBridge) -> None:
    site.gateways.fault_injector.inject("hang", SET)
    names = ("alias", "remark", "hotspot_name")
    tokens = [bridge.transaction() for _ in names]
    for name, token in zip(names, tokens, strict=True):
        await bridge.broker.publish(f"fleet2mqtt/device/{GATEWAY}/set", {name: "x", "transaction": token})
    result = await bridge.result(GATEWAY, tokens[2])
    assert (result["status"], result["error"]["code"]) == ("failed", "queue_full")
    site.gateways.fault_injector.clear()
    assert (await bridge.result(GATEWAY, tokens[0]))["status"] == "failed"
    assert (await bridge.result(GATEWAY, tokens[1]))["status"] == "confirmed"


async def test_set_with_the_vendor_down_ends_failed(site: Site, bridge: RunningBridge) -> None:
    await site.stop_vendors()
    result = await bridge.set(CHANNEL, {"enable": "ON"})
    assert (result["status"], result["error"]["code"], result["observed"]) == ("failed", "unreachable", "OFF")
    result = await bridge.set_key(VOIP, "test_fxo", "PRESS")
    assert (result["status"], result["error"]["code"]) == ("failed", "unreachable")


async def test_commands_in_progress_at_stop_end_failed(site: Site, bridge: RunningBridge) -> None:
    site.gateways.fault_injector.inject("hang", "/api/v1/devices/*")
    token = bridge.transaction()
    async with site.broker.record("#") as seen:
        await bridge.broker.publish(f"fleet2mqtt/device/{CHANNEL}/set", {"enable": "OFF", "transaction": token})
        await wait_until(lambda: writes(site), "a write")
        bridge.stop.set()
        await asyncio.wait([bridge.task])
        results = [message.json for message in seen.all(f"fleet2mqtt/device/{CHANNEL}/result")]
    assert [(result["transaction"], result["status"]) for result in results] == [(token, "failed")]


async def test_poll_in_progress_does_not_undo_a_command(site: Site, bridge: RunningBridge) -> None:
    before = bridge.state(GATEWAY)["alias"]
    site.gateways.fault_injector.inject("slow", LIST, times=1, seconds=0.0)
    site.gateways.fault_injector.calls.clear()
    polling = asyncio.create_task(bridge.refresh(backend="branch"))
    await wait_until(lambda: any(call.path == LIST for call in site.gateways.fault_injector.calls), "a poll")
    assert (await bridge.set(GATEWAY, {"alias": "tower"}))["status"] == "confirmed"
    await polling
    await bridge.set(GATEWAY, {"nothing": 1})  # passes behind what the poll brought
    assert bridge.history(GATEWAY, "alias") == [before, "tower"]


async def test_poll_begun_before_a_press_does_not_undo_its_findings(site: Site, bridge: RunningBridge) -> None:
    before = bridge.state(LINE)["voltage"]
    site.ums.fault_injector.calls.clear()
    site.ums.fault_injector.inject("slow", DETECT, times=1, seconds=0.0005)
    polling = asyncio.create_task(bridge.refresh(backend="hq_voip"))
    await wait_until(lambda: any(call.path == DETECT for call in site.ums.fault_injector.calls), "a poll of the lines")
    await bridge.set_key(VOIP, "test_fxo", "PRESS")
    await polling
    history = bridge.history(LINE, "voltage")
    assert len(history) == 2
    assert history[0] == before


async def test_refresh_button_updates_the_backends_own_figures(site: Site, bridge: RunningBridge) -> None:
    site.ums.add_device()
    row = site.ums.count_devices()
    result = await bridge.set_key("hq_voip", "refresh", "PRESS")
    assert result["status"] == "confirmed"
    await bridge.shows("hq_voip", "total", row["total"])


async def test_refresh_button_with_a_failing_source_ends_with_its_error(site: Site, bridge: RunningBridge) -> None:
    site.gateways.fault_injector.inject("error", "/api/v1/mapping/list", code=7001)
    result = await bridge.set_key("branch", "refresh", "PRESS")
    assert (result["status"], result["error"]["code"]) == ("rejected", 7001)


async def test_refreshes_during_one_poll_both_end(site: Site, bridge: RunningBridge) -> None:
    site.gateways.fault_injector.inject("hang", "/api/v1/mapping/list", times=1, seconds=0.2)
    tasks = [asyncio.create_task(bridge.refresh(backend="branch")) for _ in range(3)]
    for number, task in enumerate(tasks):
        await wait_until(task.done, f"the end of refresh {number}")
        assert {"devices", "details", "mappings"} == task.result()["branch"].keys()


async def test_announce_button_publishes_everything_again(bridge: RunningBridge) -> None:
    before = len(bridge.seen.all(f"fleet2mqtt/device/{CHANNEL}/availability"))
    assert (await bridge.set_key("bridge", "announce", "PRESS"))["status"] == "confirmed"
    await wait_until(lambda: len(bridge.seen.all(f"fleet2mqtt/device/{CHANNEL}/availability")) > before, "it again")


async def test_response_topic_that_the_bridge_subscribes_to_is_ignored(site: Site, bridge: RunningBridge) -> None:
    for topic in (f"fleet2mqtt/device/{CHANNEL}/set/name", "homeassistant/device/x/config"):
        properties = reply_to(topic, b"")
        before = len(bridge.results(GATEWAY))
        await site.broker.publish(f"fleet2mqtt/device/{GATEWAY}/set/remark", "x", properties=properties)
        await wait_until(lambda before=before: len(bridge.results(GATEWAY)) > before, "a result")  # type: ignore[misc]
        assert bridge.seen.all(topic) == []
    assert site.gateways.gateways[SN]["base"]["remark"] == "x"


async def test_write_that_shows_late_ends_confirmed(site: Site) -> None:
    async with site.bridge(commands={"confirm_timeout": PATIENCE}) as bridge:
        await bridge.settle()
        site.gateways.apply_delay = 0.05
        assert (await bridge.set(CHANNEL, {"enable": "ON"}))["observed"] == "ON"


async def test_request_past_its_deadline_ends_with_timeout(site: Site, loop_time: LoopTime) -> None:
    calls = site.gateways.fault_injector.calls

    async def after_its_deadline(request: Coroutine[Any, Any, dict[str, Any]], path: str) -> dict[str, Any]:
        """Return how a request ends whose deadline is over once the vendor has received a call."""
        calls.clear()
        task = asyncio.create_task(request)
        await wait_until(lambda: any(call.path.endswith(path) for call in calls), f"a call of {path}")
        loop_time.advance(MAX_AGE)
        return await task

    async def get(bridge: RunningBridge) -> dict[str, Any]:
        await bridge.broker.publish(f"fleet2mqtt/device/{GATEWAY}/get", {"transaction": "get"})
        return await bridge.result(GATEWAY, "get")

    async with site.bridge(commands={"max_age": MAX_AGE, "confirm_timeout": PATIENCE}) as bridge:
        await bridge.settle()
        site.gateways.fault_injector.inject("hang", SET, times=1)
        result = await after_its_deadline(bridge.set(CHANNEL, {"enable": "ON"}), SET)
        assert (result["status"], result["error"]["code"]) == ("failed", "timeout")
        site.gateways.fault_injector.inject("noop", SET)
        result = await after_its_deadline(bridge.set(CHANNEL, {"enable": "ON"}), "/devices/query")
        assert (result["status"], result["error"]["code"]) == ("unconfirmed", "timeout")
        site.gateways.fault_injector.inject("hang")
        result = await after_its_deadline(get(bridge), "/devices/query")
        assert (result["status"], result["error"]["code"]) == ("failed", "timeout")
        answer = await after_its_deadline(bridge.ask("mapping_list", "backend/branch"), "/mapping/list")
        assert answer["error"]["code"] == "timeout"


async def test_request_in_progress_at_stop_ends_stopped(site: Site) -> None:
    async with site.bridge(branch={"timeout": 30}) as bridge:
        await bridge.settle()
        site.gateways.fault_injector.inject("hang", "/api/v1/devices/*")
        async with site.broker.record("#") as seen:
            for name in ("alias", "remark"):
                await bridge.broker.publish(f"fleet2mqtt/device/{GATEWAY}/set", {name: "x", "transaction": name})
            await bridge.broker.publish(f"fleet2mqtt/device/{CHANNEL}/get", {"transaction": "get"})
            await bridge.broker.publish("fleet2mqtt/backend/branch/request/device_list", {"transaction": "list"})
            await wait_until(lambda: writes(site), "a write")
            bridge.stop.set()
            await asyncio.wait([bridge.task])
            await bridge.result(CHANNEL, "get")
            results = [message.json for message in seen.all(f"fleet2mqtt/device/{GATEWAY}/result")]
            response = await seen.wait(lambda message: message.topic.endswith("response/device_list"))
    assert [(result["key"], result["status"], result["error"]["code"]) for result in results] == [
        ("alias", "failed", "stopped"),
        ("remark", "failed", "stopped"),
    ]
    assert response.json["error"]["code"] == "stopped"
