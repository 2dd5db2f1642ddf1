"""Fixtures: a simulator, and the platform connected to one, with one of each kind watched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.platforms.sangfor_ac.connected import WATCH, simulated
from tests.platforms.sangfor_ac.simulated import Ac, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fleet2mqtt.simulators.sangfor_ac.app import Simulator
    from tests.platforms.context import Run


@pytest.fixture
async def ac() -> AsyncIterator[Ac]:
    """Return a simulator with the document's own data, and a client that signs."""
    async with running() as started:
        yield started


@pytest.fixture
async def fresh() -> AsyncIterator[tuple[Simulator, Run]]:
    """Return a simulator and a backend that has sent nothing."""
    async with simulated(watch=WATCH) as (simulator, run):
        yield simulator, run


@pytest.fixture
async def polled(fresh: tuple[Simulator, Run]) -> tuple[Simulator, Run]:
    """Return a simulator and a backend whose sources were polled once; the recorded calls are cleared."""
    simulator, run = fresh
    await run.poll()
    simulator.fault_injector.calls.clear()
    return fresh
