"""Backfill: the source `alarms`, which reads from the UMS what no push delivered, so that no alarm is lost.

The list of newest alarms (the UMS document 3.2) has one item per gateway, so of two alarms between two polls it hides
one. Where a gateway's newest alarm is not among the last known ones, its history (3.3) is read from the new end down to
those. Progress is tracked by alarm ids: times only bound the search where no known alarm is left, as the clocks of the
UMS and of this machine may be wrong. A checkpoint moves once the alarms are on disk, and by polls only: a push proves
that one alarm came, not that none was lost before it.

An alarm that is not the newest of its gateway, because it is back-dated or the clock of the UMS was set back, shows in
the number of alarms: in the length of the history when the bridge starts and at a slow check of each gateway in turn,
and in the alarm counts (3.4) in between. Those are read here once an hour where the source `statistics` is not polled,
because its entities are disabled.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import orjson

from fleet2mqtt.devices.model import Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, RateLimited, Rejected
from fleet2mqtt.platforms.ums.alarms import AlarmRecord, build_alarm, parse_alarm
from fleet2mqtt.platforms.ums.coordinator import Coordinator
from fleet2mqtt.platforms.ums.entities import STATISTICS, STATISTICS_ENTITIES
from fleet2mqtt.platforms.ums.history import History, HistoryPage, Order
from fleet2mqtt.platforms.ums.models import alarm_id
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Context
from fleet2mqtt.sdk.sweep import Sweep

_LOG = logging.getLogger(__name__)

WINDOW = timedelta(hours=48)
"""Period that the list of newest alarms covers."""
KNOWN_IDS = 20
"""Ids in a checkpoint: several, so that a deleted alarm does no harm."""
CHUNK = 200
"""Alarms in one update."""
CHECKS_PER_POLL = 100
"""Gateways whose history is checked in one poll after the start, although their newest alarm is known."""
COUNT_INTERVAL = 3600.0
"""Seconds between two readings of the alarm counts where no source polls them."""
FULL_CHECK_INTERVAL = 86_400.0
"""Seconds in which the history of each gateway is checked once down to the first run, one gateway after another."""
_OVERLAP = timedelta(days=1)
_SAVE_INTERVAL = timedelta(hours=1)
_MARGIN = timedelta(hours=2)
_EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
"""Before this no bridge was running: a stored time that is earlier is from a clock that was not set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Progress in the history of a gateway: the ids at its new end, the time of the newest, and its length.

    What was raised before `since` was raised while the options excluded the gateway.
    """

    ids: tuple[str, ...]
    at: datetime | None = None
    total: int | None = None
    since: datetime | None = None

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Return the checkpoint in a stored text; version 0.1.0 stored one id."""
        stored = orjson.loads(text)
        ids = stored["ids"] if "ids" in stored else [stored["id"]]
        at = stored["at"] and datetime.fromisoformat(stored["at"])
        since = datetime.fromisoformat(stored["since"]) if stored.get("since") else None
        return cls(ids=tuple(ids), at=at, total=stored.get("total"), since=since)

    def text(self) -> str:
        """Return the text to store."""
        since = {"since": vendor_json.iso(self.since)} if self.since else {}
        return orjson.dumps({"ids": self.ids, "at": vendor_json.iso(self.at), "total": self.total} | since).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Poll:
    """Times of one poll: now, the first run, and the last complete poll (None: there was none)."""

    now: datetime
    baseline: datetime
    polled: datetime | None

    @property
    def was_down(self) -> bool:
        """True after a downtime that the list of newest alarms does not cover, or of unknown length."""
        return self.polled is not None and not (timedelta() <= self.now - self.polled <= WINDOW - _MARGIN)

    @property
    def is_to_be_saved(self) -> bool:
        """True when the stored time of the last complete poll is older than the save interval, or wrong."""
        return self.polled is None or not (timedelta() <= self.now - self.polled <= _SAVE_INTERVAL)

    @property
    def oldest(self) -> datetime:
        """Time down to which histories are read: what was raised in the 48 hours before the first run is backlog."""
        return self.baseline - WINDOW

    def is_backlog(self, record: AlarmRecord) -> bool:
        """Return True for what the first run finds, except for alarms that are raised meanwhile.

        It reads all that was raised in the 48 hours before. So what a later poll finds is new, whatever its time is:
        the clock of the UMS may be behind.
        """
        if self.polled is None:
            return record.at is None or not (self.baseline.replace(microsecond=0) <= record.at <= self.now)
        return record.at is not None and record.at < self.oldest


@dataclass(slots=True, kw_only=True)
class _Reading:
    """New alarms of a gateway, oldest first, and the checkpoint to save after them, None if its history was not read.

    With `is_located` they were found between known ones: they are new whatever their times are.
    """

    records: list[AlarmRecord]
    checkpoint: Checkpoint | None = None
    is_located: bool = False


@dataclass(slots=True)
class Backfill:
    """The source `alarms`."""

    context: Context
    coordinator: Coordinator
    full_check_interval: float = FULL_CHECK_INTERVAL
    _order: Order | None = None
    """Order of histories as last detected."""
    _overdue: set[str] = field(default_factory=set)
    """Gateways whose history must be read although the list of newest alarms may not have them."""
    _checked: set[str] = field(default_factory=set)
    """Gateways whose history was read since the start."""
    _checks_left: int = CHECKS_PER_POLL
    _counts: dict[str, float] = field(default_factory=dict)
    """Alarm counts as last seen, by MAC."""
    _counted_at: float = -math.inf
    """Time of the last reading here (`time.monotonic()`)."""
    _last_full_check: tuple[float, str] = field(default_factory=lambda: (time.monotonic(), ""))
    _sweep: Sweep = field(init=False)

    def __post_init__(self) -> None:
        self._sweep = Sweep(primary_fails=self.context.primary_fails)

    async def poll(self) -> AsyncIterator[Update]:
        """Yield the alarms that are not known yet. Raises BackendError."""
        poll = await self._begin()
        self._sweep.order(())
        seen: set[str] = set()
        read: set[str] = set()
        self._checks_left = CHECKS_PER_POLL
        client = self.coordinator.client
        async for page in self.coordinator.listing(client.alarm_latest, alarm_id).pages():
            for newest in (parse_alarm(item, self.context.zone) for item in page.items):
                if newest.mac is None:
                    yield self._update([newest], poll)
                    continue
                seen.add(newest.mac)
                if not self.coordinator.store.is_selected(newest.mac):
                    await self._pass_over(newest.mac, newest)
                    continue
                if not self._is_to_be_read(newest.mac, newest, poll):
                    continue
                read.add(newest.mac)
                async for update in self._read(newest.mac, newest, poll):
                    yield update
        await self._read_counts()
        due = [(mac, False) for mac in await self._due(poll, seen) if mac not in read]
        for mac, is_full in [*due, *self._next_full_check()]:
            async for update in self._read(mac, None, poll, is_full=is_full):
                yield update
        if poll.is_to_be_saved and not self._overdue:
            await self._save_polled(poll.baseline, poll.now)
        self._sweep.close()

    def _is_to_be_read(self, mac: str, newest: AlarmRecord, poll: _Poll) -> bool:
        """Return True for a history that may have something new, or is checked as it was not read since the start."""
        if not self._is_known(mac, newest, poll):
            return True
        if mac in self._checked or not self._checks_left:
            return False
        self._checks_left -= 1
        return True

    def _is_known(self, mac: str, newest: AlarmRecord, poll: _Poll) -> bool:
        """Return True if nothing can be new: the newest alarm is known, and not from a clock that was ahead."""
        checkpoint = self._checkpoint(mac)
        if checkpoint is None or newest.id not in checkpoint.ids or mac in self._overdue:
            return False
        return checkpoint.at is None or checkpoint.at <= poll.now

    async def _pass_over(self, mac: str, newest: AlarmRecord) -> None:
        """Move the checkpoint of an excluded gateway on, without a call: it may be selected later.

        The alarms before this one are not looked for then, so their ids are not kept.
        """
        checkpoint = self._checkpoint(mac)
        if checkpoint is None or newest.id not in checkpoint.ids:
            await self.context.save_checkpoint(mac, passed_over(newest).text())

    async def _due(self, poll: _Poll, seen: set[str]) -> list[str]:
        """Return the gateways to read although the list of newest alarms does not ask for it."""
        if poll.was_down and not self._overdue:
            self._overdue = set(await self.coordinator.macs()) - seen
        return sorted(self._overdue | self._counted_more())

    async def _read_counts(self) -> None:
        """Read the alarm counts, once an hour, where they are wanted and no source polls them."""
        options = self.context
        if options.interval(STATISTICS) == math.inf or any(map(options.is_enabled, STATISTICS_ENTITIES)):
            return
        if not self.coordinator.has_listed:  # it would read the list a second time
            return
        if time.monotonic() - self._counted_at < COUNT_INTERVAL:
            return
        self._counted_at = time.monotonic()
        try:
            async for _ in self.coordinator.poll_statistics():
                pass
        except BackendError as error:  # the newest alarms were read; the counts are only a second way to find alarms
            _LOG.warning("%s: alarms are not counted for an hour: %s", self.context.name, error)

    def _counted_more(self) -> set[str]:
        """Return the gateways that have more alarms than before by the UMS's own counts, 3.4."""
        counts = self.coordinator.store.alarm_counts()
        more = {mac for mac, count in counts.items() if count > self._counts.get(mac, count)}
        self._counts = dict(counts)
        return more

    def _next_full_check(self) -> list[tuple[str, bool]]:
        """Return the gateway whose whole history is to be checked now: one after another within the interval."""
        at, last = self._last_full_check
        macs = sorted(self.coordinator.store.macs())
        if not macs or time.monotonic() - at < self.full_check_interval / len(macs):
            return []
        mac = next((mac for mac in macs if mac > last), macs[0])
        self._last_full_check = (time.monotonic(), mac)
        return [(mac, True)]

    async def _read(
        self, mac: str, newest: AlarmRecord | None, poll: _Poll, *, is_full: bool = False
    ) -> AsyncIterator[Update]:
        """Yield what a gateway raised since its checkpoint; only its newest alarm if its history cannot be read."""
        try:
            reading = await self._read_history(mac, newest, poll, is_full=is_full)
        except BackendError as error:
            self._skip(mac, error)
            reading = _Reading(records=[newest] if newest else [])
        else:
            self._sweep.record_success(mac)
            self._overdue.discard(mac)
            self._checked.add(mac)
        if reading.records:
            self.coordinator.schedule.note_alarm(mac)
        for at in range(0, len(reading.records), CHUNK):
            yield self._update(reading.records[at : at + CHUNK], poll, is_new=reading.is_located)
        if reading.checkpoint is not None and reading.checkpoint != self._checkpoint(mac):
            # The consumer comes back only once the alarms are on disk.
            await self.context.save_checkpoint(mac, reading.checkpoint.text())

    def _skip(self, mac: str, error: BackendError) -> None:
        """Skip a history that the UMS does not return; unless it rejects it, the next poll requests it again."""
        if isinstance(error, Rejected) and not isinstance(error, RateLimited):
            self._overdue.discard(mac)
            self._sweep.record_success(mac)
        else:
            self._overdue.add(mac)
            self._sweep.record_failure(mac, error)

    async def _read_history(self, mac: str, newest: AlarmRecord | None, poll: _Poll, *, is_full: bool) -> _Reading:
        """Return the new alarms of a gateway. Raises BackendError."""
        checkpoint = self._checkpoint(mac)
        known = frozenset() if checkpoint is None else frozenset(checkpoint.ids)
        history = History(fetch=partial(self._fetch, mac, newest), limit=self.coordinator.page_size, order=self._order)
        oldest, floor = _oldest(checkpoint, poll), _floor(checkpoint, poll)
        expected = None if checkpoint is None else checkpoint.total
        while (page := await history.read_page(expected)) is not None:
            found = not is_full and any(record.id in known for record in page)
            if _begins_with(history, newest) and (found or _is_below(page, oldest if is_full else floor)):
                break
        self._order = history.order or self._order
        records, is_located = _select(history, checkpoint, floor)
        is_missing = newest is not None and newest.id not in known and newest not in records
        if is_full or is_missing or _are_missing(history, checkpoint, records):
            while (page := await history.read_page()) is not None:
                if history.order is not Order.UNORDERED and _is_below(page, oldest):
                    break
            unknown = (record for record in history.records.values() if record.id not in known)
            located = {record.id for record in records} if is_located else set()
            records = [r for r in unknown if r.at is None or r.at >= oldest or r.id in located]
            is_located = False
        if newest is not None and newest.id not in known and newest not in records:
            records.insert(0, newest)
        return _Reading(
            records=_oldest_first(records),
            checkpoint=_next_checkpoint(history, newest, checkpoint),
            is_located=is_located,
        )

    async def _fetch(self, mac: str, newest: AlarmRecord | None, offset: int, limit: int) -> HistoryPage:
        vendor_mac = newest.item.metric_history_producer if newest else None
        client, store = self.coordinator.client, self.coordinator.store
        page = await client.alarm_history(vendor_mac or store.vendor_mac(mac), offset, limit)
        records = tuple(parse_alarm(item, self.context.zone, mac) for item in page.items)
        return HistoryPage(records=records, count=page.count, total=page.total)

    def _update(self, records: Iterable[AlarmRecord], poll: _Poll, *, is_new: bool = False) -> Update:
        return self.coordinator.update(
            alarms=(
                build_alarm(self.context, record, UpdateOrigin.POLL, backlog=not is_new and poll.is_backlog(record))
                for record in records
            )
        )

    def _checkpoint(self, mac: str) -> Checkpoint | None:
        text = self.context.checkpoint(mac)
        return Checkpoint.parse(text) if text else None

    async def _begin(self) -> _Poll:
        """Return the times of this poll; stored ones that cannot be right are not believed."""
        now = datetime.now(UTC)
        text = self.context.checkpoint("")
        if text is None:
            await self._save_polled(now, None)
            return _Poll(now=now, baseline=now, polled=None)
        stored = orjson.loads(text)
        baseline = datetime.fromisoformat(stored["baseline"])
        if not _EARLIEST <= baseline <= now:
            baseline = now - WINDOW
        return _Poll(now=now, baseline=baseline, polled=stored["polled"] and datetime.fromisoformat(stored["polled"]))

    async def _save_polled(self, baseline: datetime, polled: datetime | None) -> None:
        text = orjson.dumps({"baseline": baseline.isoformat(), "polled": polled and polled.isoformat()})
        await self.context.save_checkpoint("", text.decode())


def passed_over(record: AlarmRecord) -> Checkpoint:
    """Return the checkpoint of a gateway that raised an alarm while the options exclude it."""
    return Checkpoint(ids=(record.id,), at=record.at, since=record.at or datetime.now(UTC))


def _oldest(checkpoint: Checkpoint | None, poll: _Poll) -> datetime:
    """Return the time down to which the history of a gateway is read."""
    return poll.oldest if checkpoint is None or checkpoint.since is None else max(poll.oldest, checkpoint.since)


def _floor(checkpoint: Checkpoint | None, poll: _Poll) -> datetime:
    """Return the time below which a history is not searched for new alarms if none of the known ones is found."""
    if checkpoint is None or checkpoint.at is None:
        return _oldest(checkpoint, poll)
    floor = min(checkpoint.at, poll.now) - _OVERLAP
    return floor if checkpoint.since is None else max(floor, checkpoint.since)


def _begins_with(history: History, newest: AlarmRecord | None) -> bool:
    """Return True if what was read is the new end of the history: in a known order, or as it has the newest alarm."""
    if newest is not None:
        return history.order is not Order.UNORDERED and newest.id in history.records
    return history.order in {Order.NEWEST_FIRST, Order.OLDEST_FIRST}


def _is_below(page: tuple[AlarmRecord, ...], floor: datetime) -> bool:
    return all(record.at is not None and record.at < floor for record in page)


def _select(history: History, checkpoint: Checkpoint | None, floor: datetime) -> tuple[list[AlarmRecord], bool]:
    """Return the alarms that are new, the new end first, and whether their place in the history shows it.

    An alarm behind the last known one is old, unless all that there was is known.
    """
    records = list(history.records.values())
    known = frozenset() if checkpoint is None else frozenset(checkpoint.ids)
    places = [place for place, record in enumerate(records) if record.id in known]
    unknown = [record for record in records if record.id not in known]
    if not places or history.order is Order.UNORDERED:
        return [record for record in unknown if record.at is None or record.at >= floor], False
    knows_all = checkpoint is not None and checkpoint.total is not None and checkpoint.total <= len(known)
    if not knows_all:
        unknown = [record for record in records[: places[-1]] if record.id not in known]
    return unknown, True


def _are_missing(history: History, checkpoint: Checkpoint | None, records: list[AlarmRecord]) -> bool:
    """Return True if the history grew by more alarms than were found."""
    if checkpoint is None or checkpoint.total is None or history.total is None:
        return False
    return history.total - checkpoint.total > len(records)


def _next_checkpoint(history: History, newest: AlarmRecord | None, before: Checkpoint | None) -> Checkpoint | None:
    records = list(history.records.values())
    if history.order is Order.UNORDERED:
        records = _oldest_first(records)[::-1]
    found = [newest, *records] if newest else records
    ids = dict.fromkeys([record.id for record in found] + list(before.ids if before else ()))
    if not ids:
        return None
    at = next((record.at for record in found if record.at is not None), before.at if before else None)
    since = before.since if before else None
    return Checkpoint(ids=tuple(ids)[:KNOWN_IDS], at=at, total=history.total, since=since)


def _oldest_first(records: list[AlarmRecord]) -> list[AlarmRecord]:
    """Return alarms by time, those without one first; of the same second the one nearer to the new end later."""
    oldest_end_first = records[::-1]
    return sorted(oldest_end_first, key=lambda record: (record.at is not None, record.at or _EARLIEST))
