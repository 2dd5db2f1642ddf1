"""The simulator's messages for applications, through a real mosquitto."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer

from fleet2mqtt.simulators.thingscloud import SIMULATOR, AppBroker, Simulator, create
from tests.broker import HOST, Broker
from tests.platforms.thingscloud.connected import FIRST
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.recording import Recording


@asynccontextmanager
async def publishing(folder: Path) -> AsyncIterator[tuple[Simulator, TestClient, Broker, Recording]]:  # type: ignore[type-arg]
    async with Broker(directory=folder, users={"view": "secret"}) as broker, broker.record("view/#") as seen:
        app = create(app_broker=AppBroker(host=HOST, port=broker.port, key="view", secret="secret"))
        async with TestClient(TestServer(app)) as client:
            yield app[SIMULATOR], client, broker, seen


async def test_messages_of_each_kind_stand_below_key_and_view_token(tmp_path: Path) -> None:
    async with publishing(tmp_path) as (simulator, _, _, seen):
        simulator.report(FIRST, {"temperature": 20.5})
        simulator.set_online(FIRST, online=False)
        simulator.set_online(FIRST, online=True)
        simulator.raise_alarm(FIRST, 2)
        simulator.event(FIRST, "button", {})
        simulator.send(FIRST, "command", {"method": "restart", "params": {}, "id": 7})
        await wait_until(lambda: len(seen.messages) == 6, "all messages", PATIENCE)
        token = simulator.devices[FIRST].view_token
        kinds = ["attributes", "online", "online", "alarm", "event_report", "command_reply"]
        assert [message.topic for message in seen.messages] == [f"view/{token}/{kind}" for kind in kinds]
        assert {message.json["device"]["id"] for message in seen.messages} == {FIRST}
        assert [message.json.get("online") for message in seen.messages[1:3]] == [False, True]
        assert seen.messages[-1].json["reply"]["id"] == 7


async def test_simulator_misbehaves_on_demand(tmp_path: Path) -> None:
    async with publishing(tmp_path) as (simulator, client, _, seen):
        async with client.post("/_sim/broker", json={"copies": 2, "garbage": 1, "delay": 0.01}) as response:
            assert await response.json() == {"delay": 0.01, "copies": 2, "garbage": 1, "muted": False, "published": 0}
        async with client.post("/_sim/broker", json={"host": "x"}) as response:
            assert response.status == 400
        simulator.report(FIRST, {"temperature": 20.5})
        simulator.report(FIRST, {"temperature": 21.5})
        await wait_until(lambda: len(seen.messages) == 4, "all messages", PATIENCE)
        first, again, *rest = [message.text for message in seen.messages]
        assert first == again
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(first)
        assert [json.loads(text)["attributes"] for text in rest] == [{"temperature": 21.5}] * 2
        assert simulator.app_broker is not None
        simulator.app_broker.muted = True
        simulator.report(FIRST, {"temperature": 22.5})
        await simulator.settle()
        assert simulator.app_broker.published == 4


async def test_messages_go_on_after_a_broker_that_restarts(tmp_path: Path) -> None:
    async with publishing(tmp_path) as (simulator, _, broker, _):
        simulator.report(FIRST, {"temperature": 20.5})
        await simulator.settle()
        await broker.stop()
        simulator.report(FIRST, {"temperature": 21.5})
        await broker.start()
        async with broker.record("view/#") as seen:
            simulator.report(FIRST, {"temperature": 22.5})
            await seen.wait(lambda message: message.json["attributes"] == {"temperature": 22.5})
