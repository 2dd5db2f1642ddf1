"""Fixtures for the tests of what only the PostgreSQL engine has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.postgres import Servers


@pytest.fixture
def dsn(servers: Servers) -> str:
    """An empty database whose servers stay as they are."""
    return servers.empty_database()
