"""A restart: keys keep their restored values until the source that owns them has answered."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.storage.inventory_file import Snapshot, load, save
from tests.platforms.sangfor_ac.connected import GROUP, NAME, PAIR, USER, WATCH, Refusals, simulated

if TYPE_CHECKING:
    from pathlib import Path

    from tests.platforms.context import Run

FILE = "inventory.json"


class Restarted:
    """A registry that was restored from the inventory file of a run that polled everything."""

    def __init__(self, folder: Path) -> None:
        self.registry = Registry(time.monotonic, lambda _: ())
        self.registry.restore(load(folder / FILE).devices, {}, {})
        self.before = {id_: dict(device.state) for id_, device in self.registry.devices.items()}

    async def poll(self, run: Run, *sources: str) -> None:
        for update in await run.poll(*sources):
            self.registry.accept(update, "now", settled=False)

    def state(self, device: str) -> dict[str, object]:
        return dict(self.registry.devices[device].state)


@pytest.fixture
async def assignments(tmp_path: Path) -> dict[str, str]:
    """Return the id assignments of a run whose devices are in the inventory file."""
    shared: dict[str, str] = {}
    async with simulated(watch=WATCH, assignments=shared) as (_, run):
        await run.poll()
        devices = tuple(replace(device, record=None) for device in run.devices.values())
    save(tmp_path / FILE, Snapshot(devices=devices))
    return shared


async def test_restored_values_source_has_not_answered_stay(tmp_path: Path, assignments: dict[str, str]) -> None:
    """Defect 1.1."""
    restarted = Restarted(tmp_path)
    async with simulated(watch=WATCH, assignments=assignments) as (simulator, run):
        simulator.users["a"]["enable"] = False
        await restarted.poll(run, "status")
        libraries = {key: value for key, value in restarted.before[NAME].items() if key.startswith("library_")}
        assert len(libraries) == 30
        assert libraries.items() <= restarted.state(NAME).items()
        await restarted.poll(run, "online_users")
        assert restarted.state(USER)["enable"] == "ON"
        await restarted.poll(run, "users")
        assert restarted.state(USER)["enable"] == "OFF"
        await restarted.poll(run, "groups")
        assert restarted.state(GROUP) == restarted.before[GROUP]


async def test_restored_figure_call_fails_stays(tmp_path: Path, assignments: dict[str, str]) -> None:
    """Defect 1.1: the status source answers, one of its calls does not."""
    restarted = Restarted(tmp_path)
    async with simulated(watch=WATCH, assignments=assignments) as (simulator, run):
        simulator.fault_injector.inject("error", "/v1/status/cpu-usage", times=2)
        for _ in range(2):
            await restarted.poll(run, "status")
            assert restarted.state(NAME)["cpu_usage"] == 12
        simulator.status["cpu-usage"] = 13
        await restarted.poll(run, "status")
        assert restarted.state(NAME)["cpu_usage"] == 13


async def test_restored_switch_detached_after_policies_is_off(tmp_path: Path, assignments: dict[str, str]) -> None:
    """Defect 1.1."""
    restarted = Restarted(tmp_path)
    async with simulated(watch=WATCH, assignments=assignments) as (simulator, run):
        simulator.group_policies["/hello"] = []
        await restarted.poll(run, "groups", "policies")
        assert restarted.state(GROUP)["netpolicy_policy1"] == "OFF"


async def test_restored_pair_first_call_answers_stays(tmp_path: Path, assignments: dict[str, str]) -> None:
    """Defect 1.1."""
    restarted = Restarted(tmp_path)
    async with simulated(watch=WATCH, assignments=assignments) as (simulator, run):
        simulator.fault_injector.inject("error", "/v1/ipmac-bindinfo", times=1)
        with pytest.raises(Exception, match="Unknow error"):
            await restarted.poll(run, "status", "bindings")
        async for update in run.source("bindings").poll():
            restarted.registry.accept(update, "now", settled=False)
        assert restarted.state(PAIR)["mac"] == "11-11-11-11-11-11"


async def test_restored_group_read_fails_stays(tmp_path: Path, assignments: dict[str, str]) -> None:
    """Defect 1.1."""
    restarted = Restarted(tmp_path)
    refusals = Refusals({"/hello": 503})
    watch = WATCH | {"groups": ["/hello", "/default"]}
    async with simulated(watch=watch, assignments=assignments, refusals=refusals) as (_, run):
        await restarted.poll(run, "status", "policies", "groups")
        assert restarted.state(GROUP) == restarted.before[GROUP]
