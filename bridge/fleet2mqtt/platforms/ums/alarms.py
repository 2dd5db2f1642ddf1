"""Alarms: what a vendor's record means, and reading back what no push told, so that none is lost.

The list of newest alarms (the UMS document 3.2) has one record a device, so of two alarms between two polls it hides
one. It is a hint: where a device's newest alarm is not the one its history was last verified to, the history (3.3) is
read down to there. Only then, and only once the alarms are on disk, the mark moves. A push never moves it: an older
alarm may have been missed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial

import orjson

from fleet2mqtt.devices.model import Alarm, Severity, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, InvalidResponse, RateLimited, Rejected
from fleet2mqtt.platforms.ums.coordinator import System
from fleet2mqtt.platforms.ums.models import MetricHistory, alarm_id, in_zone, mac_of
from fleet2mqtt.platforms.ums.paging import MAX_PAGES, Listing, Row
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Context
from fleet2mqtt.sdk.poll_errors import PollErrors

WINDOW = timedelta(hours=48)
"""How far the list of newest alarms reaches back."""
OVERLAP = timedelta(minutes=10)
"""Read again below a mark, for what was reported late."""
CHUNK = 200
_POLLED_EVERY = timedelta(hours=1)
_MARGIN = timedelta(hours=2)

_SEVERITY = {
    "serious": Severity.CRITICAL,
    "warning": Severity.MAJOR,
    "normal": Severity.MINOR,
    "unknown": Severity.INDETERMINATE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A vendor's alarm: its id, the MAC that raised it, and when, where that can be read."""

    id: str
    mac: str | None
    at: datetime | None
    row: MetricHistory


def record_of(raw: Row, zone: tzinfo, mac: str | None = None) -> Record:
    """The alarm in a vendor's object; `mac` where it does not name its producer."""
    row = MetricHistory.model_validate(raw, context=in_zone(zone))
    at = row.metric_history_time
    return Record(
        id=alarm_id(raw),
        mac=mac_of(row.metric_history_producer) or mac,
        at=at if at is None or at.tzinfo is zone else at.astimezone(zone),
        row=row,
    )


def alarm_of(context: Context, record: Record, origin: UpdateOrigin) -> Alarm:
    """An alarm as the bridge speaks of it; without a readable time it counts as raised when it was received."""
    row = record.row
    level = row.metric_history_level or ""
    code = row.event_id
    words = (row.metric_history_name, row.metric_history_desc_en, row.metric_history_desc, code)
    return Alarm(
        id=f"{context.name}:{record.id}",
        backend=context.name,
        device=context.name if record.mac is None else context.ids(context.name, record.mac),
        severity=_SEVERITY.get(level.lower(), Severity.INDETERMINATE),
        level=level,
        name=str(next((word for word in words if word is not None), "unknown")),
        raised_at=record.at or datetime.now(context.zone),
        source=origin,
        line=row.line_id,
        code=code,
        category=row.event_type,
        description=row.metric_history_desc,
        description_en=row.metric_history_desc_en,
        tags=(row.tag1 or "", row.tag2 or "", row.tag3 or ""),
    )


@dataclass(slots=True)
class _History:
    """A device's alarms as its history gives them, page after page, until `floor` is reached."""

    newest: Record | None
    floor: datetime
    found: dict[str, Record] = field(default_factory=dict)
    sorted: bool | None = None
    _last: datetime | None = None

    def add(self, records: Iterable[Record]) -> bool:
        """Take a page in; says whether what lies below cannot matter, as far as the order so far tells."""
        for record in records:
            self.found[record.id] = record
            if record.at is not None:
                self.sorted = self.sorted is not False and (self._last is None or record.at <= self._last)
                self._last = record.at
        if self.newest is not None and self.newest.id not in self.found:
            self.sorted = False
        return bool(self.sorted) and self._last is not None and self._last < self.floor

    def wanted(self) -> list[Record]:
        """The newest, and those raised since the floor, oldest first."""
        since = [record for record in self.found.values() if record.at is None or record.at >= self.floor]
        if self.newest is not None and all(record.id != self.newest.id for record in since):
            since.insert(0, self.newest)
        if self.sorted is not False:  # newest first: so are those of the same second
            since.reverse()
        return sorted(since, key=lambda record: (record.at is not None, record.at or self.floor))


class CatchUp:
    """The alarms source."""

    def __init__(self, context: Context, system: System) -> None:
        self._context = context
        self._system = system
        self._client = system.client
        self._owed: set[str] = set()
        """Devices that were out of sight for longer than the list of newest alarms reaches."""

    async def poll(self) -> AsyncIterator[Update]:
        """Everything raised since each device's history was last verified. Raises BackendError."""
        now = datetime.now(UTC)
        baseline, polled = await self._checkpoints(now)
        failures = PollErrors()
        listing = Listing(fetch=self._client.alarm_latest, key=alarm_id, limit=self._system.page_size)
        seen: set[str] = set()
        async for page in listing.pages():
            for newest in (record_of(row, self._context.zone) for row in page.rows):
                seen.add(newest.mac or "")
                news = await self._news(newest.mac, newest, baseline, failures)
                for update in news.updates:
                    yield update
                await self._verified(news)
        if now - polled > WINDOW - _MARGIN and not self._owed:
            self._owed = set(await self._system.macs())
        self._owed -= seen
        for mac in tuple(self._owed):
            news = await self._news(mac, None, baseline, failures)
            for update in news.updates:
                yield update
            await self._verified(news)
        if now - polled > _POLLED_EVERY and not self._owed:
            await self._keep_marks(baseline, now)
        failures.close()

    async def _news(self, mac: str | None, newest: Record | None, baseline: datetime, failures: PollErrors) -> _News:
        """What a device raised since its mark; of one that the UMS cannot be asked about the newest alarm alone."""
        mark = _Mark.read(self._context.checkpoint(mac)) if mac else None
        if newest is not None and mark is not None and mark.id == newest.id:
            return _News(mac, (), None)
        records, verified = [newest] if newest is not None else [], False
        if mac is not None:
            try:
                records, verified = await self._history(mac, newest, _floor(mark, newest, baseline)), True
            except BackendError as error:
                self._excuse(mac, error, failures)
            else:
                failures.ok()
        alarms = [alarm_of(self._context, record, UpdateOrigin.POLL) for record in records]
        chunks = (alarms[at : at + CHUNK] for at in range(0, len(alarms), CHUNK))
        last = newest or (records[-1] if records else None)
        return _News(
            mac,
            tuple(self._system.update(alarms=chunk) for chunk in chunks),
            _Mark.of(last) if verified else None,
        )

    async def _verified(self, news: _News) -> None:
        """Move a device's mark: whoever takes the updates comes back only when they are on disk."""
        if news.mac is not None and news.mark is not None:
            self._owed.discard(news.mac)
            if news.mark.id is not None:
                await self._context.save_checkpoint(news.mac, news.mark.text())

    def _excuse(self, mac: str, error: BackendError, failures: PollErrors) -> None:
        """A history that the UMS will not give costs the other devices nothing; it is asked for again next time."""
        if isinstance(error, Rejected) and not isinstance(error, RateLimited):
            self._owed.discard(mac)
            failures.ok()
        else:
            failures.skip(error)

    async def _history(self, mac: str, newest: Record | None, floor: datetime) -> list[Record]:
        """The alarms of a device since `floor`, oldest first. Raises BackendError."""
        history = _History(newest, floor)
        vendor = newest.row.metric_history_producer if newest else None
        fetch = partial(self._client.alarm_history, vendor or self._system.fleet.vendor_mac(mac))
        offset = 0
        for _ in range(MAX_PAGES):
            page = await fetch(offset, self._system.page_size)
            offset += page.count
            known = len(history.found)
            enough = history.add(record_of(row, self._context.zone, mac) for row in page.rows)
            if enough or page.last(offset, self._system.page_size):
                return history.wanted()
            if len(history.found) == known:
                break
        raise InvalidResponse(
            f"alarm_history: the pages for {mac} repeat without end", endpoint="alarm_history", code="endless"
        )

    async def _checkpoints(self, now: datetime) -> tuple[datetime, datetime]:
        """When this backend first ran, and when its alarms were last polled whole."""
        text = self._context.checkpoint("")
        if text is None:
            await self._keep_marks(now, now)
            return now, now
        checkpoints = orjson.loads(text)
        return datetime.fromisoformat(checkpoints["baseline"]), datetime.fromisoformat(checkpoints["polled"])

    async def _keep_marks(self, baseline: datetime, polled: datetime) -> None:
        text = orjson.dumps({"baseline": baseline.isoformat(), "polled": polled.isoformat()})
        await self._context.save_checkpoint("", text.decode())


def _floor(mark: _Mark | None, newest: Record | None, baseline: datetime) -> datetime:
    """What was raised before this is known."""
    if mark is None or mark.at is None:
        return baseline - WINDOW
    at = mark.at if newest is None or newest.at is None else min(mark.at, newest.at)
    return at - OVERLAP


@dataclass(frozen=True, slots=True)
class _News:
    """What a device raised, and the mark to keep once that is on disk; no mark where its history was not read."""

    mac: str | None
    updates: tuple[Update, ...]
    mark: _Mark | None


@dataclass(frozen=True, slots=True)
class _Mark:
    """The newest alarm of a device when its history was last verified; None where it has never had one."""

    id: str | None
    at: datetime | None

    @classmethod
    def of(cls, record: Record | None) -> _Mark:
        return cls(None, None) if record is None else cls(record.id, record.at)

    @classmethod
    def read(cls, text: str | None) -> _Mark | None:
        if text is None:
            return None
        mark = orjson.loads(text)
        return cls(mark["id"], mark["at"] and datetime.fromisoformat(mark["at"]))

    def text(self) -> str:
        return orjson.dumps({"id": self.id, "at": vendor_json.iso(self.at)}).decode()
