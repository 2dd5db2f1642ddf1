"""The backend's own device: totals, types, groups and users of the project."""

from __future__ import annotations

from typing import Any

import pytest

from fleet2mqtt.errors import InvalidResponse, RateLimited, Rejected
from tests.platforms.thingscloud.connected import FIRST, NAME, SECOND, scripted, simulated


async def test_totals_become_entities_of_the_backend() -> None:
    async with simulated(devices=3) as (simulator, run):
        simulator.set_online(FIRST, online=False)
        await run.poll("stat", "meta")
        device = run.devices[NAME]
        assert (device.id, device.scope, device.name, device.model) == (NAME, "backend", NAME, "thingscloud")
        assert device.state == {
            "device_total": 3,
            "online_device_total": 2,
            "offline_device_total": 1,
            "active_device_total": 3,
            "inactive_device_total": 0,
            "alarm_device_total": 1,
            "alarm_1_total": 0,
            "alarm_2_total": 0,
            "alarm_3_total": 1,
            "normal_total": 2,
            "problem": "ON",
            "project": "示范项目",
            "types": 3,
            "groups": 4,
            "customers": 2,
        }
        assert device.attributes["project"] == {"id": simulator.project["id"], "descr": "fleet2mqtt"}
        assert set(device.attributes["types"].values()) == {"环境采集器", "智能开关", "车载定位器"}
        assert set(device.attributes["groups"].values()) == {"总部", "机房", "仓库", "分公司"}
        disabled = {row.key for row in device.entities if not row.enabled}
        assert disabled == {"types", "groups", "customers"}
        simulator.recover(SECOND)
        await run.poll("stat")
        assert run.state(NAME)["problem"] == "OFF"


async def test_users_are_counted_and_nothing_else_is_published() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        told = repr(run.updates)
        for customer in simulator.customers.values():
            for field in ("id", "email", "mobile", "name"):
                assert str(customer[field]) not in told


@pytest.mark.parametrize(
    ("said", "count"),
    [({"items": []}, 0), ({"items": [1, 2], "total": 30}, 30), ({"total": "7"}, 7), ({}, None), ([], None)],
)
async def test_number_of_users_is_the_total_or_the_count(said: Any, count: int | None) -> None:
    def answer(request: Any, _: Any) -> Any:
        path = request.path.removeprefix("/api/v1/")
        return {"customers": said, "access_token": None}.get(path, {"items": []})

    async with scripted(answer) as run:
        await run.poll("meta")
        assert run.state(NAME).get("customers") == count


async def test_failing_part_is_skipped() -> None:
    async with simulated() as (simulator, run):
        for path in ("*/devices_stat", "*/project", "*/customers"):
            simulator.fault_injector.inject("error", path)
        await run.poll("stat", "meta")
        state = run.state(NAME)
        assert (state["normal_total"], state["types"]) == (1, 3)
        assert not {"device_total", "project"} & state.keys()
        assert state["customers"] is None
        simulator.fault_injector.clear()
        simulator.fault_injector.inject("error")
        for source in ("stat", "meta"):
            with pytest.raises(Rejected):
                await run.poll(source)
        simulator.fault_injector.clear()
        simulator.fault_injector.inject("status", status=503)
        with pytest.raises(RateLimited):
            await run.poll("meta")
        simulator.fault_injector.clear()
        simulator.fault_injector.inject("malformed", "*/device_types")
        simulator.fault_injector.inject("garbage", "*/device_groups_tree")
        simulator.fault_injector.inject("garbage", "*/project")
        simulator.fault_injector.inject("garbage", "*/customers")
        with pytest.raises(InvalidResponse):
            await run.poll("meta")
