"""Vendors that are slow, frozen or invalid, shift pages, lose, rename or lock: logged once, and values stay."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.sdk.http_client import HttpClient
from tests.bridge_under_test import CHANNEL, GATEWAY, LINE, MAC, SN, VOIP, RunningBridge, Site, retained, state_topic
from tests.mqtt.proxy import Proxy
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LIST = "/api/v1/devices/list"
DEVICES = {"hq_voip": "/s1/device", "branch": LIST}
SLOW = ("hang", "slow")
TIMEOUT = 1.0
SICK: dict[str, tuple[dict[str, Any], set[str]]] = {
    "hang": ({}, {"unreachable", "ambiguous", "timeout"}),
    "slow": ({"seconds": 1.0}, {"unreachable", "ambiguous", "timeout"}),
    "garbage": ({}, {"bad_reply"}),
    "malformed": ({}, {"bad_reply"}),
    "reset": ({}, {"unreachable", "ambiguous"}),
    "status": ({"status": 500}, {"bad_reply", "rejected", "busy", "unreachable"}),
}


@pytest.fixture
async def bridge(site: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningBridge]:
    """A bridge whose calls have a short time-out only where a vendor does not respond in time on purpose."""

    def is_slow(base: str, path: str) -> bool:
        return any(
            fault.kind in SLOW and fnmatch(path, fault.path)
            for backend in DEVICES
            if site.urls[backend] == base
            for fault in simulator(site, backend).fault_injector.faults
        )

    shorten_timeouts(monkeypatch, is_slow)
    async with site.bridge() as bridge:
        await bridge.settle()
        yield bridge


def shorten_timeouts(monkeypatch: pytest.MonkeyPatch, applies: Callable[[str, str], bool]) -> None:
    """Shorten the time-out of those calls, by base URL and path, that are meant to exceed it."""
    send_once = HttpClient._send_once  # noqa: SLF001

    async def send(client: HttpClient, session: Any, method: str, path: str, *arguments: Any) -> Any:
        client = replace(client, timeout=TIMEOUT) if applies(client.base, path) else client
        return await send_once(client, session, method, path, *arguments)

    monkeypatch.setattr(HttpClient, "_send_once", send)


def simulator(site: Site, backend: str) -> Any:
    return {"hq_voip": site.ums, "branch": site.gateways}[backend]


async def health(bridge: RunningBridge, backend: str) -> dict[str, Any]:
    found: dict[str, Any] = (await bridge.ask("health"))["data"]["backends"][backend]
    return found


async def refresh(bridge: RunningBridge, backend: str) -> dict[str, Any]:
    found: dict[str, Any] = (await bridge.refresh(backend=backend))[backend]
    return found


@pytest.mark.parametrize("fault", SICK)
@pytest.mark.parametrize("backend", DEVICES)
async def test_failing_vendor_is_logged_once_keeps_devices_and_recovers(
    site: Site, bridge: RunningBridge, backend: str, fault: str
) -> None:
    options, classes = SICK[fault]
    known = {id_: device for id_, device in (await bridge.devices()).items() if device["backend"] == backend}
    stands = await retained(site.broker, "homeassistant/#")
    fault_injector = simulator(site, backend).fault_injector
    fault_injector.inject(fault, **options)
    for failures in (1, 2, 3):
        reports = await refresh(bridge, backend)
        assert not reports["devices"]["ok"]
        assert (await health(bridge, backend))["sources"]["devices"]["failures"] == failures
    await bridge.is_available(backend, "offline")
    said = await health(bridge, backend)
    assert said["sources"]["devices"]["error"]["class"] in classes
    assert said["next_try"] is not None
    # Sources that fail in the same way at the same time are logged in one line, of whichever was first.
    lines = [
        line.split(" fails")[0] for line in bridge.warnings() if line.startswith(f"{backend}: ") and " fails" in line
    ]
    assert lines
    assert len(lines) == len(set(lines))
    assert (await bridge.devices()).keys() >= known.keys()
    assert await retained(site.broker, "homeassistant/#") == stands
    other = "branch" if backend == "hq_voip" else "hq_voip"
    assert all(report["ok"] for report in (await refresh(bridge, other)).values()), "the other goes on"
    fault_injector.clear()
    assert (await refresh(bridge, backend))["devices"]["ok"]
    await bridge.is_available(backend, "online")
    for id_ in (LINE, VOIP) if backend == "hq_voip" else (CHANNEL, GATEWAY):
        assert (await bridge.devices())[id_]["keys"] == known[id_]["keys"]


@pytest.mark.parametrize("fault", ["hang", "slow", "reset", "garbage", "malformed", "lost_answer"])
async def test_command_to_failing_vendor_ends_in_one_result(site: Site, bridge: RunningBridge, fault: str) -> None:
    site.gateways.fault_injector.inject(fault, "/api/v1/devices/set", **SICK.get(fault, ({}, ()))[0])
    before = len(site.gateways.fault_injector.calls)
    result = await bridge.set(CHANNEL, {"enable": "ON"})
    assert result["status"] in {"failed", "confirmed"}
    site.gateways.fault_injector.clear()
    writes = [call for call in list(site.gateways.fault_injector.calls)[before:] if call.path.endswith("/devices/set")]
    assert len(writes) <= 1, "a write is not repeated blindly; none comes in time where this machine is slow"
    truth = "ON" if site.gateways.gateways[SN]["channel"]["0"]["enable"] else "OFF"
    assert (result["status"] == "confirmed") == (truth == "ON")
    await refresh(bridge, "branch")
    await bridge.shows(CHANNEL, "enable", truth)
    assert len(bridge.results(CHANNEL)) == 1


async def test_vendor_behind_black_hole_fails_and_recovers(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(site.urls["branch"].rpartition(":")[2])
    async with Proxy(port) as network:
        url = f"http://127.0.0.1:{network.port}"
        shorten_timeouts(monkeypatch, lambda base, _: base == url and network.swallowing)
        async with site.bridge(branch={"url": url}) as bridge:
            await bridge.settle()
            known = (await bridge.devices()).keys()
            network.swallowing = True
            for _ in range(3):
                assert not (await refresh(bridge, "branch"))["devices"]["ok"]
            await bridge.is_available("branch", "offline")
            assert all(report["ok"] for report in (await refresh(bridge, "hq_voip")).values())
            result = await bridge.set(CHANNEL, {"enable": "ON"})
            assert result["status"] == "failed"
            network.swallowing = False
            assert (await refresh(bridge, "branch"))["devices"]["ok"]
            await bridge.is_available("branch", "online")
            assert (await bridge.devices()).keys() == known
            assert (await bridge.set(CHANNEL, {"enable": "ON"}))["status"] == "confirmed"


async def test_drifting_pages_lose_no_device(site: Site) -> None:
    for number in range(6):
        site.gateways.add_gateway(f"MORE{number}", f"more {number}")
        site.ums.add_device()
    async with site.bridge(branch={"page_size": 2}, hq_voip={"page_size": 2}) as bridge:
        await bridge.settle()
        known = (await bridge.devices()).keys()
        for each in (site.ums, site.gateways):
            each.fault_injector.inject("drift")
        for _ in range(4):
            await bridge.refresh()
        assert (await bridge.devices()).keys() >= known
        for each in (site.ums, site.gateways):
            each.fault_injector.clear()
        await bridge.refresh()
        assert (await bridge.devices()).keys() >= known


async def test_other_order_of_devices_changes_nothing(site: Site, bridge: RunningBridge) -> None:
    before = await bridge.devices()
    await bridge.refresh()
    described = len(bridge.seen.all("homeassistant/#"))
    for fleet in (site.ums.devices, site.gateways.gateways):
        for key in sorted(fleet, reverse=True):
            fleet[key] = fleet.pop(key)  # type: ignore[assignment]
    await bridge.refresh()
    assert (await bridge.devices()).keys() == before.keys()
    site.gateways.add_gateway("MARKER", "what is described now comes behind")
    await bridge.refresh()
    await bridge.seen.wait(lambda message: message.topic.endswith("fleet2mqtt_branch_marker/config"))
    again = [message.topic for message in bridge.seen.all("homeassistant/#")[described:]]
    assert [topic for topic in again if "marker" not in topic and topic.count("branch_mapping") == 0] == []


async def test_locked_account_over_restarts_is_one_state_with_few_calls(site: Site) -> None:
    for each in (site.ums, site.gateways):
        each.fault_injector.inject("status", status=401)
    every = {"scan_interval": {"devices": 0.1}}
    for _ in range(3):
        site.gateways.fault_injector.calls.clear()
        async with site.bridge(branch=every, hq_voip=None) as bridge:
            await bridge.is_available("branch", "offline")
            said = await bridge.seen.wait(
                lambda m: m.topic.endswith("backend/branch/health") and (m.json["error"] or {}).get("class") == "denied"
            )
            assert said.json["next_try"] is not None
            await asyncio.gather(*(bridge.ask("health") for _ in range(20)))
            assert len(site.gateways.fault_injector.calls) <= len(said.json["sources"]) + 1
            await wait_until(lambda: [line for line in bridge.warnings() if "fails" in line], "a word")
            assert len([line for line in bridge.warnings() if line.startswith("branch:") and "fails" in line]) == 1
    site.gateways.fault_injector.clear()
    async with site.bridge(branch=every, hq_voip=None) as bridge:
        await bridge.is_available("branch", "online")


async def test_names_that_change_keep_their_topics(site: Site, bridge: RunningBridge) -> None:
    topics = set(await retained(site.broker, "fleet2mqtt/device/#"))
    site.ums.rename(MAC, "💥" * 2_000)
    site.gateways.set_base(SN, alias="a/+/#")
    await bridge.refresh()
    assert (await bridge.devices())[GATEWAY]["name"] == "a/+/#"
    assert set(await retained(site.broker, "fleet2mqtt/device/#")) >= topics
    assert bridge.seen.latest(state_topic(VOIP)) is not None
