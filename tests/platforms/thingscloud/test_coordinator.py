"""Sweeps over the devices: order, rate and errors; reading one device."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.devices.model import Update, UpdateOrigin
from fleet2mqtt.errors import Ambiguous, AuthenticationError, InvalidResponse, RateLimited, Rejected
from fleet2mqtt.sdk.rate_limiter import command_priority
from tests.platforms.context import Shared
from tests.platforms.thingscloud.connected import DEVICE, FIRST, NAME, OTHER, SECOND, calls, connected, simulated
from tests.platforms.thingscloud.project import Project, attribute, running
from tests.sample_devices import area


async def test_read_returns_values_and_groups() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices", "attributes")
        simulator.set_online(FIRST, online=False)
        simulator.report(FIRST, {"temperature": 31.5}, push=False)
        simulator.change(FIRST, groups=[list(simulator.groups)[3]])
        await run.poll("meta")
        device = await run.read(DEVICE)
        assert (device.state["temperature"], area(device)) == (31.5, "分公司")
        assert run.updates[-1].origin is UpdateOrigin.COMMAND
        simulator.remove_device(FIRST)
        with pytest.raises(Rejected):
            await run.backend.read(device)


async def test_read_of_the_backend_returns_totals() -> None:
    async with simulated() as (simulator, run):
        await run.poll("stat")
        simulator.set_online(FIRST, online=False)
        assert (await run.read(NAME)).state["online_device_total"] == 1


async def test_older_data_is_ignored() -> None:
    project = Project(attributes=[attribute("a", 1)])
    async with running(project) as run:
        await run.poll("devices", "attributes")
        store = run.backend.client.store
        run.push("attributes", {"device": {"id": FIRST}, "attributes": {"a": 2}})
        assert store.apply_values(FIRST, {"a": 1}, 0.0).state["a"] == 2
        assert store.apply_device({"id": FIRST, "name": "old"}, 0.0).name == "甲"


async def test_sweep_reads_devices_with_new_values_first() -> None:
    async with simulated(devices=6) as (simulator, run):
        await run.poll("devices", "attributes")
        order = list(simulator.devices)
        fourth = list(simulator.devices)[3]
        simulator.report(fourth, {"temperature": 31}, push=False)
        await run.poll("devices")
        simulator.fault_injector.calls.clear()
        run.backend.client.store.request_values(order[0])
        await run.poll("attributes")
        raw = [call.path.split("/")[4] for call in simulator.fault_injector.calls]
        assert raw == [order[0], fourth]


async def test_failing_device_is_skipped() -> None:
    async with simulated(devices=4) as (simulator, run):
        simulator.fault_injector.inject("error", f"*/{FIRST}/attributes", code=500, text="内部错误")
        simulator.fault_injector.inject("malformed", f"*/{SECOND}/extend_infos")
        await run.poll("devices", "attributes", "schema")
        assert "temperature" in run.state(OTHER)
        assert "temperature" not in run.state()
        simulator.fault_injector.clear()
        simulator.fault_injector.inject("error", "*/attributes_raw")
        simulator.fault_injector.inject("error", f"*/{FIRST}/attributes")
        run.request_values()
        with pytest.raises(Rejected):
            await run.poll("attributes")
        simulator.fault_injector.clear()
        simulator.fault_injector.inject("status", "*/attributes*", status=429)
        with pytest.raises(RateLimited):
            await run.poll("attributes")
        simulator.fault_injector.clear()
        simulator.fault_injector.inject("reset", "*/attributes*")
        with pytest.raises(Ambiguous):
            await run.poll("attributes")


async def test_values_that_are_no_object_are_refused() -> None:
    project = Project(attributes=[attribute("a", 1)])
    async with running(project) as run:
        await run.poll("devices", "attributes")
        for said in (b'{"result": true}', b'{"result": true, "info": [1]}', b'{"result": true, "info": "x"}'):
            project.responses[f"device/{FIRST}/attributes_raw"] = said
            with pytest.raises(InvalidResponse):
                await run.poll("attributes")
        project.responses[f"device/{FIRST}/attributes_raw"] = []  # an empty object, as some write it
        await run.poll("attributes")
        assert run.state()["a"] is None


async def test_concurrent_sources_read_the_list_once() -> None:
    async with simulated(devices=3) as (simulator, run):
        await asyncio.gather(*(run.poll(name) for name in ("attributes", "schema", "alarms")))
        assert len(calls(simulator, "devices")) == 1
        await run.poll("devices")
        assert len(calls(simulator, "devices")) == 2


async def test_command_overtakes_polls_and_no_source_starves() -> None:
    async with simulated(devices=16, rate=50) as (simulator, run):
        simulator.max_rate = 53  # beyond it the vendor refuses; two more than the rate may arrive in one second
        await run.poll("devices")
        polling = asyncio.gather(*(run.poll(name) for name in ("attributes", "schema", "stat", "alarms")))
        with command_priority():
            await run.act("device_command", device_id=FIRST, method="restart")
        await polling
        paths = [call.path.rsplit("/", 1)[-1] for call in simulator.fault_injector.calls]
        assert paths.index("command") <= 4
        # Sixteen devices are asked about their attributes, and the others have had their turn among the first.
        assert max(paths.index(path) for path in ("devices_stat", "alarm_logs")) <= 9
        assert not any(count.failures for count in run.backend.calls.values())


async def test_rate_limit_raises() -> None:
    async with simulated() as (simulator, run):
        simulator.max_rate = 0.01
        with pytest.raises(RateLimited):
            await run.poll("devices")


async def test_read_after_a_refused_login_raises() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices")
        simulator.secret_key = "changed"
        simulator.expire_tokens()
        with pytest.raises(AuthenticationError):
            await run.backend.read(run.devices[DEVICE])


def told(updates: list[Update]) -> list[str]:
    return [device.id for update in updates for device in update.devices]


async def test_each_page_is_yielded_when_read() -> None:
    async with simulated(devices=105) as (_, run):
        updates = await run.poll("devices")
        assert [len(update.devices) for update in updates] == [100, 5, 0]
        assert told(updates) == list(run.devices)


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 403}, {"kind": "reset"}, {"kind": "error", "code": 9}])
async def test_sweep_with_a_failing_device_reads_all_others(fault: dict[str, Any]) -> None:
    """One 503 or 403 starves nobody (faults 2.1)."""
    async with simulated(devices=6) as (simulator, run):
        await run.poll("devices")
        order = list(simulator.devices)
        simulator.fault_injector.inject(**{"kind": "status", "path": f"*/device/{order[2]}/*"} | fault)
        for _ in range(3):
            run.request_values()
            await run.poll("attributes", "schema")
        for vendor_id in order:
            paths = [call.path for call in simulator.fault_injector.calls if f"/device/{vendor_id}/" in call.path]
            assert len([path for path in paths if "/attributes" in path]) >= 3
            assert ("temperature" in run.state(f"{NAME}_{vendor_id}")) is (vendor_id != order[2])
            assert len([path for path in paths if path.endswith("extend_infos")]) >= 3


@pytest.mark.parametrize("part", ["devices_stat", "devices_alarm_stat"])
async def test_failing_total_costs_no_other(part: str) -> None:
    """Parts of the project are isolated as devices are (faults 2.1)."""
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("status", f"*/{part}", status=503)
        await run.poll("stat")
        assert ("normal_total" in run.state(NAME)) is (part == "devices_stat")
        assert ("online_device_total" in run.state(NAME)) is (part != "devices_stat")


async def test_sweep_gives_up_when_several_devices_and_the_list_fail() -> None:
    shared = Shared()
    async with simulated(devices=8, shared=shared) as (simulator, run):
        await run.poll("devices", "attributes")
        shared.primary_fails = True
        simulator.fault_injector.inject("status", "*/attributes_raw", status=503)
        before = len(simulator.fault_injector.calls)
        run.request_values()
        with pytest.raises(RateLimited):
            await run.poll("attributes")
        assert len(simulator.fault_injector.calls) - before == 3
        first = {call.path for call in list(simulator.fault_injector.calls)[before:]}
        with pytest.raises(RateLimited):
            await run.poll("attributes")  # the next one goes on where this one ended
        assert not first & {call.path for call in list(simulator.fault_injector.calls)[before + 3 :]}


async def test_values_of_a_device_missed_by_several_sweeps_are_null() -> None:
    """Old values do not stay on display as if they were read (faults 2.3)."""
    async with simulated() as (simulator, run):
        await run.poll("devices", "attributes", "schema")
        info = next(key for key in run.state() if key.startswith("info_"))
        simulator.fault_injector.inject("status", f"*/device/{FIRST}/attributes*", status=500)
        simulator.fault_injector.inject("status", f"*/device/{FIRST}/extend_infos", status=500)
        for missed in range(1, 4):
            run.request_values()
            await run.poll("attributes", "schema")
            assert (run.state()["temperature"] is None) is (missed == 3)
            assert (run.state()[info] is None) is (missed == 3)
        assert run.state(OTHER)["temperature"] is not None
        assert run.state()["online"] == "ON"
        run.push("attributes", {"device": {"id": FIRST}, "attributes": {"temperature": 30}})
        await run.poll("attributes")
        assert (run.state()["temperature"], run.state()["humidity"]) == (30, None)
        simulator.fault_injector.clear()
        run.request_values()
        await run.poll("attributes", "schema")
        assert run.state()["humidity"] == 56.8
        assert run.state()[info] is not None


async def test_total_missed_by_several_polls_is_null() -> None:
    async with simulated() as (simulator, run):
        await run.poll("stat", "meta")
        for path in ("*/devices_stat", "*/project", "*/customers"):
            simulator.fault_injector.inject("status", path, status=500)
        for missed in range(1, 4):
            await run.poll("stat", "meta")
            state = run.state(NAME)
            unknown = [state.get(key) is None for key in ("device_total", "project", "customers")]
            assert unknown == [missed == 3] * 3
        assert (state["normal_total"], state["types"]) == (1, 3)


@pytest.mark.parametrize("suffix", ["", "/", "/api/v1", "/api/v1/"])
async def test_url_with_or_without_the_documents_path_is_accepted(suffix: str) -> None:
    """The document prints `https://<api-endpoint>/api/v1/…` (faults 4.8)."""
    project = Project()

    async def respond(request: web.Request) -> web.Response:
        raw = await request.read()
        info = project.answer(request, json.loads(raw) if raw else None)
        return web.json_response({"result": True, "info": info or {"access_token": "t"}})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    async with TestServer(app) as server, connected(str(server.make_url("")).rstrip("/") + suffix) as run:
        await run.poll("devices")
        assert set(run.devices) == {DEVICE}
    assert [path for _, path, _ in project.requests] == ["access_token", "devices"]


async def test_configuration_url_is_not_the_api() -> None:
    """No console is at the API's address (faults 5.16)."""
    async with simulated() as (_, run):
        await run.poll()
        assert run.backend.configuration_url is None
        assert {device.configuration_url for device in run.devices.values()} == {None}
        assert {device.manufacturer for device in run.devices.values()} == {"ThingsCloud"}
        assert run.entity("alarm_2_total", NAME).name.zh == "严重告警设备数"  # the document's word
