"""Brokers that are killed, frozen, refuse messages or end the session: no acknowledged event is lost."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.bridge_under_test import CHANNEL, MAC, SN, VOIP, RunningBridge, Site, open_site, retained, wait_retained
from tests.mqtt.proxy import Proxy
from tests.waiting import wait_for_answer, wait_until

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 3
STATE = "fleet2mqtt/bridge/state"


async def vendors(site: Site, acknowledged: list[str]) -> None:
    """Alarms and changes as fast as they are taken, until cancelled."""
    number = 0
    while True:
        number += 1
        alarm = site.ums.raise_alarm(MAC, push=False)
        status, _, _ = await site.push(alarm)
        assert status == 200, "without a broker an alarm waits on disk"
        acknowledged.append(f"hq_voip:{alarm['id']}")
        site.gateways.set_base(SN, alias=f"name {number}")
        site.ums.rename(MAC, f"name {number}")


async def test_broker_killed_at_any_moment_loses_nothing(site: Site) -> None:
    rng = random.Random(4711)  # noqa: S311 - to be repeated, not to be secret
    site.ums.history.clear()
    acknowledged, published = list[str](), list[tuple[str, int]]()
    every = {"devices": 0.1}
    async with site.bridge(branch={"scan_interval": every}, hq_voip={"scan_interval": every}) as bridge:
        pushing = asyncio.create_task(vendors(site, acknowledged), name="vendors")
        for _ in range(ROUNDS):
            count = len(acknowledged) + rng.randint(1, 20)
            await wait_until(lambda count=count: len(acknowledged) >= count, "pushes")  # type: ignore[misc]
            await site.broker.kill()
            published += [(event["id"], event["seq"]) for event in bridge.events()]
            count = len(acknowledged) + rng.randint(1, 10)
            await wait_until(lambda count=count: len(acknowledged) >= count, "pushes")  # type: ignore[misc]
            await site.broker.start()
            async with site.broker.record("#") as bridge.seen:
                await bridge.seen.wait(lambda message: message.topic == STATE and message.payload == b"online")
                await wait_until(bridge.events, "alarms to flow again")
                published += [(event["id"], event["seq"]) for event in bridge.events()]
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
        async with site.broker.record("#") as bridge.seen:
            await drained(bridge)  # what passed between two recordings was counted by nobody, but the broker has it
            published += [(event["id"], event["seq"]) for event in bridge.events()]
            await bridge.refresh()
            assert (await bridge.devices())[VOIP]["name"] == site.ums.devices[MAC].device_name
            held = await everything(bridge)
    assert {id_ for id_, _ in held} >= set(acknowledged)
    assert set(published) <= set(held), "an event keeps its number"
    assert len({seq for _, seq in held}) == len(held)


async def drained(bridge: RunningBridge) -> None:
    async def is_empty() -> bool:
        return bool((await bridge.ask("health"))["data"]["bridge"]["outbox"]["depth"] == 0)

    await wait_for_answer(is_empty, "the outbox to be empty")


async def everything(bridge: RunningBridge) -> list[tuple[str, int]]:
    """Every alarm that the bridge has, by request."""
    found, after, more = list[tuple[str, int]](), 0, True
    while more:
        page = (await bridge.ask("alarms", after=after, limit=1000))["data"]
        found += [(alarm["id"], alarm["seq"]) for alarm in page["alarms"]]
        after, more = found[-1][1] if found else 0, page["more"]
    return found


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_half_open_connection_is_detected_and_availability_ends_online(
    site: Site, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.ums.history.clear()
    async with Proxy(site.broker.port) as network:
        options = {"port": network.port, "keepalive": 2, "protocol": protocol}
        async with site.bridge(mqtt=options, branch=None) as bridge:
            await bridge.settle()
            network.swallowing = True
            pushed = [site.ums.raise_alarm(MAC, push=False) for _ in range(3)]
            for alarm in pushed:
                assert (await site.push(alarm))[0] == 200
            await wait_until(lambda: "lost" in caplog.text, "the bridge to notice")
            network.swallowing = False
            network.drop()
            await wait_until(lambda: len(bridge.events()) >= 3, "what waited")
            assert [event["id"] for event in bridge.events()] == [f"hq_voip:{each['id']}" for each in pushed]
            await wait_until(lambda: _offline(bridge), "the will of the dead session")
            await wait_retained(site.broker, {STATE: b"online"})
            assert (await bridge.ask("health"))["data"]["bridge"]["mqtt"]["reconnects"] == 1
            assert len([record for record in caplog.records if "lost" in record.getMessage()]) == 1
            assert (await bridge.set(VOIP, {"nothing": 1}))["status"] == "invalid"


def _offline(bridge: RunningBridge) -> bool:
    said = [message.payload for message in bridge.seen.all(STATE) if not message.retain]
    return b"offline" in said


async def test_broker_behind_black_hole_at_start_is_retried(site: Site) -> None:
    """While connections to the broker lead nowhere, pushes are taken in and vendors are polled."""
    site.ums.history.clear()
    async with Proxy(site.broker.port, swallowing=True) as network:
        starting = asyncio.create_task(_first_event(site, network.port), name="a bridge that starts")
        alarm = site.ums.raise_alarm(MAC, push=False)

        async def taken() -> bool:
            try:
                return (await site.push(alarm))[0] == 200
            except OSError:
                return False

        await wait_for_answer(taken, "the push port")
        calls = site.ums.fault_injector.calls
        await wait_until(lambda: any("/device" in call.path for call in calls), "a poll")
        network.swallowing = False
        network.drop()
        assert await starting == f"hq_voip:{alarm['id']}"


async def _first_event(site: Site, port: int) -> str:
    async with site.bridge(mqtt={"port": port}, branch=None) as bridge:
        return str((await bridge.event_count(1))[0]["id"])


async def test_refused_connection_is_logged_once_and_delays_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_site(tmp_path, users={"fleet": "right"}) as site:
        site.ums.history.clear()
        broker, right = site.broker, {"username": "fleet", "password": "right"}
        running = asyncio.create_task(_refused(site), name="a bridge that is refused")
        await wait_until(lambda: "not authorised" in broker.log() or "not authorized" in broker.log().lower(), "a no")
        alarm = site.ums.raise_alarm(MAC, push=False)
        assert (await site.push(alarm))[0] == 200
        await wait_until(
            lambda: any(call.path == "/api/v1/devices/list" for call in site.gateways.fault_injector.calls), "a poll"
        )
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        said = [record.getMessage() for record in caplog.records if record.name.startswith("fleet2mqtt.mqtt")]
        assert len([line for line in said if "username" in line or "password" in line]) == 1, said
        assert not [line for line in said if "wrong" in line and "wrong-password" in line]
        async with site.bridge(mqtt=right) as bridge:
            assert [event["id"] for event in await bridge.event_count(1)] == [f"hq_voip:{alarm['id']}"]


async def _refused(site: Site) -> None:
    async with site.bridge(mqtt={"username": "fleet", "password": "wrong-password"}):
        pass


async def test_client_with_same_id_is_logged_and_commands_end(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    info = "fleet2mqtt/bridge/info"
    async with site.bridge(mqtt={"client_id": "the-same", "protocol": "3.1.1"}) as bridge:
        await bridge.settle()
        thieves: list[asyncio.StreamWriter] = []
        try:
            while not (named := [line for line in caplog.messages if "client id 'the-same'" in line]):
                assert len(thieves) < 5
                connections = len(bridge.seen.all(info))
                thieves.append(await _steal(site.broker.port))
                back = partial(_more, bridge, info, connections)
                await wait_until(back, "the bridge to come back")
            assert len(named) == 1
            assert (await bridge.set(CHANNEL, {"enable": "ON"}))["status"] == "confirmed"
            assert (await retained(site.broker, STATE))[STATE] == b"online"
        finally:
            for writer in thieves:
                writer.transport.abort()


def _more(bridge: RunningBridge, topic: str, count: int) -> bool:
    return len(bridge.seen.all(topic)) > count


async def _steal(port: int) -> asyncio.StreamWriter:
    """Connect with the bridge's client id over MQTT 3.1.1, and stay connected."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    id_ = b"the-same"
    body = b"\x00\x04MQTT\x04\x02\x00\x3c" + len(id_).to_bytes(2, "big") + id_
    writer.write(b"\x10" + bytes([len(body)]) + body)
    assert (await reader.readexactly(4))[3] == 0
    return writer
