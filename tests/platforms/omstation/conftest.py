"""Fixtures of the platform's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.platforms.omstation.connected import Shared
from tests.platforms.omstation.simulated import Omstation, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def omstation() -> AsyncIterator[Omstation]:
    """A simulator with the document's own data, and a client that has logged in."""
    async with running() as started:
        yield started


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    """Return what survives a restart, in a directory of this test."""
    return Shared(tmp_path)
