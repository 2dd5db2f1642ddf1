"""Restarts: what was known stays until the source that owns it has answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.storage import inventory_file
from tests.platforms.omstation.connected import NAME, Shared, connected, device_of, simulated, url_of
from tests.platforms.omstation.simulated import COLLECTIONS, LATTICES, STATIONS, path

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.platforms.context import Run


def states(registry: Registry) -> dict[str, dict[str, Any]]:
    return {id_: dict(device.state) for id_, device in registry.devices.items()}


async def poll(registry: Registry, run: Run, names: Iterable[str], *, settled: bool) -> None:
    for name in names:
        for update in await run.poll(name):
            registry.accept(update, "2024-02-28T00:00:00+00:00", settled=settled)


async def restarted(folder: Path, registry: Registry) -> Registry:
    """Return the registry of the next run, restored from disk."""
    file = folder / "inventory.json"
    inventory_file.save(file, inventory_file.Snapshot(devices=tuple(registry.devices.values())))
    again = Registry(time.monotonic, lambda _: ())
    again.restore(inventory_file.load(file).devices, {}, {})
    return again


async def registry_after(run: Run, names: Iterable[str]) -> Registry:
    """Return a registry that has everything of one run."""
    registry = Registry(time.monotonic, lambda _: ())
    await poll(registry, run, names, settled=True)
    return registry


async def test_restored_values_stay_until_their_source_has_answered(tmp_path: Path) -> None:
    """Faults 1.1: the list, which comes first, makes no sum null, nor `problem`."""
    shared = Shared(tmp_path)
    async with simulated(shared=shared) as (simulator, run):
        registry = await registry_after(run, ("stations", "lattices", "authorisations"))
        before = states(registry)
        assert None not in [value for key, value in before[NAME].items() if key != "org_name"]
        registry = await restarted(tmp_path, registry)
        async with connected(url_of(run), shared) as second:
            for name in ("stations", "lattices", "authorisations"):
                await poll(registry, second, (name,), settled=False)
                assert states(registry) == before, name
            await poll(registry, second, ("stations", "lattices", "authorisations"), settled=True)
            assert states(registry) == before
            id_ = next(iter(simulator.stations))
            simulator.change_station(id_, totalCount=None)
            await poll(registry, second, ("stations",), settled=True)
            assert states(registry)[device_of(id_)]["total_count"] is None


async def test_restored_values_stay_while_a_source_fails(tmp_path: Path) -> None:
    """Faults 1.1: a source that fails from the start has not answered."""
    shared = Shared(tmp_path)
    async with simulated(shared=shared) as (simulator, run):
        registry = await registry_after(run, ("stations", "lattices", "authorisations"))
        before = states(registry)
        registry = await restarted(tmp_path, registry)
        simulator.fault_injector.inject("status", path(LATTICES), status=500, times=1)
        simulator.fault_injector.inject("status", path(STATIONS), status=500, times=1)
        simulator.fault_injector.inject("status", path(COLLECTIONS), status=500)
        async with connected(url_of(run), shared) as second:
            for name in ("stations", "authorisations"):
                with pytest.raises(InvalidResponse):
                    await poll(registry, second, (name,), settled=False)
            await poll(registry, second, ("lattices", "stations"), settled=False)
            assert states(registry) == before
