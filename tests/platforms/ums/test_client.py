"""Client: each endpoint of the UMS document over HTTP, and the errors of its failures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from fleet2mqtt.errors import (
    Ambiguous,
    AuthenticationError,
    BackendError,
    InvalidResponse,
    RateLimited,
    Rejected,
    Unreachable,
)
from fleet2mqtt.platforms.ums.client import Client
from fleet2mqtt.sdk.pagination import Page
from fleet2mqtt.simulators.ums.app import create
from tests.platforms.ums.connected import Run, connected, scripted, simulated

MAC = "000EA93D022E"

CALLS: dict[str, tuple[Callable[[Client], Awaitable[Page]], str, str]] = {
    "device_list": (lambda client: client.device_list(0, 1), "/s1/device", "devices"),
    "alarm_latest": (lambda client: client.alarm_latest(0, 1), "/s1/device/metric_history", "metricHistorys"),
    "alarm_history": (lambda client: client.alarm_history(MAC, 0, 1), "/s1/device/metric_history", "metricHistorys"),
    "alarm_statistics": (
        lambda client: client.alarm_statistics([MAC]),
        "/s1/device/metric_history/statistics",
        "metricHistoryStatistics",
    ),
    "event_statistics": (
        lambda client: client.event_statistics(0, 1),
        "/s1/device/metric_history/statistics",
        "events_statistics",
    ),
    "status_history": (lambda client: client.status_history(0, 1), "/s1/device/status", "states_statistics"),
    "fxo_status": (lambda client: client.fxo_status(MAC, 0, 1), f"/s1/device/{MAC}/detect", "detects"),
    "fxo_test": (lambda client: client.fxo_test(MAC, 0, 1), f"/s1/device/{MAC}/detect", "detects"),
}
FAULTS: tuple[tuple[type[BackendError], dict[str, Any]], ...] = (
    (Rejected, {"kind": "error", "code": 7, "text": "内部错误"}),
    (Rejected, {"kind": "status", "status": 404}),
    (RateLimited, {"kind": "status", "status": 503}),
    (AuthenticationError, {"kind": "status", "status": 401}),
    (InvalidResponse, {"kind": "status", "status": 500}),
    (InvalidResponse, {"kind": "malformed"}),
    (InvalidResponse, {"kind": "garbage"}),
    (Ambiguous, {"kind": "reset"}),
    (Ambiguous, {"kind": "lost_answer"}),
)


def client_of(run: Run) -> Client:
    client: Client = run.backend.client.client
    return client


@pytest.mark.parametrize("name", CALLS)
async def test_endpoint_returns_its_list(name: str) -> None:
    call, path, container = CALLS[name]
    async with simulated(devices=3) as (simulator, run):
        page = await call(client_of(run))
        assert simulator.fault_injector.calls[-1].path == path
        assert page.items == tuple(page.response[container])
        assert len(page.items) == 1
        assert page.total is not None
        assert page.total >= 1
        assert run.backend.calls[name].calls == 1


@pytest.mark.parametrize(
    ("error", "fault"), FAULTS, ids=lambda value: value.get("kind", "") if isinstance(value, dict) else value.__name__
)
@pytest.mark.parametrize("name", CALLS)
async def test_endpoint_fault_raises_its_error(name: str, error: type[BackendError], fault: dict[str, Any]) -> None:
    call, path, _ = CALLS[name]
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject(path=path, **fault)
        with pytest.raises(error) as caught:
            await call(client_of(run))
        assert type(caught.value) is error
        assert caught.value.endpoint == name
        assert run.backend.calls[name].failures == 1
        simulator.fault_injector.clear()
        assert (await call(client_of(run))).items


async def test_rejection_has_the_vendors_code_and_text() -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("error", "/s1/device", code=7, text="内部错误")
        with pytest.raises(Rejected, match="内部错误") as caught:
            await run.poll("devices")
        assert caught.value.code == 7


async def test_unreachable_server_raises_in_every_source() -> None:
    async with connected("http://127.0.0.1:9") as run:
        for source in run.backend.sources:
            with pytest.raises(Unreachable):
                await run.poll(source.name)


@pytest.mark.parametrize(
    "reply",
    [
        {"meta": {"totalResults": 1}},
        {"meta": {"totalResults": 1}, "devices": {"a": 1}},
        {},
    ],
)
async def test_response_of_another_shape_is_invalid(reply: dict[str, Any]) -> None:
    async with scripted(lambda _: reply) as run:
        with pytest.raises(InvalidResponse):
            await run.poll("devices")


async def test_statistics_of_the_other_function_is_invalid() -> None:
    events = {"meta": {"totalResults": 1}, "events_statistics": [{"total": 1}]}
    async with scripted(lambda _: events) as run:
        with pytest.raises(InvalidResponse, match="metricHistoryStatistics"):
            await client_of(run).alarm_statistics([MAC])


async def test_login_keeps_no_session_and_no_secret() -> None:
    async with simulated() as (simulator, run):
        with pytest.raises(Rejected):
            await run.act("login", account="sysadmin", password="wrong")
        data = await run.act("login", account="sysadmin", password="admin@123")
        assert data["user"]["userid"] == "sysadmin"
        await run.poll("devices")
        assert "Cookie" not in simulator.fault_injector.calls[-1].headers
        assert "admin@123" not in repr(data)


async def test_polls_make_no_login() -> None:
    async with TestServer(create(devices=1)) as server, connected(str(server.make_url(""))) as run:
        await run.poll()
        assert "login" not in run.backend.calls
