"""Fixtures for the tests of the outbox: each of its engines, and the PostgreSQL servers of one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.outbox.engines import PostgresStore, SQLiteStore, Store
from tests.postgres import Servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from fleet2mqtt.outbox import Outbox


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """A primary and two standbys, of which one has to confirm each commit. Tests leave them as they are."""
    with Servers() as servers:
        yield servers


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty place for an outbox of each engine."""
    if request.param == "sqlite":
        return SQLiteStore(tmp_path / "data" / "outbox.db")
    servers: Servers = request.getfixturevalue("servers")
    return PostgresStore(servers.empty_database())


@pytest.fixture
async def outbox(store: Store) -> AsyncIterator[Outbox]:
    async with store.open() as outbox:
        yield outbox
