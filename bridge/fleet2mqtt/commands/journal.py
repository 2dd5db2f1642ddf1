"""Journal of commands: what a cluster stores of each, so that it ends in one result whichever node carries it out.

Without a cluster there is no journal, and an entry is None everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from fleet2mqtt.contract.payloads import Reply


class Progress(StrEnum):
    """Progress of a command or request: the vendor may have been called, its reply is stored, or published."""

    WRITING = "writing"
    DECIDED = "decided"
    ANSWERED = "answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReply:
    """Journal entry of another node for a command or request, and its reply once that is decided."""

    progress: Progress
    replies: tuple[Reply, ...] = ()


class Journal(Protocol):
    """Stores how far commands have come."""

    async def record_writing(self, entry: JournalEntry, keys: Sequence[str]) -> None:
        """Store that the vendor is about to be called. Raises CommandError: then it must not be called."""
        ...

    def decide(self, entry: JournalEntry, key: str, reply: DecidedReply) -> None:
        """Store the reply for a key, then publish it."""
        ...

    def repeat(self, replies: Sequence[Reply]) -> None:
        """Publish replies once more, after what was decided before is stored."""
        ...

    def close(self, entry: JournalEntry) -> None:
        """Record that every command of a message has ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedReply:
    """The messages of a reply, and by what a repetition of its transaction finds it."""

    replies: tuple[Reply, ...]
    topic: str
    key: str | None
    transaction: str | int | None


@dataclass(slots=True, kw_only=True, eq=False)
class JournalEntry:
    """One message with commands, or a request. `age` is seconds since it came, `earlier` what another node stored."""

    id: str
    journal: Journal
    age: float = 0.0
    earlier: Mapping[str, StoredReply] = field(default_factory=dict)
    _open: int = 0

    def begin(self) -> None:
        """Count a command that is to end in a reply."""
        self._open += 1

    def end(self) -> None:
        """Record the end of one of them; the message is closed with the last one."""
        self._open -= 1
        if self._open == 0:
            self.journal.close(self)

    def was_writing(self, key: str | None) -> bool:
        """Return True if another node may have called the vendor, and nobody knows how that ended."""
        stored = self.earlier.get(key or "")
        return stored is not None and stored.progress is Progress.WRITING
