"""The outbox as its own thread sees it: one connection, and transactions made of many callers' jobs."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from bridge.errors import OutboxError, OutboxFull
from bridge.outbox.database import open_database
from bridge.outbox.intake import Intake
from bridge.outbox.levels import Levels, measure, settle
from bridge.outbox.writes import keep, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bridge.outbox.records import Draft, Event, Limits

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One caller's share of a transaction: alarms to take in, acknowledged numbers, or any other write.

    `marks` are watermarks that are written with the drafts, by backend and device.
    """

    drafts: Sequence[Draft] = ()
    marks: Mapping[tuple[str, str], str] = field(default_factory=dict)
    published: Sequence[int] = ()
    work: Callable[[sqlite3.Connection, Levels], Any] | None = None


class Store:
    """To be made and used on one thread only; `levels`, `commits` and `unwritten` may be read from any.

    `unwritten` counts the alarms that a fault of the disk kept out.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._db = open_database(path)
        self.levels = measure(self._db)
        self.commits = 0
        self.unwritten = 0

    def commit(self, jobs: Sequence[Job]) -> list[Any]:
        """Carries out all jobs in one transaction; gives what each results in, an OutboxError if it failed.

        When the disk refuses, each is tried alone, so that one that is too much does not fail the others.
        """
        try:
            return self._transaction(jobs)
        except sqlite3.Error as error:
            if len(jobs) > 1:
                return [self.commit([job])[0] for job in jobs]
            self.unwritten += len(jobs[0].drafts)
            fault = OutboxError(f"{self._path}: {error}")
            fault.__cause__ = error
            return [fault]

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Asks something. Raises OutboxError."""
        try:
            return query(self._db)
        except sqlite3.Error as error:
            raise OutboxError(f"{self._path}: {error}") from error

    def close(self) -> None:
        self._db.close()

    def _transaction(self, jobs: Sequence[Job]) -> list[Any]:
        levels = replace(self.levels)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            results = self._carry_out(jobs, levels)
            settle(self._db, levels, self._limits)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self.levels = levels
        self.commits += 1
        return results

    def _carry_out(self, jobs: Sequence[Job], levels: Levels) -> list[Any]:
        # First what makes room, then what needs it.
        publish(self._db, levels, [seq for job in jobs for seq in job.published])
        intake = Intake(self._db, levels, self._limits, [draft for job in jobs for draft in job.drafts])
        results = [job.work(self._db, levels) if job.work else self._take_in(job, intake) for job in jobs]
        intake.store()
        return results

    def _take_in(self, job: Job, intake: Intake) -> tuple[Event, ...] | OutboxFull:
        taken = intake.accept(job.drafts)
        if not isinstance(taken, OutboxFull):
            for (backend, device), text in job.marks.items():
                keep(self._db, backend, device, text)
        return taken
