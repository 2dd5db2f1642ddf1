"""Fixtures of the simulator's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.platforms.thingscloud.simulated import Cloud, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    """A simulator with the document's own data, and a client with a token."""
    async with running() as started:
        yield started
