"""The outbox: alarm events on disk until the broker has them, each one once, and for a while after."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from sqlite3 import Connection
from typing import Any, TypeVar

from fleet2mqtt.devices.model import Alarm
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox import queries, store
from fleet2mqtt.outbox.models import AlarmEvent, Counters, DeadLetter, OutboxLimits, clip, draft, storable
from fleet2mqtt.outbox.store import Job, Store

ROWS = 1_000


class RecentEvents:
    """All events from one number on that are not published."""

    def __init__(self) -> None:
        self._events: dict[int, AlarmEvent] = {}
        self._first = 0
        self._next = 0

    def add(self, events: Sequence[AlarmEvent]) -> None:
        """Take in events just written; what is before a gap, and beyond ROWS, is left to the disk."""
        if events[0].seq != self._next:
            self._events.clear()
            self._first = events[0].seq
        self._next = events[-1].seq + 1
        self._events.update((event.seq, event) for event in events)
        for seq in tuple(islice(self._events, max(0, len(self._events) - ROWS))):
            del self._events[seq]
            self._first = seq + 1

    def after(self, seq: int, limit: int) -> list[AlarmEvent] | None:
        """The first events after this number; None where the disk may know of one before them."""
        if not self._next or seq + 1 < self._first:
            return None
        return list(islice((event for number, event in self._events.items() if number > seq), limit))

    def drop(self, seqs: Iterable[int]) -> None:
        """These have been published."""
        for seq in seqs:
            self._events.pop(seq, None)


T = TypeVar("T")


class GroupCommitter:
    """The event loop's side of a store. `executor` has one thread, on which the store was made."""

    def __init__(self, executor: Executor, store: Store) -> None:
        self._executor = executor
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Job, asyncio.Future[Any]]] = []
        self._busy = False
        self._closed = False

    async def write(self, job: Job) -> Any:
        """What the job results in, once it is on disk. Raises OutboxError."""
        if self._closed:
            raise OutboxError("the outbox is closed")
        done: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((job, done))
        if not self._busy:
            self._busy = True
            # Not at once: what else this turn of the loop brings goes along.
            self._loop.call_soon(self._start)
        return await done

    async def read(self, query: Callable[..., T], *arguments: Any) -> T:
        """What `query(connection, *arguments)` gives. Raises OutboxError."""
        if self._closed:
            raise OutboxError("the outbox is closed")
        return await self._loop.run_in_executor(
            self._executor, self._store.read, lambda connection: query(connection, *arguments)
        )

    async def close(self) -> None:
        """Waits for what was submitted, then closes the store."""
        self._closed = True
        self._start()
        await self._loop.run_in_executor(self._executor, self._store.close)

    def _start(self) -> None:
        batch, self._waiting = self._waiting, []
        self._busy = bool(batch)
        if batch:
            future = self._executor.submit(self._store.commit, [job for job, _ in batch])
            future.add_done_callback(lambda future: self._loop.call_soon_threadsafe(self._finish, batch, future))

    def _finish(self, batch: list[tuple[Job, asyncio.Future[Any]]], future: Future[list[Any]]) -> None:
        self._start()
        fault = future.exception()
        results = future.result() if fault is None else [fault] * len(batch)
        for (_, done), result in zip(batch, results, strict=True):
            if done.done():
                continue  # its caller was cancelled
            if isinstance(result, BaseException):
                done.set_exception(result)
            else:
                done.set_result(result)


HAND_OVER = 0.0005
"""Seconds after which a busy event loop hands the interpreter to the outbox's thread."""


@asynccontextmanager
async def open_outbox(path: Path, limits: OutboxLimits | None = None) -> AsyncIterator[Outbox]:
    """The outbox in the file at `path`; its directory is made. On leaving, what was submitted is still written.

    A damaged file is set aside as `<name>.corrupt-<time>` and a fresh one started, with a line in the log. Raises
    OutboxError when the directory cannot be written, another process has the file, or a newer version wrote it.
    """
    limits = limits or OutboxLimits()
    loop = asyncio.get_running_loop()
    with _handing_over(), ThreadPoolExecutor(1, thread_name_prefix="outbox") as executor:
        store = await loop.run_in_executor(executor, Store, path, limits)
        group = GroupCommitter(executor, store)
        try:
            checkpoints = await group.read(queries.checkpoints)
            yield Outbox(store, group, limits, checkpoints)
        finally:
            await group.close()


class Outbox:
    """Made by `open_outbox`. Every method that waits for the disk raises OutboxError when that fails."""

    def __init__(
        self, store: Store, group: GroupCommitter, limits: OutboxLimits, checkpoints: dict[tuple[str, str], str]
    ) -> None:
        self._store = store
        self._group = group
        self._limits = limits
        self._checkpoints = checkpoints
        self._recent = RecentEvents()
        self._news = asyncio.Event()
        if store.levels.depth:
            self._news.set()

    @property
    def depth(self) -> int:
        """How many events the broker has not acknowledged."""
        return self._store.levels.depth

    @property
    def size(self) -> int:
        """Their bytes."""
        return self._store.levels.size

    @property
    def oldest(self) -> datetime | None:
        """When the oldest of them was received."""
        return self._store.levels.oldest

    @property
    def first_seq(self) -> int:
        """The oldest number still held, or else the next to be given: what is lower is no longer here."""
        return self._store.levels.first_seq

    @property
    def last_seq(self) -> int:
        """The last number given."""
        return self._store.levels.seq

    @property
    def refused(self) -> Mapping[str, int]:
        """Alarms not taken in since the start, by reason: `full`, `disk`."""
        return {"full": self._store.levels.refused, "disk": self._store.unwritten}

    @property
    def dead(self) -> int:
        """How many dead letters are held."""
        return self._store.levels.dead

    @property
    def displaced(self) -> int:
        """Dead letters that had to go for newer ones since the start."""
        return self._store.levels.displaced

    @property
    def commits(self) -> int:
        """Transactions since the start."""
        return self._store.commits

    async def add(
        self,
        alarms: Sequence[Alarm],
        name_of: Callable[[str], str | None],
        checkpoints: Mapping[tuple[str, str], str] | None = None,
    ) -> tuple[AlarmEvent, ...]:
        """Takes in the alarms that are new by (id, cleared), and gives their events once those are on disk.

        `name_of` gives a device's name for its id; `marks` are kept as by `keep`, by backend and device. Raises
        OutboxFull when the new ones do not all fit; then nothing is stored, so that the same call can be made again.
        """
        now = datetime.now(UTC)
        drafts = tuple(draft(alarm, now, name_of(alarm.device)) for alarm in alarms)
        kept = {key: storable(text) for key, text in (checkpoints or {}).items()}
        if not drafts and not kept:
            return ()
        events: tuple[AlarmEvent, ...] = await self._group.write(Job(drafts=drafts, checkpoints=kept))
        self._remember(kept)
        if events:
            self._recent.add(events)
            self._news.set()
        return events

    async def changed(self) -> None:
        """Waits until something was added since the last call. For one consumer."""
        await self._news.wait()
        self._news.clear()

    async def unpublished(self, after: int, limit: int = 500) -> list[AlarmEvent]:
        """The first events after this number that the broker has not acknowledged."""
        if after >= self.last_seq:
            return []
        recent = self._recent.after(after, limit)
        # An empty list is an answer too: what is just being written is not asked for behind its back.
        return await self._group.read(queries.unpublished, _row(after), limit) if recent is None else recent

    async def published(self, seqs: Iterable[int]) -> None:
        """The broker has acknowledged these; they stay for replay within the history's bound."""
        if seqs := tuple(seqs):
            await self._group.write(Job(published=seqs))
            self._recent.drop(seqs)

    async def history(self, after: int, limit: int) -> tuple[list[AlarmEvent], bool]:
        """The first events after this number, acknowledged or not, and whether there are more."""
        return await self._group.read(queries.history, _row(after), limit)

    async def standing(self) -> list[AlarmEvent]:
        """Raised events whose vendor reports recovery and has not yet."""
        return await self._group.read(queries.standing)

    async def forget(self, device_ids: Iterable[str]) -> list[AlarmEvent]:
        """Ends what stands for these devices and drops their last alarms; gives the events that stood."""
        devices = tuple(device_ids)
        return await self._write(lambda db, _: store.forget(db, devices))

    async def summary(self, now: datetime) -> dict[str, dict[str, int]]:
        """Raised events by severity, received in the `last_hour` and `last_day` (to the minute), and `active` now."""
        return await self._group.read(queries.summary, now)

    async def last(self) -> dict[str, AlarmEvent]:
        """Each device's newest raised event, by when it was raised."""
        return await self._group.read(queries.last)

    def checkpoint(self, backend: str, device: str) -> str | None:
        """What `keep` was last given for this device; None where that was nothing, or empty."""
        return self._checkpoints.get((backend, device))

    async def save_checkpoint(self, backend: str, device: str, text: str) -> None:
        """Keeps how far a device's history has been read; an empty text takes that away."""
        text = storable(text)
        await self._write(lambda db, _: store.save_checkpoint(db, backend, device, text))
        self._remember({(backend, device): text})

    async def add_dead_letter(self, backend: str, kind: str, error: str, body: bytes) -> int:
        """Keeps a push that could not be understood, its secrets already dropped; gives the dead letter's id."""
        letter = DeadLetter(
            id=0, backend=backend, kind=kind, error=storable(error), at=datetime.now(UTC), body=clip(body)
        )
        return await self._write(lambda db, levels: store.add_dead_letter(db, levels, self._limits, letter))

    async def dead_letters(self, after: int, limit: int) -> list[DeadLetter]:
        """The first dead letters after this id."""
        return await self._group.read(queries.dead_letters, _row(after), limit)

    async def get_dead_letter(self, letter: int) -> DeadLetter | None:
        """The dead letter with this id."""
        return await self._group.read(queries.dead_letter, _row(letter))

    async def discard(self, letter: int) -> bool:
        """Drops a dead letter; False when there is none with this id."""
        return await self._write(lambda db, levels: store.discard(db, levels, _row(letter)))

    async def setting(self, key: str, default_factory: Callable[[], str]) -> str:
        """A text that outlives restarts, made by the factory when asked for the first time."""
        kept = await self._group.read(queries.setting, key)
        if kept is not None:
            return kept
        text = default_factory()
        return await self._write(lambda db, _: store.put_setting(db, key, text))

    def _remember(self, kept: Mapping[tuple[str, str], str]) -> None:
        for key, text in kept.items():
            self._checkpoints[key] = text
            if not text:
                del self._checkpoints[key]

    async def _write(self, work: Callable[[Connection, Counters], T]) -> T:
        result: T = await self._group.write(Job(work=work))
        return result


@contextmanager
def _handing_over() -> Iterator[None]:
    """SQLite lets go of the interpreter at each statement; by default it may be 5 ms until the loop gives it back."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, HAND_OVER))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _row(number: int) -> int:
    # A request may name any number; SQLite counts to here.
    return min(max(number, 0), 2**63 - 1)
