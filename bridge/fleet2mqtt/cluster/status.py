"""The commands about a cluster that is running, and what `fleet2mqtt check` tries of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from psycopg import AsyncConnection

from fleet2mqtt.cluster.membership import Membership, NodeRecord
from fleet2mqtt.config.models import ClusterConfig
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox.postgres.migrations import migrate
from fleet2mqtt.outbox.postgres.session import Session

MAX_SKEW = 5.0
"""Seconds between this machine's clock and the database's, above which alarms' times would mislead."""


@asynccontextmanager
async def open_session(cluster: ClusterConfig) -> AsyncIterator[Session]:
    """Connect to the database of a cluster, bringing its schema to the newest version."""
    session = Session(
        cluster.dsn.reveal(), "command", parameters={"synchronous_commit": "on"}, prepare=migrate, timeout=10.0
    )
    try:
        yield session
    finally:
        await session.close()


async def nodes(cluster: ClusterConfig) -> list[NodeRecord]:
    """Return the nodes. Raises OutboxError."""
    async with open_session(cluster) as session:
        return await _membership(cluster, session).nodes()


async def drain(cluster: ClusterConfig, node: str) -> bool:
    """Have a node hand over what it owns; return False if there is none of this name. Raises OutboxError."""
    async with open_session(cluster) as session:
        return await _membership(cluster, session).drain(node)


def lines(records: Iterable[NodeRecord]) -> list[str]:
    """Return a line for each node."""
    records = list(records)
    width = max((len(each.name) for each in records), default=0)
    found = []
    for each in records:
        states = [each.state, *(["draining"] if each.draining else [])]
        owned = f"owns {', '.join(each.units)}" if each.units else "owns nothing"
        parts = (
            f"{owned}; version {each.version}, configuration {each.config_digest}, last heartbeat {each.age:.0f} s ago"
        )
        found.append(f"{each.name:{width}}  {', '.join(states)}; {parts}")
    return found


async def check(cluster: ClusterConfig) -> list[tuple[str, str | None]]:
    """Try the database: return what was tried, each with its problem or None. Raises OutboxError."""

    async def work(connection: AsyncConnection) -> str:
        row = await (await connection.execute("SHOW synchronous_standby_names")).fetchone()
        return str(row[0]) if row else ""

    async with open_session(cluster) as session:
        clocks = await compare_clocks(session)
        durability = None
        if cluster.require_replication:
            standbys = await session.run(work)
            durability = await _durability_problem(session, standbys)
    return [("cluster, database durability", durability), ("cluster, clocks", clocks)]


async def compare_clocks(session: Session) -> str | None:
    """Return what is wrong if this machine's clock and the database's differ. Raises OutboxError."""

    async def work(connection: AsyncConnection) -> float:
        cursor = await connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - it has no FROM
        return float(row[0])

    before = datetime.now(UTC).timestamp()
    clock = await session.run(work)
    after = datetime.now(UTC).timestamp()
    skew = max(clock - after, before - clock, 0.0)
    if skew <= MAX_SKEW:
        return None
    return f"this machine's clock and the database's differ by {skew:.0f} s: set both (NTP)"


async def _durability_problem(session: Session, standbys: str) -> str | None:
    if not standbys:
        return (
            "synchronous_standby_names is empty, so an acknowledged alarm would be lost with the primary; set it, or "
            "cluster.require_replication: false"
        )
    if (problem := await _commit_problem(session)) is not None:
        return (
            f"no standby of synchronous_standby_names ({standbys}) confirms a commit, so nothing can be stored: is one "
            f"connected? ({problem})"
        )
    return None


async def _commit_problem(session: Session) -> str | None:
    """Return why a standby does not confirm a commit, which changes nothing; None if it does."""

    async def work(connection: AsyncConnection) -> None:
        await connection.execute("UPDATE level SET seq = seq")

    try:
        await session.run(work)
    except OutboxError as error:
        return str(error)
    return None


def _membership(cluster: ClusterConfig, session: Session) -> Membership:
    return Membership(session, session, node=cluster.node, ttl=cluster.ttl, version="", config_digest="")
