"""Calls at once: as many as the server allows, one after a refusal, and another try later."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from fleet2mqtt.errors import Ambiguous, BackendError, RateLimited, Rejected, Unreachable
from fleet2mqtt.platforms.smart_gateway.concurrency import RELEARN, Concurrency
from fleet2mqtt.sdk.http_client import HttpClient
from fleet2mqtt.sdk.rate_limiter import RateLimiter
from tests.platforms.smart_gateway.connected import OTHER, SIM, SN, calls, simulated
from tests.waiting import PATIENCE

QUERY, LIST = "/api/v1/devices/query", "/api/v1/devices/list"


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (RateLimited("busy"), True),
        (Unreachable("no connection"), True),
        (Ambiguous("lost", code="connection_lost"), True),
        (Ambiguous("late", code="timeout"), False),
        (Rejected("offline", code=7006), False),
    ],
)
def test_refusal_costs_concurrency_for_an_hour(error: BackendError, *, refused: bool) -> None:
    now = 100.0
    rate_limiter = RateLimiter(concurrency=2)
    concurrency = Concurrency(backend="branch", rate_limiter=rate_limiter, wanted=2, clock=lambda: now)
    assert concurrency.is_refused(error) is refused
    assert concurrency.limit == rate_limiter.concurrency == (1 if refused else 2)
    assert not (refused and concurrency.is_refused(error))
    now += RELEARN
    assert concurrency.limit == rate_limiter.concurrency == 2


@dataclass(slots=True)
class Server:
    """Counts queries in progress; with `alone` it is busy while there is one. All wait for `expected` of them."""

    expected: int
    alone: bool = False
    path: str = QUERY
    running: int = 0
    most: int = 0
    together: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, original: Any, api: HttpClient, method: str, path: str, name: str, **request: Any) -> Any:
        if path != self.path or request["json"].get("page", 3) < 3:  # the first pages are requested one by one
            return await original(api, method, path, name, **request)
        self.running += 1
        self.most = max(self.most, self.running)
        if self.running >= self.expected:
            self.together.set()
        try:
            if self.alone and self.running > 1:
                raise RateLimited("one at a time", code=503)
            await asyncio.wait_for(self.together.wait(), PATIENCE)
            return await original(api, method, path, name, **request)
        finally:
            self.running -= 1


@pytest.mark.parametrize(("alone", "most_later"), [(False, 2), (True, 1)])
async def test_batches_are_queried_at_once_where_the_server_allows_it(
    monkeypatch: pytest.MonkeyPatch, *, alone: bool, most_later: int
) -> None:
    async with simulated(devices=65) as (simulator, run):
        server = Server(expected=2, alone=alone)
        original = vars(HttpClient)["_send"]
        monkeypatch.setattr(HttpClient, "_send", lambda *given, **more: server.serve(original, *given, **more))
        await run.poll("details")
        assert server.most == 2
        assert len({device.via for device in run.of("channels") if device.state.get("apn")}) == 65
        server.most = 0
        server.alone = False
        await run.poll("details")
        assert server.most == most_later
        assert len(calls(simulator, QUERY)) == 8  # a refused one does not arrive


@pytest.mark.parametrize(("alone", "most_later"), [(False, 2), (True, 1)])
async def test_pages_are_requested_at_once_where_the_server_allows_it(
    monkeypatch: pytest.MonkeyPatch, *, alone: bool, most_later: int
) -> None:
    async with simulated(devices=65, page_size=10) as (simulator, run):
        server = Server(expected=2, alone=alone, path=LIST)
        original = vars(HttpClient)["_send"]
        monkeypatch.setattr(HttpClient, "_send", lambda *given, **more: server.serve(original, *given, **more))
        await run.poll("devices")
        assert server.most == 2
        assert len(run.of("gateways")) == 65
        server.most = 0
        server.alone = False
        await run.poll("devices")
        assert server.most == most_later
        assert len(calls(simulator, LIST)) == 14  # a refused one does not arrive


async def test_response_that_was_requested_before_a_read_back_changes_nothing() -> None:
    """With calls at once an old response may arrive after a newer one."""
    async with simulated() as (simulator, run):
        await run.poll()
        gateways = run.backend.client.gateways
        old_query = {SN: (await run.backend.client.client.query_devices([SN]))[SN]}
        old_list = (await run.backend.client.client.list_devices(page=1, limit=10))["devices"]
        simulator.set_channel(SN, "0", apn="3gnet", signal=-99)
        before = asyncio.get_running_loop().time()
        await run.read(SIM)
        gateways.apply_query(old_query, before)
        gateways.apply_list(old_list, 2, before)
        (channel,) = (device for device in gateways.devices([SN]) if device.id == SIM)
        assert (channel.state["apn"], channel.state["signal"]) == ("3gnet", -99)
        gateways.apply_query(old_query)
        (channel,) = (device for device in gateways.devices([SN]) if device.id == SIM)
        assert channel.state["apn"] == "cmnet"
        assert gateways.has(OTHER)
