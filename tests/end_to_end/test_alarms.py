"""Alarms end to end: none lost, none twice, whichever way and in whichever order they come."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import orjson
import pytest
from aiohttp import ClientSession

from tests.bridge_under_test import MAC, SECRET, VOIP, RunningBridge, Site, open_site, retained, wait_retained
from tests.mqtt.proxy import Proxy
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        site.ums.history.clear()  # without the document's sample
        yield site


@pytest.fixture
async def network(site: Site) -> AsyncIterator[Proxy]:
    """A way to the broker that can be cut while the broker and whoever listens there stay."""
    async with Proxy(site.broker.port) as network:
        yield network


async def empty(bridge: RunningBridge) -> bool:
    """Return True if the broker has acknowledged all events in the outbox."""
    depth: int = (await bridge.ask("health"))["data"]["bridge"]["outbox"]["depth"]
    return depth == 0


def cut(network: Proxy) -> None:
    network.closed = True
    network.drop()


@pytest.fixture
async def bridge(site: Site) -> AsyncIterator[RunningBridge]:
    async with site.bridge(branch=None) as bridge:
        await bridge.settle()
        yield bridge


async def test_alarm_pushed_three_times_and_polled_twice_is_one_event(site: Site, bridge: RunningBridge) -> None:
    alarm = site.ums.raise_alarm(MAC, push=False)
    for _ in range(3):
        assert (await site.push(alarm))[::2] == (200, {"code": 0, "status": "成功"})
    await bridge.refresh()
    await bridge.refresh()
    site.ums.raise_alarm(MAC, push=False)
    await bridge.refresh()
    first, second = await bridge.event_count(2)
    assert (first["id"], first["source"], second["source"]) == (f"hq_voip:{alarm['id']}", "push", "poll")
    assert second["seq"] == first["seq"] + 1


async def test_alarm_polled_then_pushed_is_one_event(site: Site, bridge: RunningBridge) -> None:
    alarm = site.ums.raise_alarm(MAC, push=False)
    await bridge.refresh()
    assert (await site.push(alarm))[0] == 200
    later = site.ums.raise_alarm(MAC, push=False)
    await site.push(later)
    events = await bridge.event_count(2)
    assert [event["id"] for event in events] == [f"hq_voip:{each['id']}" for each in (alarm, later)]


async def test_event_matches_contract(site: Site, bridge: RunningBridge) -> None:
    at = datetime(2026, 3, 9, 17, 55, 40, tzinfo=SHANGHAI)
    alarm = site.ums.raise_alarm(MAC, at=at, push=False, level="warning", line_id="7")
    await site.push(alarm)
    [event] = await bridge.event_count(1)
    message = bridge.seen.all(f"fleet2mqtt/alarm/event/major/{VOIP}")[0]
    assert message.json == event
    assert message.qos == 1
    assert event["received_at"]
    assert event["seq"] == 1
    rest = {key: value for key, value in event.items() if key not in {"received_at", "seq"}}
    assert rest == {
        "id": f"hq_voip:{alarm['id']}",
        "type": "raised",
        "backend": "hq_voip",
        "device": VOIP,
        "device_name": site.ums.devices[MAC].device_name,
        "line": "7",
        "severity": "major",
        "level": "warning",
        "code": 33,
        "category": "ip extension",
        "name": "eEMS_NOTIFY_IPEXT_OFFLINE",
        "description": "IP 分机离线",
        "description_en": "eEMS_NOTIFY_IPEXT_OFFLINE",
        "raised_at": "2026-03-09T17:55:40+08:00",
        "source": "push",
        "tags": ["", "", ""],
        "alarm_type": "eEMS_NOTIFY_IPEXT_OFFLINE",
    }


async def test_event_is_not_repeated_after_restart_birth_or_new_broker(site: Site) -> None:
    async with site.bridge(branch=None) as bridge:
        await bridge.settle()
        await site.push(site.ums.raise_alarm(MAC, push=False))
        await bridge.event_count(1)
    async with site.bridge(branch=None) as bridge:
        await bridge.settle()
        await site.broker.publish("homeassistant/status", "online")
        await bridge.ask("announce")
        assert bridge.events() == []
        assert not [topic for topic in await retained(site.broker) if "/alarm/event" in topic]
        await bridge.shows(VOIP, "last_alarm", "IP 分机离线")
        await site.broker.restart()
        async with site.broker.record("#") as bridge.seen:
            await bridge.seen.wait(lambda message: message.topic.endswith("/summary"))
            await site.push(site.ums.raise_alarm(MAC, push=False))
            assert [event["seq"] for event in await bridge.event_count(1)] == [2]


async def test_alarms_during_downtime_are_backfilled(site: Site) -> None:
    async with site.bridge(branch=None) as bridge:
        await bridge.settle()
    missed = [site.ums.raise_alarm(MAC, push=False)["id"] for _ in range(5)]
    async with site.bridge(branch=None) as bridge:
        events = await bridge.event_count(5)
        await bridge.refresh()
    assert sorted(event["id"] for event in events) == sorted(f"hq_voip:{id_}" for id_ in missed)


async def test_alarms_without_broker_are_delivered_once_in_order(site: Site, network: Proxy) -> None:
    async with site.bridge(branch=None, mqtt={"port": network.port}) as bridge:
        await bridge.settle()
        cut(network)
        for _ in range(20):
            assert (await site.push(site.ums.raise_alarm(MAC, push=False)))[0] == 200
        network.closed = False
        await bridge.event_count(20)
        assert [event["seq"] for event in bridge.events()] == list(range(1, 21))
        await wait_for_answer(lambda: empty(bridge), "an empty outbox")
        await bridge.refresh()
        assert len(bridge.events()) == 20


async def test_acknowledged_push_survives_crash_without_broker(site: Site) -> None:
    async with site.bridge(branch=None) as bridge:
        await bridge.settle()
        await site.broker.kill()
        for _ in range(3):
            assert (await site.push(site.ums.raise_alarm(MAC, push=False)))[0] == 200
        await bridge.crash()
    await site.broker.start()
    async with site.bridge(branch=None) as bridge:
        assert [event["seq"] for event in await bridge.event_count(3)] == [1, 2, 3]
        await bridge.settle()
        assert len(bridge.events()) == 3


async def test_full_outbox_rejects_counts_and_sends_retry_after(site: Site, network: Proxy) -> None:
    async with site.bridge(branch=None, mqtt={"port": network.port}, alarms={"max_rows": 2}) as bridge:
        await bridge.settle()
        cut(network)
        alarms = [site.ums.raise_alarm(MAC, push=False) for _ in range(3)]
        answers = [await site.push(alarm) for alarm in alarms]
        assert [status for status, _, _ in answers] == [200, 200, 503]
        assert answers[2][1]["Retry-After"] == "30"
        assert answers[2][2]["code"] != 0
        network.closed = False
        await bridge.event_count(2)
        health = await bridge.ask("health")
        assert health["data"]["bridge"]["dropped"]["alarm_full"] == 1
        await wait_for_answer(lambda: empty(bridge), "an empty outbox")
        assert (await site.push(alarms[2]))[0] == 200
        assert [event["seq"] for event in await bridge.event_count(3)] == [1, 2, 3]


async def test_unreadable_pushes_are_kept(site: Site, bridge: RunningBridge) -> None:
    bodies = (b"", b"{", b"[1]", b"<html>", b'{"id": "5"}', b'{"metric_history_producer": "x"}')
    for body in bodies:
        status, _, answer = await site.push(body)
        assert (status, answer["code"]) == (400, 1)
    letters = (await bridge.ask("dead_letters"))["data"]
    assert [letter["body"].encode() for letter in letters["dead_letters"]] == list(bodies)
    await bridge.seen.wait(lambda m: m.topic.endswith("bridge/health") and m.json["dead_letters"] == len(bodies))
    assert bridge.events() == []


async def test_dead_letter_that_became_readable_is_published(site: Site) -> None:
    alarm = site.ums.raise_alarm(MAC, push=False)
    site.ums.history.clear()
    async with site.outbox() as outbox:
        number = await outbox.add_dead_letter(
            "hq_voip", "event", "an older version could not read it", orjson.dumps(alarm)
        )
        await outbox.add_dead_letter("former", "event", "the backend is gone", b"{}")
    async with site.bridge(branch=None) as bridge:
        retried = (await bridge.ask("dead_letters", op="retry"))["data"]["retried"]
        assert [each["ok"] for each in retried.values()] == [True, False]
        assert [event["id"] for event in await bridge.event_count(1)] == [f"hq_voip:{alarm['id']}"]
        left = (await bridge.ask("dead_letters"))["data"]["dead_letters"]
        assert number not in [letter["id"] for letter in left]


@pytest.mark.parametrize(
    ("secret", "kind", "allow"),
    [("wrong-secret", "event", []), (SECRET, "alarm", []), (SECRET, "event", ["10.0.0.5/32"]), ("", "event", [])],
)
async def test_push_to_wrong_path_is_not_found(site: Site, secret: str, kind: str, allow: list[str]) -> None:
    push = {"secret": SECRET} | ({"allow": allow} if allow else {})
    async with site.bridge(branch=None, hq_voip={"push": push}) as bridge:
        await bridge.settle()
        alarm = site.ums.raise_alarm(MAC, push=False)
        for body in (alarm, b"{"):
            assert (await site.push(body, kind, secret))[0] == 404
        assert (await bridge.ask("alarms"))["data"]["last_seq"] == 0
        assert (await bridge.ask("dead_letters"))["data"]["total"] == 0


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [("event/", "application/json"), ("/event", "application/json"), ("event", "text/plain; charset=x")],
)
async def test_push_with_other_slash_or_content_type_is_accepted(
    site: Site, bridge: RunningBridge, kind: str, content_type: str
) -> None:
    alarm = site.ums.raise_alarm(MAC, push=False)
    status, _, _ = await site.push(alarm, kind, **{"Content-Type": content_type})
    assert status == 200
    await bridge.event_count(1)


async def test_push_by_other_method_is_rejected(site: Site, bridge: RunningBridge) -> None:
    base = f"http://127.0.0.1:{site.push_port}/push/hq_voip"
    async with ClientSession() as session:
        assert (await session.get(f"{base}/{SECRET}/event")).status == 405
        assert (await session.get(f"{base}/wrong-secret/event")).status == 404
        assert (await session.post(f"{base}/{SECRET}/event", data=io.BytesIO(b"x" * (1 << 21)))).status == 413
    assert (await bridge.ask("dead_letters"))["data"]["total"] == 0


async def test_pushed_connection_change_is_published(site: Site, bridge: RunningBridge) -> None:
    site.ums.push_url = f"http://127.0.0.1:{site.push_port}/push/hq_voip/{SECRET}"
    site.ums.set_online(MAC, online=False)
    await bridge.shows(VOIP, "connection_status", "OFF")
    assert bridge.state(VOIP)["_meta"]["source"] == "push"
    await wait_retained(site.broker, {f"fleet2mqtt/device/{VOIP}_fxo_7/availability": b"offline"})


async def test_last_alarm_is_newest_when_older_one_arrives_later(site: Site, bridge: RunningBridge) -> None:
    now = datetime.now(SHANGHAI)
    site.ums.raise_alarm(MAC, at=now - timedelta(minutes=5), push=False, desc="the older", level="normal")
    await site.push(site.ums.raise_alarm(MAC, at=now, push=False, desc="the newer"))
    await bridge.shows(VOIP, "last_alarm", "the newer")
    await bridge.refresh()  # reads the older one back
    await bridge.event_count(2)
    await site.push(site.ums.raise_alarm("000EA9610BCC", push=False))  # passes behind what there was to say
    await bridge.event_count(3)
    assert bridge.history(VOIP, "last_alarm") == [None, "the newer"]
    assert bridge.state(VOIP)["last_alarm_severity"] == "critical"
    assert datetime.fromisoformat(bridge.state(VOIP)["last_alarm_time"]) == now.replace(microsecond=0)


async def test_summary_counts_by_severity(site: Site, bridge: RunningBridge) -> None:
    for level in ("serious", "serious", "warning", "odd"):
        await site.push(site.ums.raise_alarm(MAC, push=False, level=level))
    summary = await bridge.seen.wait(
        lambda message: message.topic.endswith("alarm/summary") and sum(message.json["last_hour"].values()) == 4
    )
    counts = {"critical": 2, "major": 1, "minor": 0, "warning": 0, "indeterminate": 1}
    assert summary.json["last_hour"].items() >= counts.items()
    assert summary.json["last_day"] == summary.json["last_hour"]
    assert sum(summary.json["active"].values()) == 0
