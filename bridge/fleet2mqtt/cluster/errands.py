"""Errands: work that the owner of a unit does for another unit, and whose result it returns, over the database.

The bridge unit responds to requests and shows pages about devices and alarms that other units have in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from psycopg import AsyncConnection

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.cluster.membership import Lease
from fleet2mqtt.errors import BridgeError, CommandError, OutboxError
from fleet2mqtt.outbox.postgres.session import Session

_LOG = logging.getLogger(__name__)

CHANNEL = "fleet2mqtt_errand"
LOOK_INTERVAL = 1.0
"""Seconds between two looks for errands and results without a notification."""
TIMEOUT = 60.0
"""Seconds after which nobody does an errand any more that has not begun, and in which one is done."""
_NODE = "node/"
"""Before the name of a node in an errand that is a node's, not a unit's."""

Perform = Callable[[Mapping[str, Any]], Awaitable[Any]]
"""Does the work of an errand and returns its result, which has to be JSON. Raises CommandError."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Worker:
    lease: Lease | None
    """The lease of its unit, None for a node."""
    perform: Perform
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    ended: bool = False
    """True once what it has begun is interrupted."""


class Errands:
    """Errands between the units of all nodes."""

    def __init__(self, session: Session) -> None:
        """`session` waits for no standby: an errand that is lost is one that was not done."""
        self._session = session
        self._workers: dict[str, _Worker] = {}
        self._ended: dict[Lease, _Worker] = {}
        """Workers whose last errands are to be done before their units are given up."""
        self._arrived = asyncio.Event()
        self._waiting: set[asyncio.Event] = set()

    def notify(self) -> None:
        """Look for errands and results soon: there may be new ones."""
        self._arrived.set()
        for event in self._waiting:
            event.set()

    def serve(self, lease: Lease, perform: Perform) -> None:
        """Do the errands of a unit from now on."""
        self._workers[lease.unit] = _Worker(lease=lease, perform=perform)
        self._arrived.set()

    def serve_node(self, node: str, perform: Perform) -> None:
        """Do the errands of a node from now on, which is this one."""
        self._workers[f"{_NODE}{node}"] = _Worker(lease=None, perform=perform)
        self._arrived.set()

    def end(self, lease: Lease) -> None:
        """Begin no errand of a unit any more."""
        worker = self._workers.get(lease.unit)
        if worker is not None and worker.lease is lease:
            del self._workers[lease.unit]
            self._ended[lease] = worker

    async def finish(self, lease: Lease, seconds: float) -> None:
        """Wait until the errands of a unit that have begun are done, at most so many seconds; interrupt the others."""
        self.end(lease)
        worker = self._ended.pop(lease, None)
        if worker is None:
            return
        if worker.tasks:
            await asyncio.wait(tuple(worker.tasks), timeout=seconds)
        worker.ended = True
        for task in tuple(worker.tasks):
            task.cancel()

    async def ask(self, unit: str, work: Mapping[str, Any], *, patience: float | None = TIMEOUT) -> Any:
        """Have the owner of a unit do something; return the result. Raises CommandError, OutboxError."""
        found = await self.ask_all({unit: work}, patience=patience)
        if unit not in found:
            raise CommandError("interrupted", f"{unit} was removed meanwhile")
        return found[unit]

    async def ask_all(
        self, works: Mapping[str, Mapping[str, Any]], *, patience: float | None = TIMEOUT
    ) -> dict[str, Any]:
        """Have the owners of units do something; return the results by unit. Raises CommandError, OutboxError.

        Work that is `repeatable` is done by the next owner if that of now fails with it. A unit that was removed
        meanwhile has no result. `patience` is that of the whole; without one the caller has its own.
        """
        here = {unit: worker for unit in works if (worker := self._workers.get(unit)) is not None}
        elsewhere = {unit: work for unit, work in works.items() if unit not in here}
        async with _bound(patience):
            found, *results = await asyncio.gather(
                self._ask_others(elsewhere), *(self._ask_here(unit, here[unit], works[unit]) for unit in here)
            )
        for each in results:
            found |= each
        return found

    async def ask_nodes(self, nodes: Iterable[str], work: Mapping[str, Any], patience: float) -> None:
        """Have nodes do something; one that ends meanwhile does not have to. Raises CommandError, OutboxError."""
        async with _bound(patience):
            await self._ask_others({f"{_NODE}{node}": work for node in nodes})

    async def _ask_here(self, unit: str, worker: _Worker, work: Mapping[str, Any]) -> dict[str, Any]:
        """Do an errand of a unit that runs on this node; return its result by unit."""
        task = asyncio.ensure_future(worker.perform(work))
        worker.tasks.add(task)
        task.add_done_callback(worker.tasks.discard)
        try:
            await asyncio.wait((task,))
        finally:
            task.cancel()
        if not task.cancelled():
            return {unit: task.result()}
        _check_repeatable(unit, work)
        return await self._ask_others({unit: work})

    async def _ask_others(self, works: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        changed = asyncio.Event()
        self._waiting.add(changed)
        results: dict[str, Any] = {}
        waiting: dict[int, str] = {}
        open_ = set(works)
        loop = asyncio.get_running_loop()
        begin_by = loop.time() + TIMEOUT
        try:
            while open_ or waiting:
                changed.clear()
                if open_:
                    added = await self._add({unit: works[unit] for unit in open_}, begin_by - loop.time())
                    waiting |= added
                    open_.clear()
                states = {id_: rest for id_, *rest in await self._rows(_RESULTS, {"ids": list(waiting)})}
                for id_, unit in tuple(waiting.items()):
                    # One that is not there was lost with the primary.
                    result, begun, gone, lost = states.get(id_, (None, True, False, True))
                    if result is None and not gone and not lost:
                        continue
                    self._session.submit(_Delete((id_,)))
                    del waiting[id_]
                    if result is not None:
                        results[unit] = _decode(result)
                    elif not gone:
                        if loop.time() >= begin_by or not begun:
                            raise CommandError("timeout", f"no node runs {unit}")
                        _check_repeatable(unit, works[unit])
                        open_.add(unit)
                if waiting and not open_:
                    await wait_for_event(changed, LOOK_INTERVAL)
        finally:
            self._waiting.discard(changed)
            if waiting:
                self._session.submit(_Delete(waiting))
        return results

    async def _add(self, works: Mapping[str, Mapping[str, Any]], seconds: float) -> dict[int, str]:
        """Store errands, to be begun within so many seconds; return their units by id. Raises OutboxError."""
        parameters = {
            "units": list(works),
            "works": [orjson.dumps(work).decode() for work in works.values()],
            "timeout": seconds,
        }
        return dict(await self._rows(_ADD, parameters))

    async def run(self) -> None:
        """Do the errands of this node and its units, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._arrived.clear()
                try:
                    found = await self._begin()
                except OutboxError as error:
                    _LOG.debug("errands cannot be read: %s", error)
                    found = []
                for id_, worker, work in found:
                    if worker.ended:
                        self._session.submit(_Interrupt(id_))
                        continue
                    task = group.create_task(self._perform(id_, worker, work))
                    worker.tasks.add(task)
                    task.add_done_callback(worker.tasks.discard)
                await wait_for_event(self._arrived, LOOK_INTERVAL)

    async def _begin(self) -> list[tuple[int, _Worker, Mapping[str, Any]]]:
        workers = dict(self._workers)
        if not workers:
            return []
        epochs = [each.lease.epoch if each.lease else 0 for each in workers.values()]
        rows = await self._rows(_BEGIN, {"units": list(workers), "epochs": epochs})
        return [(id_, workers[unit], orjson.loads(work)) for id_, unit, work in rows]

    async def _perform(self, id_: int, worker: _Worker, work: Mapping[str, Any]) -> None:
        try:
            result = {"result": await worker.perform(work)}
        except CommandError as error:
            result = {"code": error.code, "message": str(error)}
        except BridgeError as error:
            result = {"code": "failed", "message": str(error)}
        except asyncio.CancelledError:
            self._session.submit(_Interrupt(id_))
            raise
        try:
            await self._rows(_END, {"id": id_, "result": orjson.dumps(result).decode()})
        except OutboxError as error:
            _LOG.warning("the result of an errand is lost: %s", error)

    async def _rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        async def work(connection: AsyncConnection) -> list[tuple[Any, ...]]:
            return await (await connection.execute(statement.encode(), parameters)).fetchall()

        return await self._session.run(work)


@asynccontextmanager
async def _bound(seconds: float | None) -> AsyncIterator[None]:
    """End the block after so many seconds. Raises CommandError then."""
    try:
        async with asyncio.timeout(seconds) as timeout:
            yield
    except TimeoutError:
        if not timeout.expired():
            raise
        raise CommandError("timeout", f"other nodes have not responded within {seconds:g} s") from None


class _Interrupt:
    """Marks an errand as interrupted: its unit or node began it and does not end it."""

    def __init__(self, id_: int) -> None:
        self._id = id_

    async def __call__(self, connection: AsyncConnection) -> None:
        await connection.execute(_INTERRUPT, {"id": self._id})


class _Delete:
    """Deletes errands whose results are read, or that nobody waits for."""

    def __init__(self, ids: Iterable[int]) -> None:
        self._ids = list(ids)

    async def __call__(self, connection: AsyncConnection) -> None:
        await connection.execute("DELETE FROM errand WHERE id = ANY(%s)", (self._ids,))


def _check_repeatable(unit: str, work: Mapping[str, Any]) -> None:
    """Raise CommandError for work that must not be done again."""
    if not work.get("repeatable"):
        raise CommandError("interrupted", f"the node that ran {unit} failed or gave it up meanwhile")


def _decode(text: str) -> Any:
    """Return the result of an errand. Raises CommandError."""
    found = orjson.loads(text)
    if "code" in found:
        raise CommandError(found["code"], found["message"])
    return found["result"]


_ADD = f"""
WITH added AS (
    INSERT INTO errand (unit, work, deadline)
    SELECT unit, work, clock_timestamp() + %(timeout)s * interval '1 second'
    FROM unnest(%(units)s::text[], %(works)s::text[]) AS t (unit, work)
    RETURNING id, unit
), notified AS (SELECT pg_notify('{CHANNEL}', ''))
SELECT id, unit FROM added, notified
"""  # noqa: S608 - constants of this module
# Of each its result, whether it has begun, whether its unit or node is no longer there, and whether it is lost.
_RESULTS = f"""
SELECT errand.id, result, errand.epoch IS NOT NULL,
    CASE WHEN starts_with(errand.unit, '{_NODE}') THEN NOT EXISTS (
        SELECT FROM node WHERE '{_NODE}' || name = errand.unit AND state = 'alive' AND expires > clock_timestamp()
    ) ELSE unit.name IS NULL END,
    CASE WHEN errand.epoch IS NULL THEN deadline < clock_timestamp() ELSE errand.epoch <> coalesce(unit.epoch, 0) END
FROM errand LEFT JOIN unit ON unit.name = errand.unit WHERE errand.id = ANY(%(ids)s::bigint[])
"""  # noqa: S608
_BEGIN = f"""
UPDATE errand SET epoch = t.epoch FROM unnest(%(units)s::text[], %(epochs)s::bigint[]) AS t (unit, epoch)
LEFT JOIN unit ON unit.name = t.unit AND unit.epoch = t.epoch
WHERE errand.unit = t.unit AND errand.epoch IS NULL AND deadline > clock_timestamp()
    AND (unit.name IS NOT NULL OR starts_with(t.unit, '{_NODE}'))
RETURNING errand.id, errand.unit, errand.work
"""  # noqa: S608
_INTERRUPT = f"""
WITH interrupted AS (UPDATE errand SET epoch = -1 WHERE id = %(id)s AND result IS NULL RETURNING id)
SELECT pg_notify('{CHANNEL}', '') FROM interrupted
"""  # noqa: S608
_END = f"""
WITH ended AS (UPDATE errand SET result = %(result)s WHERE id = %(id)s RETURNING id)
SELECT pg_notify('{CHANNEL}', '') FROM ended
"""  # noqa: S608
