"""The command line plays a vendor."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from fleet2mqtt.cli.simulate import options_for
from fleet2mqtt.sdk.api import platforms
from tests.broker import HOST, free_port
from tests.commandline import OM50, fleet2mqtt, get, post, simulator, write
from tests.process import BRIDGE, running
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("platform", sorted(platforms()))
async def test_simulate_serves_a_vendors_api_with_fault_injection(platform: str) -> None:
    async with simulator(platform, "--devices", "5") as (url, process):
        assert re.fullmatch(rf"http://{HOST}:\d+", url)
        assert await get(f"{url}/_sim/state")
        assert await get(f"{url}/_sim/calls") == []
        (fault,) = await post(f"{url}/_sim/faults", {"kind": "status", "path": "*", "status": 502})
        assert (fault["kind"], fault["status"]) == ("status", 502)
        process.process.terminate()
        assert await process.ends() == 0


@pytest.mark.parametrize("platform", sorted(platforms()))
async def test_simulate_prints_the_options_that_a_backend_needs(platform: str, tmp_path: Path) -> None:
    async with simulator(platform) as (url, process):
        told = {}
        for name in options_for(platform):
            _, _, value = (await process.says(f"  {name}: ")).partition(": ")
            told[name] = yaml.safe_load(value)
        path = write(tmp_path, mqtt=None, backends={"it": {"platform": platform, "url": url, **told}})
        ended = await fleet2mqtt("check", "-c", path)
    assert ended.code == 0, ended
    assert ended.output.splitlines()[2:] != []


async def test_simulate_on_ipv6_prints_a_url_with_brackets() -> None:
    async with simulator("ums", "--still", "--host", "::1") as (url, _):
        assert re.fullmatch(r"http://\[::1\]:\d+", url)
        assert await get(f"{url}/_sim/state")


async def test_simulate_with_push_posts_to_that_url(tmp_path: Path) -> None:
    port = free_port()
    push = f"http://{HOST}:{port}/push/hq/push-secret"
    async with simulator("ums", "--still", "--push", push) as (url, _):
        backends = {"hq": {"platform": "ums", "url": url, "push": {"secret": "push-secret"}}}
        path = write(tmp_path, push={"host": HOST, "port": port}, backends=backends)
        async with running(*BRIDGE, "run", "-c", path) as bridge:
            await bridge.says("push listens on")
            await post(f"{url}/_sim/alarm", {"mac": OM50})

            async def pushed() -> Any:
                return (await get(f"{url}/_sim/state"))["pushes"]

            (answer,) = await wait_for_answer(pushed, "a push")
    assert (answer["kind"], answer["status"], answer["reply"]["code"]) == ("event", 200, 0)


async def test_simulate_still_changes_nothing_by_itself() -> None:
    async with simulator("smart_gateway") as (moving, _), simulator("smart_gateway", "--still") as (still, _):

        async def signals(url: str) -> list[Any]:
            gateways = (await get(f"{url}/_sim/state"))["gateways"].values()
            return [channel["signal"] for gateway in gateways for channel in gateway["channel"].values() if channel]

        before = [await signals(url) for url in (moving, still)]

        async def moved() -> bool:
            return await signals(moving) != before[0]

        await wait_for_answer(moved, "life")
        assert await signals(still) == before[1]
