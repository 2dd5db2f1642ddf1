"""The outbox in a PostgreSQL database that several nodes share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from psycopg import AsyncConnection

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.devices.model import Alarm
from fleet2mqtt.errors import OutboxError, OutboxFull
from fleet2mqtt.outbox.models import (
    Addition,
    AlarmEvent,
    DeadLetter,
    EndedAlarm,
    EventDraft,
    OutboxLimits,
    Stored,
    clip,
    draft,
    storable,
)
from fleet2mqtt.outbox.postgres import queries
from fleet2mqtt.outbox.postgres.alarm_writer import CHANNEL, Batch, Fence, GroupCommitter, Job
from fleet2mqtt.outbox.postgres.derivation import derive, derive_if_behind
from fleet2mqtt.outbox.postgres.migrations import migrate
from fleet2mqtt.outbox.postgres.session import TIMEOUT, NotReplicated, Session, Work
from fleet2mqtt.outbox.postgres.writes import Writes, publish
from fleet2mqtt.outbox.recent import RecentEvents

logger = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_INTERVAL = 1.0
"""Seconds between two looks at the figures and for new events, besides notifications."""

MIN_LOOK_INTERVAL = 0.05
"""… and between two looks for which there were notifications."""
MIN_NOTIFY_INTERVAL = 0.02
"""… and between two notifications of a node, each of which wakes every other node and its server process."""
DERIVE_DELAY = 1.0
"""Seconds after which new events are in the derived tables, and old ones beyond the bounds are deleted."""

# What waits for the standby, and what need not: an acknowledgement that is lost publishes an event again under its
# number, and the derived tables go back together with how far they are.
_WRITER = {
    "synchronous_commit": "on",
    # The plan shall not depend on how large the tables were when it was made: small ones are read by their index, too.
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
_READER = {"synchronous_commit": "local", "jit": "off"}
_BARRIER = "UPDATE level SET seq = seq"
_FIGURES = """
SELECT level.seq, level.depth, level.size, acknowledged.depth, acknowledged.size,
    derivation.seq, derivation.first_seq, derivation.stored, derivation.seen,
    (SELECT count(*) FROM dead_letter),
    (SELECT received FROM event WHERE event.seq = (SELECT min(pending.seq) FROM pending)),
    current_setting('synchronous_standby_names') <> ''
FROM level, acknowledged, derivation
"""


@dataclass(slots=True)
class Figures:
    """Figures of the database as last seen. All but `dead`, `oldest` and `replicated` only grow.

    `added` and `acknowledged` are numbers and bytes of events; their difference is what is to be published.
    """

    seq: int = 0
    added: tuple[int, int] = (0, 0)
    acknowledged: tuple[int, int] = (0, 0)
    derived: int = 0
    first_seq: int = 1
    stored: int = 0
    seen: int = 0
    dead: int = 0
    oldest: datetime | None = None
    replicated: bool | None = None

    @property
    def depth(self) -> int:
        """Number of events that the broker has not acknowledged."""
        return max(0, self.added[0] - self.acknowledged[0])

    @property
    def size(self) -> int:
        """Bytes of the events that the broker has not acknowledged."""
        return max(0, self.added[1] - self.acknowledged[1])


async def read_figures(connection: AsyncConnection) -> Figures:
    """Return the figures as of the last commit."""
    row = await (await connection.execute(_FIGURES)).fetchone()
    if row is None:
        raise OutboxError(f"database {connection.info.dbname}: its counters are missing")
    seq, depth, size, gone, gone_size, derived, first_seq, stored, seen, dead, oldest, replicated = row
    return Figures(
        seq=seq,
        added=(depth, size),
        acknowledged=(gone, gone_size),
        derived=derived,
        first_seq=first_seq,
        stored=stored,
        seen=seen,
        dead=dead,
        oldest=None if oldest is None else datetime.fromtimestamp(oldest, UTC),
        replicated=replicated,
    )


@asynccontextmanager
async def open_database(
    dsn: str, limits: OutboxLimits | None = None, *, require_replication: bool = True, deadline: float = TIMEOUT
) -> AsyncIterator[Database]:
    """Connect to a database, and bring its schema to the newest version. On leaving, what was submitted is written.

    `deadline` is the number of seconds in which each call has to be carried out. Raises OutboxError when the database
    cannot be reached within it, lacks privileges or, with `require_replication`, has no synchronous standby.
    """
    database = Database(dsn, limits or OutboxLimits(), require_replication=require_replication, timeout=deadline)
    try:
        await database.open()
        yield database
    finally:
        await asyncio.shield(database.close())


class Database:
    """The sessions of one node with the database; made by `open_database`.

    One session writes and waits for the standby, one reads, and one is told of what other nodes add.
    """

    def __init__(self, dsn: str, limits: OutboxLimits, *, require_replication: bool, timeout: float) -> None:
        self.limits = limits
        self.require_replication = require_replication
        self.figures = Figures()
        self.commits = 0
        self.full = 0
        self.unwritten = 0
        self.displaced = 0
        self.commit_seconds = 0.0
        self._look_interval = min(LOOK_INTERVAL, timeout / 4)
        self._generation = 0
        self._writer_pid = 0
        self._looked_at = 0.0
        self._derive_at: float | None = None
        self.recent = RecentEvents()
        self._outboxes: list[PostgresOutbox] = []
        self._closed = asyncio.Event()
        self.writer = Session(dsn, "writer", parameters=_WRITER, prepare=self._prepare, timeout=timeout)
        self.reader = Session(dsn, "reader", parameters=_READER, timeout=timeout)
        self._watcher = Session(dsn, "watcher", parameters=_READER, prepare=self._listen, timeout=timeout)
        self._watch: asyncio.Task[None] | None = None
        self._notification = _Notification(self.reader)
        self._committer = GroupCommitter(
            self.writer,
            limits,
            require_replication=require_replication,
            on_batch=self._note_batch,
            notifies=lambda: not self._notification.is_throttled,
        )

    @property
    def durability(self) -> Literal["replicated", "local", "unknown"]:
        """Durability of a stored event: `replicated` to a standby, or `local` to the primary."""
        if not self.writer.connected or self.figures.replicated is None:
            return "unknown"
        return "replicated" if self.figures.replicated else "local"

    async def open(self) -> None:
        """Wait for the connections."""
        await self.writer.run(read_figures)
        self._note(await self.reader.run(read_figures))
        self._watch = asyncio.get_running_loop().create_task(self._look(), name="database look")

    async def close(self) -> None:
        """Write what was submitted, then close the connections."""
        self._closed.set()
        await self._watcher.close(at_once=True)
        if self._watch is not None:
            await self._watch
        await self._committer.drain()
        self._notification.cancel()
        for session in (self.writer, self.reader):
            await session.close()

    async def outbox(self, fence: Fence | None = None, owns: Callable[[str], bool] = lambda _: True) -> PostgresOutbox:
        """Return the outbox of a unit, whose writes are refused once the epoch of its lease has passed.

        Without a fence nothing is refused. `owns` says, by id, whether a device is the unit's. Raises OutboxError.
        """
        outbox = PostgresOutbox(self, fence, await self.reader.run(queries.checkpoints), owns)
        self.recent.clear()  # the former owner may have published some of them
        self._outboxes.append(outbox)
        return outbox

    def release(self, outbox: PostgresOutbox) -> None:
        """Do not wake an outbox any longer, whose unit has ended here."""
        self._outboxes.remove(outbox)

    async def store(self, jobs: Sequence[Job]) -> list[Stored | OutboxError]:
        """Store alarms together with those of other callers; return the result of each. Raises OutboxError."""
        if self._closed.is_set():
            raise OutboxError("the outbox is closed")
        try:
            results = await self._committer.store(jobs)
        except OutboxError:
            self.unwritten += sum(len(job.drafts) for job in jobs)
            raise
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, OutboxError) and not isinstance(result, OutboxFull):
                self.unwritten += len(job.drafts)
        return results

    async def read(self, query: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Return the result of `query(connection, *arguments)`. Raises OutboxError."""
        return await self.reader.run(lambda connection: query(connection, *arguments))

    async def read_derived(self, query: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Return the result of a query of the derived tables, once they have every event. Raises OutboxError."""

        async def work(connection: AsyncConnection) -> T:
            await derive_if_behind(connection, self.limits)
            return await query(connection, *arguments)

        return await self.reader.run(work)

    async def published(self, seqs: Sequence[int]) -> int:
        """Record that the broker has acknowledged events; return how many were not recorded. Raises OutboxError."""
        recorded = 0

        async def work(connection: AsyncConnection) -> Figures:
            nonlocal recorded
            recorded += await publish(connection, seqs)
            figures = await read_figures(connection)
            # Not for each event beyond the bound.
            if self._excess(figures) > self.limits.history_rows // 100:
                await derive(connection, self.limits)
                figures = await read_figures(connection)
            return figures

        self._generation += 1
        generation = self._generation
        figures = await self.reader.run(work)
        self.commits += 1
        self._note(figures, generation)
        return recorded

    async def write(self, work: Work[T]) -> T:
        """Return the result of a write once it is committed, which finds what was added before. Raises OutboxError."""
        await self._committer.wait_for_earlier()
        result = await self.writer.run(work)
        self.commits += 1
        return result

    async def refresh(self) -> None:
        """Read the figures. Raises OutboxError."""
        self._generation += 1
        self._note(await self.reader.run(read_figures), self._generation)

    async def _prepare(self, connection: AsyncConnection) -> None:
        await migrate(connection)
        row = await (
            await connection.execute(
                "SELECT current_setting('synchronous_standby_names') <> '', count(*) FROM pg_stat_replication"
            )
        ).fetchone()
        replicated, standbys = row or (False, 0)
        if self.require_replication and not replicated:
            raise OutboxError(
                "database: synchronous_standby_names is empty, so an acknowledged alarm could be lost with the server;"
                " set it, or require_replication: false"
            )
        if replicated and not standbys:
            raise NotReplicated("no synchronous standby is connected")
        # Whatever an earlier connection left visible is replicated once this commit is.
        await connection.execute(_BARRIER)
        self._writer_pid = connection.info.backend_pid

    async def _listen(self, connection: AsyncConnection) -> None:
        await connection.execute(f"LISTEN {CHANNEL}")

    async def _look(self) -> None:
        while not self._closed.is_set():
            generation = self._generation
            try:
                figures = await self._watcher.run(self._wait_for_notice)
                await self._derive()
            except OutboxError as error:
                logger.debug("cannot look for new events: %s", error)
                self.figures.replicated = None
                await wait_for_event(self._closed, self._look_interval)
                continue
            self._note(figures, generation)
            for outbox in self._outboxes:
                outbox.note_last_seq(figures.seq)

    async def _wait_for_notice(self, connection: AsyncConnection) -> Figures:
        async for notice in connection.notifies(timeout=self._look_interval):
            if notice.pid != self._writer_pid:  # what this node has added is known here
                break
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._looked_at + MIN_LOOK_INTERVAL - loop.time())
        self._looked_at = loop.time()
        return await read_figures(connection)

    async def _derive(self) -> None:
        """Bring the derived tables up to what this node has added, a second after it."""
        if self._derive_at is not None and asyncio.get_running_loop().time() >= self._derive_at:
            self._derive_at = None
            await self.reader.run(lambda connection: derive(connection, self.limits))

    def _excess(self, figures: Figures) -> int:
        added = figures.seq - figures.derived
        return max(
            figures.stored + added - figures.depth - self.limits.history_rows,
            figures.seen + added - self.limits.seen_rows,
        )

    def _note_batch(self, batch: Batch) -> None:
        self.commits += 1
        self.full += batch.refused
        new = [events for events in batch.new if events]
        for events in new:
            self.recent.add(events, announce_backlog=self.limits.announce_backlog)
        if new:
            self._notification.note(sent=batch.notify)
        self.recent.replace(batch.completed)
        if batch.last_seq:
            self._generation += 1
            if self._derive_at is None:
                self._derive_at = asyncio.get_running_loop().time() + DERIVE_DELAY
            if not self.figures.depth:
                self.figures.oldest = batch.oldest
            self.figures.seq = max(self.figures.seq, batch.last_seq)
            self.figures.added = max(self.figures.added, batch.added)
            for outbox in self._outboxes:
                outbox.note_last_seq(batch.last_seq)

    def _note(self, figures: Figures, generation: int | None = None) -> None:
        known = self.figures
        if generation is not None and generation != self._generation:
            # Something was written since these were read.
            figures.dead, figures.oldest = known.dead, known.oldest
        figures.seq = max(figures.seq, known.seq)
        figures.added = max(figures.added, known.added)
        figures.acknowledged = max(figures.acknowledged, known.acknowledged)
        figures.first_seq = max(figures.first_seq, known.first_seq)
        self.figures = figures


class _Notification:
    """The notification of other nodes that there are new events, throttled."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._sent_at = -MIN_NOTIFY_INTERVAL
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_throttled(self) -> bool:
        """True within the interval after the last one."""
        return self._loop.time() < self._sent_at + MIN_NOTIFY_INTERVAL

    def note(self, *, sent: bool) -> None:
        """Record that there are new events, of which the other nodes were notified if `sent`, or are to be in time."""
        if sent:
            self.cancel()
            self._sent_at = self._loop.time()
        elif self._timer is None:
            # Later than the next batch may send one: that costs no commit of its own.
            self._timer = self._loop.call_at(self._sent_at + 2 * MIN_NOTIFY_INTERVAL, self._send)

    def cancel(self) -> None:
        """Send none for what was noted."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self) -> None:
        self._timer = None
        self._sent_at = self._loop.time()
        self._session.submit(_notify).add_done_callback(_log_failure)


async def _notify(connection: AsyncConnection) -> None:
    await connection.execute(f"NOTIFY {CHANNEL}")


def _log_failure(done: asyncio.Future[Any]) -> None:
    if (error := done.exception()) is not None:
        logger.debug("other nodes are not notified, and look for new events by themselves: %s", error)


class PostgresOutbox:
    """The outbox of one unit in the database; made by `Database.outbox`.

    Every method that waits for the database raises OutboxError when that fails, and OutboxFenced once another node has
    taken the unit over.
    """

    def __init__(
        self,
        database: Database,
        fence: Fence | None,
        checkpoints: dict[tuple[str, str], str],
        owns: Callable[[str], bool],
    ) -> None:
        self._owns = owns
        self._database = database
        self._fence = fence
        self._checkpoints = checkpoints
        self._writes = Writes(fence, require_replication=database.require_replication)
        self._added = asyncio.Event()
        self._noted = database.figures.seq
        self._acknowledged = database.figures.acknowledged[0]
        self._publishing = 0
        if database.figures.depth:
            self._added.set()

    @property
    def depth(self) -> int:
        """Number of events that the broker has not acknowledged."""
        return self._database.figures.depth

    @property
    def size(self) -> int:
        """Bytes of the events that the broker has not acknowledged."""
        return self._database.figures.size

    @property
    def oldest(self) -> datetime | None:
        """Time at which the oldest of them was received."""
        return self._database.figures.oldest if self.depth else None

    @property
    def first_seq(self) -> int:
        """Oldest number stored, or else the next to be given: lower ones are no longer here."""
        return self._database.figures.first_seq

    @property
    def last_seq(self) -> int:
        """Last number given."""
        return self._database.figures.seq

    @property
    def refused(self) -> Mapping[str, int]:
        """Alarms not accepted by this node since its start, by reason: `full`, `disk`."""
        return {"full": self._database.full, "disk": self._database.unwritten}

    @property
    def dead(self) -> int:
        """Number of dead letters stored."""
        return self._database.figures.dead

    @property
    def displaced(self) -> int:
        """Dead letters that this node deleted for newer ones since its start."""
        return self._database.displaced

    @property
    def commits(self) -> int:
        """Transactions of this node since its start."""
        return self._database.commits

    def note_last_seq(self, seq: int) -> None:
        """Wake the consumer if another unit or node has added events."""
        if seq > self._noted:
            self._noted = seq
            self._added.set()

    async def add(
        self,
        alarms: Sequence[Alarm],
        name_of: Callable[[str], str | None],
        checkpoints: Mapping[tuple[str, str], str] | None = None,
        managed: Mapping[str, str | None] | None = None,
    ) -> Stored:
        """Store the alarms that are new by (id, cleared); return their events once those are committed."""
        if not alarms and not checkpoints:
            return Stored()
        addition = Addition(alarms=alarms, checkpoints=checkpoints or {}, managed=managed or {})
        [result] = await self.add_all((addition,), name_of)
        if isinstance(result, OutboxError):
            raise result
        return result

    async def add_all(
        self, additions: Sequence[Addition], name_of: Callable[[str], str | None]
    ) -> list[Stored | OutboxError]:
        """Store several callers' alarms, each as `add` does, together; return the result of each."""
        now = datetime.now(UTC)
        jobs = [
            Job(
                fence=self._fence,
                drafts=tuple([draft(alarm, now, name_of(alarm.device)) for alarm in addition.alarms]),
                checkpoints={key: storable(text) for key, text in addition.checkpoints.items()},
                managed=_storable(addition.managed),
                stored_push=addition.stored_push,
            )
            for addition in additions
        ]
        results = await self._database.store(jobs)
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, Stored):
                self._remember(job.checkpoints)
        return results

    async def change(self, drafts: Sequence[EventDraft], managed: Mapping[str, str | None]) -> tuple[AlarmEvent, ...]:
        """Store events about alarms together with texts of alarm management by key; return the events."""
        [result] = await self._database.store([Job(fence=self._fence, drafts=drafts, managed=_storable(managed))])
        if isinstance(result, OutboxError):
            raise result
        return result.new

    async def managed(self) -> dict[str, str]:
        """Return the texts of alarm management, by key; of alarms those of the unit's devices."""
        return {key: text for key, text in (await self._database.read(queries.managed)).items() if self._has(key)}

    def _has(self, key: str) -> bool:
        kind, _, rest = key.partition("/")
        return kind != "alarm" or self._owns(rest.partition("/")[0])

    async def event_of(self, id_: str) -> AlarmEvent | None:
        """Return the raise event with an id, or else its clear event; None if it is no longer here."""
        return await self._database.read(queries.event_of, storable(id_))

    async def acknowledgements(self, ids: Sequence[str]) -> dict[str, AlarmEvent]:
        """Return the last event of each alarm that acknowledged it or took that back, by the id of its raise event."""
        return await self._database.read(queries.acknowledgements, [storable(id_) for id_ in ids])

    async def changes_of(self, raised: AlarmEvent) -> list[AlarmEvent]:
        """Return the events of an alarm that are still here, its raise event first: up to its clear, or next raise."""
        return await self._database.read(queries.changes_of, raised)

    async def changed(self) -> None:
        """Wait until something was added since the last call. For one consumer."""
        await self._added.wait()
        self._added.clear()

    async def transaction_began(self, longest: float) -> None:
        """Wait for so many seconds: the database works for other nodes, too."""
        await asyncio.sleep(longest)

    async def unpublished(self, after: int, limit: int = 500) -> list[AlarmEvent]:
        """Return the first events after a number that the broker has not acknowledged, oldest first."""
        if after >= self.last_seq:
            return []
        # What other nodes have added is not in memory, and nor is it known there what they have published.
        if self._database.figures.acknowledged[0] > self._acknowledged + self._publishing:
            self._database.recent.clear()
            self._acknowledged = self._database.figures.acknowledged[0]
        recent = self._database.recent.after(after, limit) if self._database.recent.reaches(self.last_seq) else None
        return await self._database.read(queries.unpublished, _row(after), limit) if recent is None else recent

    async def published(self, seqs: Iterable[int]) -> None:
        """Record that the broker has acknowledged events; they stay for replay within the history's bound."""
        if seqs := tuple(seqs):
            self._publishing += len(seqs)
            try:
                recorded = await self._database.published(seqs)
            finally:
                self._publishing -= len(seqs)
            self._acknowledged += recorded
            self._database.recent.drop(seqs)
            if recorded < len(seqs):
                self._database.recent.clear()
                self._acknowledged = self._database.figures.acknowledged[0]

    async def history(self, after: int, limit: int) -> tuple[list[AlarmEvent], bool]:
        """Return the first events after a number, acknowledged or not, oldest first; and True if there are more."""
        return await self._database.read(queries.history, _row(after), limit)

    def history_in_memory(self, after: int, limit: int) -> list[AlarmEvent]:  # noqa: ARG002
        """Return nothing: other nodes add events, too."""
        return []

    async def raised_before(self, before: int, limit: int, device: str = "") -> tuple[list[AlarmEvent], dict[int, str]]:
        """Return the last raise events before a number, newest first, and when their alarms ended, by number."""
        return await self._database.read(queries.raised_before, _row(before), self.first_seq, limit, storable(device))

    async def active_alarms(self) -> list[AlarmEvent]:
        """Return the raise events of active alarms: those whose vendor reports the clear, and has not yet."""
        return [event for event in await self._database.read_derived(queries.active_alarms) if self._owns(event.device)]

    async def ended_alarms(self) -> list[EndedAlarm]:
        """Return the last end of each alarm that is not active, oldest first."""
        return [ended for ended in await self._database.read_derived(queries.ended_alarms) if self._owns(ended.device)]

    async def forget(self, device_ids: Iterable[str]) -> list[AlarmEvent]:
        """End the active alarms of these devices and delete their last alarms; return the events that were active."""
        devices = [storable(device) for device in device_ids]
        active: dict[int, AlarmEvent] = {}

        async def work(connection: AsyncConnection) -> None:
            await derive_if_behind(connection, self._database.limits)
            # Carried out again after a lost answer it finds none of them any more.
            active.update((event.seq, event) for event in await queries.active_alarms_of(connection, devices))
            await self._writes.forget(connection, devices)

        await self._database.write(work)
        return [active[seq] for seq in sorted(active)]

    async def summary(self, now: datetime) -> dict[str, dict[str, int]]:
        """Return raise events by severity: raised in the `last_hour` and `last_day` (to the minute), `active` now."""
        return await self._database.read_derived(queries.summary, now)

    async def last(self) -> dict[str, AlarmEvent]:
        """Return each device's newest raise event, by when it was raised."""
        last = await self._database.read_derived(queries.last)
        return {device: event for device, event in last.items() if self._owns(device)}

    def checkpoint(self, backend: str, device: str) -> str | None:
        """Return the checkpoint of a device; None if there is none."""
        return self._checkpoints.get((backend, device))

    async def save_checkpoint(self, backend: str, device: str, text: str) -> None:
        """Store how far a device's history has been read; an empty text deletes that."""
        await self.save_checkpoints(backend, {device: text})

    async def save_checkpoints(self, backend: str, texts: Mapping[str, str]) -> None:
        """Store checkpoints of a backend together, by device: all of them or none."""
        saved = {device: storable(text) for device, text in texts.items()}
        await self._database.write(lambda connection: self._writes.save_checkpoints(connection, backend, saved))
        self._remember({(backend, device): text for device, text in saved.items()})

    async def add_dead_letter(
        self, backend: str, kind: str, error: str, body: bytes, stored_push: int | None = None
    ) -> int:
        """Store a push that could not be parsed, its secrets already dropped; return the dead letter's id."""
        letter = DeadLetter(
            id=0, backend=backend, kind=kind, error=storable(error), at=datetime.now(UTC), body=storable(clip(body))
        )
        limit = self._database.limits.dead_letters
        id_, displaced = await self._database.write(
            lambda connection: self._writes.add_dead_letter(connection, letter, limit, stored_push)
        )
        self._database.displaced += displaced
        await self._database.refresh()
        return int(id_)

    async def dead_letters(self, after: int, limit: int) -> list[DeadLetter]:
        """Return the first dead letters after an id, oldest first; `dead` has those of other nodes, too, then."""
        letters = await self._database.read(queries.dead_letters, _row(after), limit)
        await self._database.refresh()
        return letters

    async def get_dead_letter(self, letter: int) -> DeadLetter | None:
        """Return the dead letter with an id, None if there is none."""
        return await self._database.read(queries.dead_letter, _row(letter))

    async def discard(self, letter: int) -> bool:
        """Delete a dead letter; return False if there is none with this id."""
        found = await self._database.write(lambda connection: self._writes.discard(connection, _row(letter)))
        await self._database.refresh()
        return bool(found)

    async def setting(self, key: str, default_factory: Callable[[], str]) -> str:
        """Return a text that outlives restarts, made by the factory when it is read for the first time."""
        saved = await self._database.read(queries.setting, key)
        if saved is not None:
            return saved
        text = default_factory()
        await self._database.write(lambda connection: self._writes.put_setting(connection, key, text))
        return await self._database.read(queries.setting, key) or text

    def _remember(self, saved: Mapping[tuple[str, str], str]) -> None:
        for key, text in saved.items():
            self._checkpoints[key] = text
            if not text:
                self._checkpoints.pop(key)


def _storable(texts: Mapping[str, str | None]) -> dict[str, str | None]:
    return {storable(key): text and storable(text) for key, text in texts.items()}


def _row(number: int) -> int:
    # A request may name any number; PostgreSQL has 64 bits.
    return min(max(number, 0), 2**63 - 1)
