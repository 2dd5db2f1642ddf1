"""Fixtures of the simulator's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.platforms.smart_gateway.simulated import VendorSystem, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def system() -> AsyncIterator[VendorSystem]:
    """A simulator with the document's own data, and a client of it."""
    async with running() as started:
        yield started
