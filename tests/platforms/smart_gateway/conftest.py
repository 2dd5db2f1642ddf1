"""What the tests of the simulator share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.platforms.smart_gateway.simulated import BackEnd, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def back_end() -> AsyncIterator[BackEnd]:
    """A simulator with the document's own data, and a client of it."""
    async with running() as started:
        yield started
