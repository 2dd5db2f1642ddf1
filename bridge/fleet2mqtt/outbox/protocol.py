"""The outbox as its callers see it, whatever engine stores it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from fleet2mqtt.devices.model import Alarm
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox.models import Addition, AlarmEvent, DeadLetter, EndedAlarm, EventDraft, Stored


class Outbox(Protocol):
    """Alarm events, checkpoints and dead letters on disk.

    Every method that waits for the disk raises OutboxError when that fails. The figures are as of the last commit.
    """

    @property
    def depth(self) -> int:
        """Number of events that the broker has not acknowledged."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the events that the broker has not acknowledged."""
        ...

    @property
    def oldest(self) -> datetime | None:
        """Time at which the oldest of them was received."""
        ...

    @property
    def first_seq(self) -> int:
        """Oldest number stored, or else the next to be given: lower ones are no longer here."""
        ...

    @property
    def last_seq(self) -> int:
        """Last number given."""
        ...

    @property
    def refused(self) -> Mapping[str, int]:
        """Alarms not accepted since the start, by reason: `full`, `disk`."""
        ...

    @property
    def dead(self) -> int:
        """Number of dead letters stored."""
        ...

    @property
    def displaced(self) -> int:
        """Dead letters that were deleted for newer ones since the start."""
        ...

    @property
    def commits(self) -> int:
        """Transactions since the start."""
        ...

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
        ...

    async def add_all(
        self, additions: Sequence[Addition], name_of: Callable[[str], str | None]
    ) -> list[Stored | OutboxError]:
        """Store several callers' alarms, each as `add` does, together; return the result of each."""
        ...

    async def change(self, drafts: Sequence[EventDraft], managed: Mapping[str, str | None]) -> tuple[AlarmEvent, ...]:
        """Store events about alarms together with texts of alarm management by key; return the events.

        A text of None deletes one. Raises OutboxFull like `add`.
        """
        ...

    async def managed(self) -> dict[str, str]:
        """Return the texts of alarm management, by key."""
        ...

    async def event_of(self, id_: str) -> AlarmEvent | None:
        """Return the raise event with an id, or else its clear event; None if it is no longer here."""
        ...

    async def acknowledgements(self, ids: Sequence[str]) -> dict[str, AlarmEvent]:
        """Return the last event of each alarm that acknowledged it or took that back, by the id of its raise event."""
        ...

    async def changes_of(self, raised: AlarmEvent) -> list[AlarmEvent]:
        """Return the events of an alarm that are still here, its raise event first: up to its clear, or next raise."""
        ...

    async def changed(self) -> None:
        """Wait until something was added since the last call. For one consumer."""
        ...

    async def transaction_began(self, longest: float) -> None:
        """Wait until the disk starts to work for new alarms, at most so many seconds: the event loop has time then."""
        ...

    async def unpublished(self, after: int, limit: int = 500) -> list[AlarmEvent]:
        """Return the first events after a number that the broker has not acknowledged, oldest first."""
        ...

    async def published(self, seqs: Iterable[int]) -> None:
        """Record that the broker has acknowledged events; they stay for replay within the history's bound."""
        ...

    async def history(self, after: int, limit: int) -> tuple[list[AlarmEvent], bool]:
        """Return the first events after a number, acknowledged or not, oldest first; and True if there are more."""
        ...

    def history_in_memory(self, after: int, limit: int) -> list[AlarmEvent]:
        """Return the events that `history` would, as far as they are in memory; none if the disk may have one before.

        For readers that go on from the last one: from the first call on, new events are kept for them.
        """
        ...

    async def raised_before(self, before: int, limit: int, device: str = "") -> tuple[list[AlarmEvent], dict[int, str]]:
        """Return the last raise events before a number, newest first, and when their alarms ended, by number.

        Without those of active alarms, but for some of the last second; of one device, or of all with "".
        """
        ...

    async def active_alarms(self) -> list[AlarmEvent]:
        """Return the raise events of active alarms: those whose vendor reports the clear, and has not yet."""
        ...

    async def ended_alarms(self) -> list[EndedAlarm]:
        """Return the last end of each alarm that is not active, oldest first."""
        ...

    async def forget(self, device_ids: Iterable[str]) -> list[AlarmEvent]:
        """End the active alarms of these devices and delete their last alarms; return the events that were active."""
        ...

    async def summary(self, now: datetime) -> dict[str, dict[str, int]]:
        """Return raise events by severity: raised in the `last_hour` and `last_day` (to the minute), `active` now."""
        ...

    async def last(self) -> dict[str, AlarmEvent]:
        """Return each device's newest raise event, by when it was raised."""
        ...

    def checkpoint(self, backend: str, device: str) -> str | None:
        """Return the checkpoint of a device; None if there is none."""
        ...

    async def save_checkpoint(self, backend: str, device: str, text: str) -> None:
        """Store how far a device's history has been read; an empty text deletes that."""
        ...

    async def save_checkpoints(self, backend: str, texts: Mapping[str, str]) -> None:
        """Store checkpoints of a backend together, by device: all of them or none."""
        ...

    async def add_dead_letter(
        self, backend: str, kind: str, error: str, body: bytes, stored_push: int | None = None
    ) -> int:
        """Store a push that could not be parsed, its secrets already dropped; return the dead letter's id.

        `stored_push` is its number in the push inbox of a cluster, where it ends with that.
        """
        ...

    async def dead_letters(self, after: int, limit: int) -> list[DeadLetter]:
        """Return the first dead letters after an id, oldest first."""
        ...

    async def get_dead_letter(self, letter: int) -> DeadLetter | None:
        """Return the dead letter with an id, None if there is none."""
        ...

    async def discard(self, letter: int) -> bool:
        """Delete a dead letter; return False if there is none with this id."""
        ...

    async def setting(self, key: str, default_factory: Callable[[], str]) -> str:
        """Return a text that outlives restarts, made by the factory when it is read for the first time."""
        ...
