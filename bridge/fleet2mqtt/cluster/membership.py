"""Membership: this node's row in the database, its lease, and which node owns which unit.

The database's clock decides when a lease has expired. Locally a lease lasts from before the renewal was sent, by a
clock that goes on while the machine sleeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NoReturn

import orjson
from psycopg import AsyncConnection

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.errors import ConfigError, LeaseLost, OutboxError
from fleet2mqtt.outbox.postgres.session import Session

_LOG = logging.getLogger(__name__)

BRIDGE_UNIT = "bridge"
"""The unit that reports about the bridge as a whole; the others are called as their backends."""
HEARTBEATS = 5
"""Renewals of a lease in the time for which one is valid."""
TWIN_LEASES = 3.0
"""Leases that a node waits for one of its name to end, before it takes that for another one that runs."""


def boot_time() -> float:
    """Return the seconds since the machine was started, its sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class NodeState(StrEnum):
    """States of a node: `left` is one that ended in order, `dead` one whose lease expired."""

    ALIVE = "alive"
    DEAD = "dead"
    LEFT = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """A node as the database has it, with the units that it owns. `age` is seconds since its last heartbeat."""

    name: str
    state: str
    draining: bool
    version: str
    config_digest: str
    age: float
    units: tuple[str, ...]
    health: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRecord:
    """A unit as the database has it, with the node that is to own it. `figures` are what its owner reports."""

    name: str
    owner: str | None
    epoch: int
    wanted: str | None
    weight: float
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lease:
    """The right to run a unit. `gap` is seconds since the last heartbeat of the owner before, None without one."""

    unit: str
    epoch: int
    gap: float | None
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once another node may own the unit."""


class Membership:
    """This node among the others. `run` sends heartbeats; `claim` and `release` change who owns the unit."""

    def __init__(  # noqa: PLR0913 - what a node is known by
        self,
        heartbeats: Session,
        session: Session,
        *,
        node: str,
        ttl: float,
        version: str,
        config_digest: str,
        health: Callable[[], Mapping[str, Any]] = dict,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        """`heartbeats` renews the lease and waits for no standby; `session` does everything else."""
        self._heartbeats = heartbeats
        self._session = session
        self._node = node
        self._ttl = ttl
        self._version = version
        self.config_digest = config_digest
        """Hash of the configuration that this node has, which the next heartbeat stores."""
        self._health = health
        self._clock = clock
        self._incarnation = secrets.token_hex(8)
        self.leases: dict[str, Lease] = {}
        """Leases of the units that this node owns, by unit."""
        self._expires = 0.0
        self._steady_since: float | None = None
        """Since when each renewal came before the lease expired, None while it has expired."""
        self.draining = False
        """True once an operator wants this node to own nothing."""
        self.lost = asyncio.Event()
        """Set once this node was taken for dead, and has to join again."""
        self.changed = asyncio.Event()
        """Set when who owns which unit may have changed."""

    @property
    def is_valid(self) -> bool:
        """True while the lease is known not to have expired."""
        return self._clock() < self._expires

    async def join(self) -> None:
        """Add this node, after the lease of a predecessor of its name has ended.

        Raises ConfigError if another node of this name goes on, OutboxError without the database.
        """
        deadline = self._clock() + TWIN_LEASES * self._ttl
        announced = False
        while not await self._try_to_join():
            if not announced:
                _LOG.info("node %s waits for the lease of its predecessor to expire", self._node)
                announced = True
            if self._clock() > deadline:
                message = f"cluster.node: another node is called {self._node} and is running; give each its own name"
                raise ConfigError([message])
            await asyncio.sleep(self._ttl / HEARTBEATS)
        self.lost.clear()

    async def _try_to_join(self) -> bool:
        self._incarnation = secrets.token_hex(8)

        async def work(connection: AsyncConnection) -> tuple[bool, float]:
            before = self._clock()
            cursor = await connection.execute(_JOIN, self._parameters())
            return await cursor.fetchone() is not None, before

        joined, before = await self._session.run(work)
        if joined:
            self._lose_all()
            self.draining = False
            self._expires, self._steady_since = before + self._ttl, before
        return joined

    async def run(self) -> None:
        """Renew the lease until cancelled or lost; `lost` is set then."""
        while not self.lost.is_set():
            with contextlib.suppress(OutboxError, LeaseLost):  # both are logged; without renewals the lease expires
                await self.renew()
            await asyncio.sleep(self._ttl / HEARTBEATS)

    async def renew(self) -> None:
        """Renew the lease, and learn which units this node still owns. Raises OutboxError, LeaseLost."""

        async def work(connection: AsyncConnection) -> tuple[tuple[Any, ...] | None, float]:
            before = self._clock()
            cursor = await connection.execute(_RENEW, self._parameters())
            return await cursor.fetchone(), before

        leases = dict(self.leases)
        row, before = await self._heartbeats.run(work)
        if row is None:
            self._end(f"node {self._node} was taken for dead")
        draining, owned = row
        if before > self._expires:
            self._steady_since = before
        self._expires = max(self._expires, before + self._ttl)
        if draining != self.draining:
            self.draining = draining
            self.changed.set()
        epochs = orjson.loads(owned)
        for unit, lease in leases.items():
            if self.leases.get(unit) is lease and epochs.get(unit) != lease.epoch:
                _LOG.warning("the lease of unit %s is lost: another node has taken it over", unit)
                self._lose(lease)

    async def confirm_lease(self, lease: Lease) -> None:
        """Wait until the lease of a unit is renewed in the database. Raises LeaseLost if another node has it."""
        while True:
            try:
                await self.renew()
            except OutboxError:
                await asyncio.sleep(self._ttl / HEARTBEATS / 4)
            else:
                if lease.lost.is_set():
                    raise LeaseLost(f"unit {lease.unit} is not this node's")
                return

    def _lose(self, lease: Lease) -> None:
        self.leases.pop(lease.unit, None)
        lease.lost.set()
        self.changed.set()

    def _lose_all(self) -> None:
        for lease in tuple(self.leases.values()):
            self._lose(lease)

    def _end(self, reason: str) -> NoReturn:
        if not self.lost.is_set():
            _LOG.warning("the lease is lost: %s", reason)
        self._lose_all()
        self._expires = 0.0
        self._steady_since = None
        self.lost.set()
        self.changed.set()
        raise LeaseLost(reason)

    async def mark_dead(self) -> None:
        """Take nodes whose lease has expired for dead, and their units from them. Raises OutboxError.

        After an outage of the database all leases have expired: who has not renewed its own for a whole lease, up to
        now, does not judge others.
        """
        if not self.is_valid or self._steady_since is None or self._clock() - self._steady_since < self._ttl:
            return
        rows = await self._rows(_BURY, {"node": self._node})
        for (name,) in rows:
            _LOG.warning("node %s has sent no heartbeat for %g s: taken for dead", name, self._ttl)

    async def claim(self, unit: str) -> Lease | None:
        """Own a unit that no node owns and this one is to; return the lease, None without. Raises OutboxError."""
        rows = await self._rows(_CLAIM, {**self._parameters(), "unit": unit, "bridge": BRIDGE_UNIT})
        if not rows:
            return None
        ((epoch, gap),) = rows
        lease = self.leases[unit] = Lease(unit=unit, epoch=epoch, gap=gap)
        _LOG.info("node %s owns unit %s now (epoch %d)", self._node, unit, epoch)
        return lease

    async def release(self, lease: Lease) -> None:
        """Give a unit up, if this node owns it. Raises OutboxError."""
        if self.leases.get(lease.unit) is lease:
            del self.leases[lease.unit]
            await self._rows(_RELEASE, {"node": self._node, "unit": lease.unit, "epoch": lease.epoch})

    async def add_units(self, units: Iterable[str]) -> None:
        """Have units of these names, besides those that there are. Raises OutboxError."""
        await self._rows(_ADD_UNITS, {"names": list(units)})

    async def remove_unit(self, lease: Lease) -> None:
        """Have no unit any longer of which this node has the lease, nor its documents. Raises OutboxError."""
        self.leases.pop(lease.unit, None)
        await self._rows(_REMOVE_UNIT, {"unit": lease.unit, "epoch": lease.epoch})

    async def assign(self, lease: Lease, wanted: Mapping[str, str]) -> None:
        """Store which node is to own which unit, as the owner of the bridge unit. Raises OutboxError."""
        parameters = {"unit": lease.unit, "epoch": lease.epoch}
        await self._rows(_ASSIGN, parameters | {"names": list(wanted), "nodes": list(wanted.values())})

    async def report(self, lease: Lease, weight: float, figures: Mapping[str, Any]) -> None:
        """Store the weight of a unit, and what its owner reports about it. Raises OutboxError."""
        parameters = {"unit": lease.unit, "epoch": lease.epoch, "weight": weight}
        await self._rows(_REPORT, parameters | {"figures": orjson.dumps(dict(figures)).decode()})

    async def leave(self) -> bool:
        """End this node; return True if no other node is alive. Raises OutboxError."""
        for lease in tuple(self.leases.values()):
            await self.release(lease)
        await self._rows(_LEAVE, self._parameters())
        # After that is committed: of nodes that leave at the same time one at least finds that the others have.
        return await self.is_last()

    async def drain(self, node: str) -> bool:
        """Mark a node that is to own nothing; return False if there is none of this name. Raises OutboxError."""
        return bool(await self._rows(_DRAIN, {"drained": node}))

    async def is_last(self) -> bool:
        """Return True if no other node has a valid lease. Raises OutboxError."""
        return not (await self._rows(_ANY_OTHER, self._parameters()))[0][0]

    async def nodes(self) -> list[NodeRecord]:
        """Return all nodes, by name. Raises OutboxError."""
        return [
            NodeRecord(
                name=name,
                state=state,
                draining=draining,
                version=version,
                config_digest=digest,
                age=age,
                units=tuple(units),
                health=orjson.loads(health),
            )
            for name, state, draining, version, digest, age, units, health in await self._rows(_NODES, {})
        ]

    async def units(self) -> list[UnitRecord]:
        """Return all units, by name. Raises OutboxError."""
        return [
            UnitRecord(name=name, owner=owner, epoch=epoch, wanted=wanted, weight=weight, figures=orjson.loads(figures))
            for name, owner, epoch, wanted, weight, figures in await self._rows(_UNITS, {})
        ]

    async def wait_for_change(self) -> None:
        """Wait until who owns which unit may have changed, a second at most."""
        await wait_for_event(self.changed, min(1.0, self._ttl / HEARTBEATS))
        self.changed.clear()

    def _parameters(self) -> dict[str, Any]:
        return {
            "node": self._node,
            "incarnation": self._incarnation,
            "ttl": self._ttl,
            "version": self._version,
            "digest": self.config_digest,
            "health": orjson.dumps(dict(self._health())).decode(),
        }

    async def _rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        async def work(connection: AsyncConnection) -> list[tuple[Any, ...]]:
            return await (await connection.execute(statement.encode(), parameters)).fetchall()

        return await self._session.run(work)


_SECONDS = "interval '1 second'"
# A node of this name whose lease is valid runs, or has just died. What the one before owned is nobody's.
_JOIN = f"""
WITH joined AS (
    INSERT INTO node AS n (name, incarnation, state, seen, expires, version, config_digest, health)
    VALUES (%(node)s, %(incarnation)s, 'alive', clock_timestamp(), clock_timestamp() + %(ttl)s * {_SECONDS},
        %(version)s, %(digest)s, %(health)s)
    ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, state = 'alive', seen = excluded.seen,
        expires = excluded.expires, version = excluded.version, config_digest = excluded.config_digest,
        health = excluded.health, draining = false
    WHERE n.state <> 'alive' OR n.expires < clock_timestamp()
    RETURNING name
),
freed AS (
    UPDATE unit SET owner = NULL, wanted = NULL, epoch = epoch + 1, left_at = coalesce(left_at, clock_timestamp())
    FROM joined WHERE unit.owner = joined.name
)
SELECT name FROM joined
"""  # noqa: S608 - constants of this module
_RENEW = f"""
UPDATE node SET seen = clock_timestamp(), expires = clock_timestamp() + %(ttl)s * {_SECONDS}, health = %(health)s,
    config_digest = %(digest)s
WHERE name = %(node)s AND incarnation = %(incarnation)s AND state = 'alive'
RETURNING draining, coalesce(
    (SELECT json_object_agg(unit.name, unit.epoch)::text FROM unit WHERE unit.owner = node.name), '{{}}'
)
"""  # noqa: S608
_BURY = """
WITH dead AS (
    UPDATE node SET state = 'dead' WHERE state = 'alive' AND expires < clock_timestamp() AND name <> %(node)s
    RETURNING name, seen
),
freed AS (
    UPDATE unit SET wanted = NULL, owner = nullif(owner, dead.name),
        epoch = CASE WHEN owner = dead.name THEN epoch + 1 ELSE epoch END,
        left_at = CASE WHEN owner = dead.name THEN dead.seen ELSE left_at END
    FROM dead WHERE unit.owner = dead.name OR unit.wanted = dead.name
)
SELECT name FROM dead
"""
# The bridge unit, whose owner says which node is to own which unit, is taken by whoever comes first; by a node that is
# to be drained only if there is no other. One that owns a unit already, without knowing, did not get the answer to its
# first attempt.
_CLAIM = """
UPDATE unit SET owner = %(node)s, epoch = epoch + 1, wanted = %(node)s
WHERE name = %(unit)s AND (owner IS NULL OR owner = %(node)s)
AND (coalesce(wanted, %(node)s) = %(node)s AND name = %(bridge)s OR wanted = %(node)s) AND EXISTS (
    SELECT FROM node WHERE name = %(node)s AND incarnation = %(incarnation)s AND state = 'alive'
    AND expires > clock_timestamp() AND (NOT draining OR NOT EXISTS (
        SELECT FROM node WHERE state = 'alive' AND NOT draining AND expires > clock_timestamp()
    ))
)
RETURNING epoch, extract(epoch FROM clock_timestamp() - left_at)::float8
"""
# Where another node is to own it that one is left to take it.
_RELEASE = """
WITH released AS (
    UPDATE unit SET owner = NULL, epoch = epoch + 1, left_at = clock_timestamp(), wanted = nullif(wanted, %(node)s)
    WHERE name = %(unit)s AND owner = %(node)s AND epoch = %(epoch)s RETURNING name
)
SELECT pg_notify('fleet2mqtt_cluster', name) FROM released
"""
_ADD_UNITS = """
INSERT INTO unit (name) SELECT name FROM unnest(%(names)s::text[]) AS t (name) ON CONFLICT DO NOTHING RETURNING name
"""
_REMOVE_UNIT = """
WITH gone AS (DELETE FROM unit WHERE name = %(unit)s AND epoch = %(epoch)s RETURNING name),
documents AS (DELETE FROM document USING gone WHERE document.unit = gone.name)
SELECT name FROM gone
"""
_ASSIGN = """
WITH assigned AS (
    UPDATE unit SET wanted = t.node FROM unnest(%(names)s::text[], %(nodes)s::text[]) AS t (name, node)
    WHERE unit.name = t.name AND EXISTS (SELECT FROM unit WHERE name = %(unit)s AND epoch = %(epoch)s)
    RETURNING unit.name
)
SELECT pg_notify('fleet2mqtt_cluster', '') FROM assigned
"""
_REPORT = """
UPDATE unit SET weight = %(weight)s, figures = %(figures)s WHERE name = %(unit)s AND epoch = %(epoch)s RETURNING name
"""
_UNITS = "SELECT name, owner, epoch, wanted, weight, figures FROM unit ORDER BY name"
_LEAVE = """
WITH ended AS (
    UPDATE node SET state = 'left', expires = clock_timestamp()
    WHERE name = %(node)s AND incarnation = %(incarnation)s RETURNING name
),
freed AS (UPDATE unit SET wanted = NULL FROM ended WHERE unit.wanted = ended.name)
SELECT name FROM ended
"""
_ANY_OTHER = (
    "SELECT EXISTS (SELECT FROM node WHERE name <> %(node)s AND state = 'alive' AND expires > clock_timestamp())"
)
_DRAIN = """
WITH drained AS (UPDATE node SET draining = true WHERE name = %(drained)s RETURNING name)
SELECT pg_notify('fleet2mqtt_cluster', name) FROM drained
"""
_NODES = """
SELECT node.name, state, draining, version, config_digest, extract(epoch FROM clock_timestamp() - seen)::float8,
    ARRAY(SELECT unit.name FROM unit WHERE unit.owner = node.name ORDER BY unit.name), health
FROM node ORDER BY node.name
"""
