"""Pushes of the UMS: what they change, what is refused, and the responses."""

from __future__ import annotations

import time

import pytest

from fleet2mqtt.devices.model import Device, UpdateOrigin
from fleet2mqtt.errors import InvalidResponse
from tests.platforms.ums.connected import NAME, simulated

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


async def test_push_of_unlisted_gateway_adds_it() -> None:
    async with simulated() as (_, run):
        run.push("device", {"device_mac": "00:0e:a9:00:00:07", "connection_status": "online"})
        gateway = run.devices[f"{NAME}_000ea9000007"]
        assert (gateway.vendor_id, gateway.name) == ("000EA9000007", "000EA9000007")
        assert gateway.state["connection_status"] == "ON"
        assert gateway.state.keys() == {"connection_status"}


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
