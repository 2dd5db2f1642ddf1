"""The client: errors by kind, and responses that differ from JSON."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestServer

from fleet2mqtt.errors import Ambiguous, AuthenticationError, InvalidResponse, RateLimited, Rejected, Unreachable
from fleet2mqtt.simulators.smart_gateway import create
from tests.platforms.smart_gateway.connected import GATEWAY, SN, connected, simulated

if TYPE_CHECKING:
    from fleet2mqtt.errors import BackendError

LIST, RULES = "/api/v1/devices/list", "/api/v1/mapping/list"


@pytest.mark.parametrize(
    ("kind", "options", "error", "code"),
    [
        ("status", {"status": 500}, InvalidResponse, 500),
        ("status", {"status": 503}, RateLimited, 503),
        ("status", {"status": 401}, AuthenticationError, 401),
        ("status", {"status": 404}, Rejected, 404),
        ("garbage", {}, InvalidResponse, "bad_reply"),
        ("malformed", {}, InvalidResponse, "bad_reply"),
        ("reset", {}, Ambiguous, "connection_lost"),
        ("error", {"code": 7010, "text": "参数错误"}, Rejected, 7010),
        ("error", {"code": 7019, "text": "登陆失败"}, AuthenticationError, 7019),
        ("error", {"code": 9999, "text": "没有"}, Rejected, 9999),
    ],
)
async def test_failed_call_raises_the_narrowest_error(
    kind: str, options: dict[str, object], error: type[BackendError], code: object
) -> None:
    async with simulated() as (simulator, run):
        for path, source in ((LIST, "devices"), (RULES, "mappings")):
            simulator.fault_injector.inject(kind, path, **options)
            with pytest.raises(error) as caught:
                await run.poll(source)
            assert (type(caught.value), caught.value.code) == (error, code)
            assert caught.value.endpoint == path.removeprefix("/api/v1/")
            assert run.backend.calls[caught.value.endpoint].failures == 1
            simulator.fault_injector.clear()
            await run.poll(source)


async def test_closed_port_is_unreachable() -> None:
    async with connected("http://127.0.0.1:1") as run:
        with pytest.raises(Unreachable):
            await run.poll("devices")


async def test_responses_as_in_the_document_are_repaired() -> None:
    async with simulated() as (simulator, run):
        simulator.kbps_unquoted = True
        simulator.trailing_commas = True
        await run.poll()
        assert run.state(GATEWAY)["rateup"] == 58640
        simulator.kbps_unquoted = False
        simulator.kbps_text = True
        simulator.set_base(SN, rateup=12)
        await run.poll("devices")
        assert run.state(GATEWAY)["rateup"] == 12


async def test_placeholder_values_are_null() -> None:
    """Faults 1.2."""
    async with simulated() as (simulator, run):
        simulator.placeholders = True
        await run.poll()
        state = run.state(GATEWAY)
        assert state["remark"] == ""
        blank = {"runtime", "qos", "record_speed_up", "record_speed_down"}
        assert {key: state[key] for key in blank} == dict.fromkeys(blank)


@pytest.mark.parametrize("suffix", ["", "/api/v1", "/api/v1/"])
async def test_url_as_the_document_prints_it_is_accepted(suffix: str) -> None:
    """Faults 4.8."""
    async with AsyncExitStack() as stack:
        app = create(devices=2)
        server = await stack.enter_async_context(TestServer(app))
        run = await stack.enter_async_context(connected(str(server.make_url("")).rstrip("/") + suffix))
        await run.poll()
        assert run.state(GATEWAY)["alias"] == "上海1"
