"""The outbox: alarm events on disk until the broker has acknowledged them, each once, and some time longer."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from sqlite3 import Connection
from typing import Any, TypeVar

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.devices.model import Alarm
from fleet2mqtt.errors import OutboxError
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
from fleet2mqtt.outbox.recent import RecentEvents
from fleet2mqtt.outbox.sqlite import queries, store
from fleet2mqtt.outbox.sqlite.counters import Counters
from fleet2mqtt.outbox.sqlite.store import Job, PreparedInsert, Store

logger = logging.getLogger(__name__)

SETTLE_INTERVAL = 1.0
"""Seconds until new events are in the derived tables, and old ones beyond the bounds are deleted."""

JOINED_TURNS = 10
"""Turns of the event loop whose jobs are one transaction: it costs as much as four events, however many there are."""

LONGEST_WAIT = 0.01
"""Seconds after which a transaction is started for jobs that may wait for that of others."""

T = TypeVar("T")


class GroupCommitter:
    """Commits all waiting jobs in one transaction. `executor` has one thread, on which the store was made.

    What is derived from the events is written once a second, or with the next transaction that is more than new alarms.
    """

    def __init__(self, executor: Executor, store: Store) -> None:
        self._executor = executor
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Sequence[Job], asyncio.Future[list[Any]]]] = []
        self._busy = False
        self._is_due = False
        """True once a job waits that a transaction is started for."""
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._deferred: asyncio.TimerHandle | None = None
        self._began = asyncio.Event()
        self._watchers = 0

    async def write(self, job: Job, *, may_wait: bool = False) -> Any:
        """Run a job; return its result once it is on disk. Raises OutboxError.

        One that `may_wait` joins the next transaction of others, if there is one within LONGEST_WAIT.
        """
        [result] = await self.write_all((job,), may_wait=may_wait)
        if isinstance(result, OutboxError):
            raise result
        return result

    def write_all(self, jobs: Sequence[Job], *, may_wait: bool = False) -> asyncio.Future[list[Any]]:
        """Run jobs; return the future of their results, each once it is on disk, an OutboxError if it failed.

        Raises OutboxError.
        """
        if self._closed:
            raise OutboxError("the outbox is closed")
        return self._submit(jobs, may_wait=may_wait)

    async def transaction_began(self, longest: float) -> None:
        """Wait until the disk starts to work for new alarms, at most so many seconds."""
        self._watchers += 1
        try:
            await wait_for_event(self._began, longest)
        finally:
            self._watchers -= 1

    async def read(self, query: Callable[..., T], *arguments: Any) -> T:
        """Return the result of `query(connection, *arguments)`. Raises OutboxError."""
        if self._closed:
            raise OutboxError("the outbox is closed")
        return await self._loop.run_in_executor(
            self._executor, self._store.read, lambda connection: query(connection, *arguments)
        )

    async def close(self) -> None:
        """Wait for what was submitted, settle, then close the store."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._is_due = True
        self._start()
        # What cannot be settled now is at the next start.
        await self._loop.run_in_executor(self._executor, self._store.commit, [Job()])
        await self._loop.run_in_executor(self._executor, self._store.close)

    def _submit(self, jobs: Sequence[Job], *, may_wait: bool = False) -> asyncio.Future[list[Any]]:
        done: asyncio.Future[list[Any]] = self._loop.create_future()
        self._waiting.append((jobs, done))
        if may_wait:
            if self._deferred is None:
                self._deferred = self._loop.call_later(LONGEST_WAIT, self._start_deferred)
            return done
        self._is_due = True
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._start_after, JOINED_TURNS - 1)
        return done

    def _start_deferred(self) -> None:
        self._deferred = None
        self._is_due = True
        if not self._busy:
            self._start()

    def _start_after(self, turns: int) -> None:
        """Start after so many turns of the event loop more, whose jobs join the transaction."""
        if turns:
            self._loop.call_soon(self._start_after, turns - 1)
        else:
            self._start()

    def _settle(self) -> None:
        self._timer = None
        self._submit((Job(),), may_wait=True).add_done_callback(_log_failure)

    def _start(self) -> None:
        """Commit all jobs that wait, unless all of them may wait longer."""
        self._busy = self._is_due and bool(self._waiting)
        if not self._busy:
            return
        batch, self._waiting = self._waiting, []
        self._is_due = False
        if self._deferred is not None:
            self._deferred.cancel()
            self._deferred = None
        jobs = [job for each, _ in batch for job in each]
        future = self._executor.submit(self._commit, jobs, self._store.prepare(jobs))
        future.add_done_callback(lambda future: self._loop.call_soon_threadsafe(self._finish, batch, future))

    def _commit(self, jobs: Sequence[Job], prepared: PreparedInsert | None) -> list[Any]:
        """Commit jobs, on the executor's thread."""
        if prepared is not None and self._watchers:
            # Its one statement is next, which leaves the interpreter to the event loop.
            self._loop.call_soon_threadsafe(self._on_began)
        return self._store.commit(jobs, prepared)

    def _on_began(self) -> None:
        self._began.set()
        self._began.clear()

    def _finish(self, batch: list[tuple[Sequence[Job], asyncio.Future[list[Any]]]], future: Future[list[Any]]) -> None:
        self._start()
        if self._timer is None and not self._closed and not self._store.settled:
            self._timer = self._loop.call_later(SETTLE_INTERVAL, self._settle)
        failure = future.exception()
        results = iter(()) if failure is not None else iter(future.result())
        for jobs, done in batch:
            mine = list(islice(results, len(jobs)))
            if done.done():
                continue  # its caller was cancelled
            if failure is not None:
                done.set_exception(failure)
            else:
                done.set_result(mine)


def _log_failure(done: asyncio.Future[list[Any]]) -> None:
    if not done.cancelled() and isinstance(done.result()[0], OutboxError):
        logger.debug("the outbox cannot settle now: %s", done.result()[0])


SWITCH_INTERVAL = 0.0005
"""Seconds after which a busy event loop releases the interpreter lock for the outbox's thread."""


@asynccontextmanager
async def open_outbox(path: Path, limits: OutboxLimits | None = None) -> AsyncIterator[SQLiteOutbox]:
    """Open the outbox in the file at `path`, making its directory. On leaving, what was submitted is still written.

    A damaged file is set aside as `<name>.corrupt-<time>` and a fresh one started, with a line in the log. Raises
    OutboxError when the directory cannot be written, another process has the file, or a newer version wrote it.
    """
    limits = limits or OutboxLimits()
    loop = asyncio.get_running_loop()
    with _short_switch_interval(), ThreadPoolExecutor(1, thread_name_prefix="outbox") as executor:
        store = await loop.run_in_executor(executor, Store, path, limits)
        group = GroupCommitter(executor, store)
        try:
            checkpoints = await group.read(queries.checkpoints)
            yield SQLiteOutbox(store, group, limits, checkpoints)
        finally:
            await group.close()


class SQLiteOutbox:
    """Alarm events, checkpoints and dead letters on disk; made by `open_outbox`.

    Every method that waits for the disk raises OutboxError when that fails.
    """

    def __init__(
        self, store: Store, group: GroupCommitter, limits: OutboxLimits, checkpoints: dict[tuple[str, str], str]
    ) -> None:
        self._store = store
        self._group = group
        self._limits = limits
        self._checkpoints = checkpoints
        self._recent = RecentEvents(limits.history_rows)
        self._added = asyncio.Event()
        if store.counters.depth:
            self._added.set()

    @property
    def depth(self) -> int:
        """Number of events that the broker has not acknowledged."""
        return self._store.counters.depth

    @property
    def size(self) -> int:
        """Bytes of the events that the broker has not acknowledged."""
        return self._store.counters.size

    @property
    def oldest(self) -> datetime | None:
        """Time at which the oldest of them was received."""
        return self._store.counters.oldest

    @property
    def first_seq(self) -> int:
        """Oldest number stored, or else the next to be given: lower ones are no longer here."""
        return self._store.counters.first_seq

    @property
    def last_seq(self) -> int:
        """Last number given."""
        return self._store.counters.seq

    @property
    def refused(self) -> Mapping[str, int]:
        """Alarms not accepted since the start, by reason: `full`, `disk`."""
        return {"full": self._store.counters.refused, "disk": self._store.unwritten}

    @property
    def dead(self) -> int:
        """Number of dead letters stored."""
        return self._store.counters.dead

    @property
    def displaced(self) -> int:
        """Dead letters that were deleted for newer ones since the start."""
        return self._store.counters.displaced

    @property
    def commits(self) -> int:
        """Transactions since the start."""
        return self._store.commits

    async def add(
        self,
        alarms: Sequence[Alarm],
        name_of: Callable[[str], str | None],
        checkpoints: Mapping[tuple[str, str], str] | None = None,
        managed: Mapping[str, str | None] | None = None,
    ) -> Stored:
        """Store the alarms that are new by (id, cleared); return their events once those are on disk.

        A stored event is completed by facts that it lacks. `name_of` returns a device's name for its id; `checkpoints`
        are written in the same transaction, by backend and device, and so are the texts of alarm management. Raises
        OutboxFull when the new ones do not all fit; then nothing is stored, so that the same call can be made again.
        """
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
                drafts=tuple([draft(alarm, now, name_of(alarm.device)) for alarm in addition.alarms]),
                checkpoints={key: storable(text) for key, text in addition.checkpoints.items()},
                managed=addition.managed,
            )
            for addition in additions
        ]
        results: list[Stored | OutboxError] = await self._group.write_all(jobs)
        new, completed = list[AlarmEvent](), list[AlarmEvent]()
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, Stored):
                self._remember(job.checkpoints)
                new += result.new
                completed += result.completed
        self._remember_events(new, completed)
        return results

    async def change(self, drafts: Sequence[EventDraft], managed: Mapping[str, str | None]) -> tuple[AlarmEvent, ...]:
        """Store events about alarms together with texts of alarm management by key; return the events.

        A text of None deletes one. Raises OutboxFull like `add`.
        """
        stored: Stored = await self._group.write(
            Job(drafts=drafts, managed={key: text and storable(text) for key, text in managed.items()})
        )
        self._remember_events(stored.new, stored.completed)
        return stored.new

    async def managed(self) -> dict[str, str]:
        """Return the texts of alarm management, by key."""
        return await self._group.read(queries.managed)

    async def event_of(self, id_: str) -> AlarmEvent | None:
        """Return the raise event with an id, or else its clear event; None if it is no longer here."""
        return await self._group.read(queries.event_of, id_)

    async def acknowledgements(self, ids: Sequence[str]) -> dict[str, AlarmEvent]:
        """Return the last event of each alarm that acknowledged it or took that back, by the id of its raise event."""
        return await self._group.read(queries.acknowledgements, ids)

    async def changes_of(self, raised: AlarmEvent) -> list[AlarmEvent]:
        """Return the events of an alarm that are still here, its raise event first: up to its clear, or next raise."""
        return await self._group.read(queries.changes_of, raised)

    async def changed(self) -> None:
        """Wait until something was added since the last call. For one consumer."""
        await self._added.wait()
        self._added.clear()

    async def transaction_began(self, longest: float) -> None:
        """Wait until the disk starts to work for new alarms, at most so many seconds: the event loop has time then."""
        await self._group.transaction_began(longest)

    async def unpublished(self, after: int, limit: int = 500) -> list[AlarmEvent]:
        """Return the first events after a number that the broker has not acknowledged, oldest first."""
        if after >= self.last_seq:
            return []
        recent = self._recent.after(after, limit)
        # An empty list counts, too: the disk is not asked for what is just being written.
        return await self._group.read(queries.unpublished, _row(after), limit) if recent is None else recent

    async def published(self, seqs: Iterable[int]) -> None:
        """Record that the broker has acknowledged events; they stay for replay within the history's bound."""
        if seqs := tuple(seqs):
            await self._group.write(Job(published=seqs), may_wait=True)
            self._recent.drop(seqs)

    async def history(self, after: int, limit: int) -> tuple[list[AlarmEvent], bool]:
        """Return the first events after a number, acknowledged or not, oldest first; and True if there are more."""
        return await self._group.read(queries.history, _row(after), limit)

    def history_in_memory(self, after: int, limit: int) -> list[AlarmEvent]:
        """Return the events that `history` would, as far as they are in memory; none if the disk may have one before.

        For readers that go on from the last one: from the first call on, new events are kept for them.
        """
        return self._recent.history(after, limit)

    async def raised_before(self, before: int, limit: int, device: str = "") -> tuple[list[AlarmEvent], dict[int, str]]:
        """Return the last raise events before a number, newest first, and when their alarms ended, by number.

        Without those of active alarms, but for some of the last second; of one device, or of all with "".
        Raises OutboxError.
        """
        return await self._group.read(queries.raised_before, before, self.first_seq, limit, device)

    async def active_alarms(self) -> list[AlarmEvent]:
        """Return the raise events of active alarms: those whose vendor reports the clear, and has not yet."""
        return await self._write(lambda db, _: queries.active_alarms(db))

    async def ended_alarms(self) -> list[EndedAlarm]:
        """Return the last end of each alarm that is not active, oldest first."""
        return await self._write(lambda db, _: queries.ended_alarms(db))

    async def forget(self, device_ids: Iterable[str]) -> list[AlarmEvent]:
        """End the active alarms of these devices and delete their last alarms; return the events that were active."""
        devices = tuple(device_ids)
        return await self._write(lambda db, _: store.forget(db, devices))

    async def summary(self, now: datetime) -> dict[str, dict[str, int]]:
        """Return raise events by severity: raised in the `last_hour` and `last_day` (to the minute), `active` now."""
        return await self._write(lambda db, _: queries.summary(db, now))

    async def last(self) -> dict[str, AlarmEvent]:
        """Return each device's newest raise event, by when it was raised."""
        return await self._write(lambda db, _: queries.last(db))

    def checkpoint(self, backend: str, device: str) -> str | None:
        """Return the checkpoint of a device; None if there is none."""
        return self._checkpoints.get((backend, device))

    async def save_checkpoint(self, backend: str, device: str, text: str) -> None:
        """Store how far a device's history has been read; an empty text deletes that."""
        await self.save_checkpoints(backend, {device: text})

    async def save_checkpoints(self, backend: str, texts: Mapping[str, str]) -> None:
        """Store checkpoints of a backend together, by device: all of them or none."""
        saved = {(backend, device): storable(text) for device, text in texts.items()}

        def save(db: Connection, _counters: Counters) -> None:
            for (_, device), text in saved.items():
                store.save_checkpoint(db, backend, device, text)

        await self._write(save)
        self._remember(saved)

    async def add_dead_letter(
        self, backend: str, kind: str, error: str, body: bytes, stored_push: int | None = None
    ) -> int:
        """Store a push that could not be parsed, its secrets already dropped; return the dead letter's id."""
        del stored_push  # the push inbox is a cluster's
        letter = DeadLetter(
            id=0, backend=backend, kind=kind, error=storable(error), at=datetime.now(UTC), body=clip(body)
        )
        return await self._write(lambda db, counters: store.add_dead_letter(db, counters, self._limits, letter))

    async def dead_letters(self, after: int, limit: int) -> list[DeadLetter]:
        """Return the first dead letters after an id, oldest first."""
        return await self._group.read(queries.dead_letters, _row(after), limit)

    async def get_dead_letter(self, letter: int) -> DeadLetter | None:
        """Return the dead letter with an id, None if there is none."""
        return await self._group.read(queries.dead_letter, _row(letter))

    async def discard(self, letter: int) -> bool:
        """Delete a dead letter; return False if there is none with this id."""
        return await self._write(lambda db, counters: store.discard(db, counters, _row(letter)))

    async def setting(self, key: str, default_factory: Callable[[], str]) -> str:
        """Return a text that outlives restarts, made by the factory when it is read for the first time."""
        saved = await self._group.read(queries.setting, key)
        if saved is not None:
            return saved
        text = default_factory()
        return await self._write(lambda db, _: store.put_setting(db, key, text))

    def _remember_events(self, new: Sequence[AlarmEvent], completed: Iterable[AlarmEvent]) -> None:
        if new:
            self._recent.add(new, announce_backlog=self._limits.announce_backlog)
            self._added.set()
        self._recent.replace(completed)

    def _remember(self, saved: Mapping[tuple[str, str], str]) -> None:
        for key, text in saved.items():
            self._checkpoints[key] = text
            if not text:
                del self._checkpoints[key]

    async def _write(self, work: Callable[[Connection, Counters], T]) -> T:
        result: T = await self._group.write(Job(work=work))
        return result


@contextmanager
def _short_switch_interval() -> Iterator[None]:
    """Shorten the interpreter's switch interval.

    SQLite releases the interpreter lock at each statement; by default the event loop may keep it for 5 ms then.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, SWITCH_INTERVAL))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _row(number: int) -> int:
    # A request may name any number; SQLite has 64 bits.
    return min(max(number, 0), 2**63 - 1)
