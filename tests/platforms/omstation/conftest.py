"""What the tests of the simulator share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.platforms.omstation.simulated import Omstation, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def omstation() -> AsyncIterator[Omstation]:
    """A simulator with the document's own data, and a client that has logged in."""
    async with running() as started:
        yield started
