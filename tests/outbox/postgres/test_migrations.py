"""Opening a database: its schema, privileges, replication; and nodes of two versions side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox.postgres import migrations, open_database
from fleet2mqtt.outbox.postgres.migrations import MIGRATIONS, Migration
from tests.sample_alarms import add, ids

if TYPE_CHECKING:
    from tests.postgres import Servers

NEWER = (*MIGRATIONS, Migration(statements="ALTER TABLE event ADD COLUMN site text NOT NULL DEFAULT ''", oldest=1))
NOW, BREAKS = len(MIGRATIONS), len(NEWER) + 1
BREAKING = (*NEWER, Migration(statements="ALTER TABLE event DROP COLUMN nonce CASCADE", oldest=BREAKS))


@pytest.fixture
def new_dsn(servers: Servers) -> str:
    """A database of the test's own, in which there is nothing."""
    return servers.create_database()


async def migrate(dsn: str, steps: tuple[Migration, ...]) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(f"SET search_path = {migrations.SCHEMA}".encode())
        await migrations.migrate(connection, steps)


async def test_old_and_new_nodes_work_side_by_side(new_dsn: str) -> None:
    async with open_database(new_dsn, deadline=60) as old_node:
        old = await old_node.outbox()
        await add(old, 1)
        await migrate(new_dsn, NEWER)
        await add(old, 2)
        async with open_database(new_dsn, deadline=60) as restarted:
            again = await restarted.outbox()
            await add(again, 3)
            assert ids((await old.history(0, 10))[0]) == ["hq:1", "hq:2", "hq:3"]
            assert len(await again.last()) == 1
        await migrate(new_dsn, BREAKING)
    expected = rf"schema {BREAKS} requires {BREAKS} or newer, this one knows {NOW}\): update this node"
    with pytest.raises(OutboxError, match=expected):
        async with open_database(new_dsn, deadline=60):
            pass


async def test_foreign_database_is_refused(new_dsn: str, servers: Servers) -> None:
    name = new_dsn.rpartition("=")[2]
    servers.primary.execute("CREATE SCHEMA fleet2mqtt", database=name)
    servers.primary.execute("CREATE TABLE fleet2mqtt.event (n int)", database=name)
    with pytest.raises(OutboxError, match=f"database {name}: its schema fleet2mqtt is not one of fleet2mqtt"):
        async with open_database(new_dsn, deadline=60):
            pass


async def test_role_without_privileges_is_named(new_dsn: str, servers: Servers) -> None:
    servers.primary.execute("CREATE ROLE visitor LOGIN")
    try:
        with pytest.raises(OutboxError, match=r"role visitor lacks a privilege: .*GRANT CREATE ON DATABASE"):
            async with open_database(f"{new_dsn} user=visitor", deadline=60):
                pass
    finally:
        servers.primary.execute("DROP ROLE visitor")


async def test_primary_without_synchronous_standby_is_refused(dsn: str, servers: Servers) -> None:
    servers.require(0)
    try:
        with pytest.raises(OutboxError, match="synchronous_standby_names is empty"):
            async with open_database(dsn, deadline=60):
                pass
        async with open_database(dsn, deadline=60, require_replication=False) as database:
            await add(await database.outbox(), 1)
            assert database.durability == "local"
    finally:
        servers.require(1)


async def test_alarms_are_refused_once_no_standby_is_required(dsn: str, servers: Servers) -> None:
    async with open_database(dsn, deadline=60) as database:
        outbox = await database.outbox()
        await add(outbox, 1)
        assert database.durability == "replicated"
        servers.require(0)
        try:
            for write in (add(outbox, 2), outbox.save_checkpoint("hq", "d", "1")):
                with pytest.raises(OutboxError, match="no synchronous standby"):
                    await write
            assert ids((await outbox.history(0, 10))[0]) == ["hq:1"]
        finally:
            servers.require(1)


@pytest.mark.parametrize("dsn", ["host=", "postgresql://user:secret@[", "nonsense"])
async def test_dsn_that_cannot_be_parsed_is_an_error_without_its_secrets(dsn: str) -> None:
    with pytest.raises(OutboxError) as raised:
        async with open_database(dsn, deadline=1):
            pass
    assert "secret" not in str(raised.value)


async def test_unreachable_database_is_an_error(servers: Servers) -> None:
    with pytest.raises(OutboxError, match=r"database: .*refused"):
        async with open_database(f"host=127.0.0.1 port={servers.primary.port + 30_000} dbname=none", deadline=1):
            pass
