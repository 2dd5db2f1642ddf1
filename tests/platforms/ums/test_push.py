"""Pushes of the UMS: what they change, what is refused, and the responses."""

from __future__ import annotations

import time
from typing import Any

import pytest
from aiohttp import web

from fleet2mqtt.devices.model import Device, Update, UpdateOrigin
from fleet2mqtt.errors import InvalidResponse
from tests.platforms.ums.connected import NAME, Run, scripted, simulated

OM50 = "000EA93D022E"
OM50_ID = f"{NAME}_000ea93d022e"


async def test_pushed_connection_status_is_applied() -> None:
    async with simulated() as (_, run):
        await run.poll("devices")
        update = run.push("device", {"device_mac": OM50, "connection_status": "offline", "shoe_size": 44})
        assert update.origin is UpdateOrigin.PUSH
        gateway = run.devices[OM50_ID]
        assert gateway.state["connection_status"] == "OFF"
        assert gateway.state["device_status"] == "work"
        assert gateway.name == "OM50_130.211"


async def test_list_that_did_not_change_replaces_an_older_push() -> None:
    async with simulated() as (_, run):
        await run.poll("devices")
        listed = run.devices[OM50_ID]
        run.push("device", {"device_mac": OM50, "connection_status": "offline"})
        await run.poll("devices")
        assert run.devices[OM50_ID].state == listed.state


async def test_push_of_unlisted_gateway_adds_it() -> None:
    async with simulated() as (_, run):
        await run.poll("devices")
        run.push("device", {"device_mac": "00:0e:a9:00:00:07", "connection_status": "online"})
        gateway = run.devices[f"{NAME}_000ea9000007"]
        assert (gateway.vendor_id, gateway.name) == ("000EA9000007", "000EA9000007")
        assert gateway.state["connection_status"] == "ON"
        assert gateway.state.keys() == {"connection_status"}


async def test_push_before_the_list_was_read_waits_for_it() -> None:
    """Faults 1.1, 1.7: alone it would turn all that was known before a restart into null."""
    async with simulated() as (_, run):
        assert run.push("device", {"device_mac": OM50, "connection_status": "offline"}).devices == ()
        run.push("device", {"device_mac": "00:0e:a9:00:00:07", "connection_status": "online"})
        await run.poll("devices")
        assert run.devices[OM50_ID].state["connection_status"] == "ON"  # the list was requested later
        assert run.devices[f"{NAME}_000ea9000007"].state["connection_status"] == "ON"


async def test_push_while_the_list_is_read_is_newer_than_its_page() -> None:
    """Faults 1.7: the page was requested before the push."""
    pushed: list[Update] = []

    def answer(_: web.Request) -> dict[str, Any]:
        if not pushed:
            pushed.append(runs[0].push("device", {"device_mac": OM50, "connection_status": "offline"}))
        listed = [{"device_mac": OM50, "connection_status": "online", "tag1": "a"}]
        return {"meta": {"totalResults": 1}, "devices": listed}

    runs: list[Run] = []
    async with scripted(answer) as run:
        runs.append(run)
        await run.poll("devices")
        assert pushed[0].devices == ()
        assert run.devices[OM50_ID].state == {"connection_status": "OFF", "tag1": "a"}


async def test_page_requested_before_a_push_does_not_replace_it() -> None:
    """The list was on its way when the push came; what other sources add later is added to the newer."""
    async with simulated() as (_, run):
        await run.poll("devices")
        store = run.backend.client.store
        requested_at = time.monotonic()
        run.push("device", {"device_mac": OM50, "connection_status": "offline"})
        late: Device = store.apply(OM50, {"device_mac": OM50, "connection_status": "online"}, requested_at)
        assert late.state["connection_status"] == "OFF"
        await run.poll("statistics")
        assert run.devices[OM50_ID].state["connection_status"] == "OFF"


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"{", b"{}", b'{"device_mac": ""}', b'{"device_mac": {}}'])
async def test_push_without_content_is_refused(body: bytes) -> None:
    async with simulated() as (_, run):
        for kind in ("device", "event"):
            with pytest.raises(InvalidResponse):
                run.push(kind, body)


async def test_push_responses_match_the_document() -> None:
    async with simulated() as (_, run):
        for push in run.backend.pushes:
            assert push.success == '{"code":0,"status":"成功"}'.encode()
            assert push.failure("为何") == '{"code":1,"status":"为何"}'.encode()
