"""Alarms of the UMS, and the backfill that reads from its history what no push delivered.

The list of newest alarms (the UMS document 3.2) has one item per device, so of two alarms between two polls it hides
one. It is a hint: where a device's newest alarm is not its checkpoint, the history (3.3) is read down to there. Only
then, and only once the alarms are on disk, the checkpoint is saved. A push never moves it: an older one may be missing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial

import orjson

from fleet2mqtt.devices.model import Alarm, Severity, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, InvalidResponse, RateLimited, Rejected
from fleet2mqtt.platforms.ums.coordinator import Coordinator
from fleet2mqtt.platforms.ums.models import MetricHistory, alarm_id, normalize_mac, zone_context
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Context
from fleet2mqtt.sdk.pagination import MAX_PAGES, Item, Page
from fleet2mqtt.sdk.poll_errors import PollErrors

WINDOW = timedelta(hours=48)
"""Period that the list of newest alarms covers."""
OVERLAP = timedelta(minutes=10)
"""Read again below a checkpoint, for alarms that were reported late."""
CHUNK = 200
_SAVE_INTERVAL = timedelta(hours=1)
_MARGIN = timedelta(hours=2)

_SEVERITY = {
    "serious": Severity.CRITICAL,
    "warning": Severity.MAJOR,
    "normal": Severity.MINOR,
    "unknown": Severity.INDETERMINATE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRecord:
    """An alarm of the vendor: its id, the MAC that raised it, its time (None if it cannot be read), and all members."""

    id: str
    mac: str | None
    at: datetime | None
    item: MetricHistory


def parse_alarm(item: Item, zone: tzinfo, mac: str | None = None) -> AlarmRecord:
    """Return the alarm in a list item or push; `mac` is used where it does not name its producer."""
    alarm = MetricHistory.model_validate(item, context=zone_context(zone))
    at = alarm.metric_history_time
    return AlarmRecord(
        id=alarm_id(item),
        mac=normalize_mac(alarm.metric_history_producer) or mac,
        at=at if at is None or at.tzinfo is zone else at.astimezone(zone),
        item=alarm,
    )


def build_alarm(context: Context, record: AlarmRecord, origin: UpdateOrigin) -> Alarm:
    """Return the alarm of the contract; without a readable time it counts as raised now."""
    item = record.item
    level = item.metric_history_level or ""
    code = item.event_id
    names = (item.metric_history_name, item.metric_history_desc_en, item.metric_history_desc, code)
    return Alarm(
        id=f"{context.name}:{record.id}",
        backend=context.name,
        device=context.name if record.mac is None else context.ids(context.name, record.mac),
        severity=_SEVERITY.get(level.lower(), Severity.INDETERMINATE),
        level=level,
        name=str(next((name for name in names if name is not None), "unknown")),
        raised_at=record.at or datetime.now(context.zone),
        source=origin,
        line=item.line_id,
        code=code,
        category=item.event_type,
        description=item.metric_history_desc,
        description_en=item.metric_history_desc_en,
        tags=(item.tag1 or "", item.tag2 or "", item.tag3 or ""),
    )


@dataclass(slots=True)
class _History:
    """Alarms of a device, collected page by page until `floor` is reached."""

    newest: AlarmRecord | None
    floor: datetime
    found: dict[str, AlarmRecord] = field(default_factory=dict)
    sorted: bool | None = None
    _last: datetime | None = None

    def add(self, records: Iterable[AlarmRecord]) -> bool:
        """Add a page; return True if no later page can matter, as far as the order so far shows."""
        for record in records:
            self.found[record.id] = record
            if record.at is not None:
                self.sorted = self.sorted is not False and (self._last is None or record.at <= self._last)
                self._last = record.at
        if self.newest is not None and self.newest.id not in self.found:
            self.sorted = False
        return bool(self.sorted) and self._last is not None and self._last < self.floor

    def result(self) -> list[AlarmRecord]:
        """Return the newest alarm, and those raised since the floor, oldest first."""
        since = [record for record in self.found.values() if record.at is None or record.at >= self.floor]
        if self.newest is not None and all(record.id != self.newest.id for record in since):
            since.insert(0, self.newest)
        if self.sorted is not False:  # newest first: so are those of the same second
            since.reverse()
        return sorted(since, key=lambda record: (record.at is not None, record.at or self.floor))


class Backfill:
    """The source `alarms`."""

    def __init__(self, context: Context, coordinator: Coordinator) -> None:
        self._context = context
        self._coordinator = coordinator
        self._client = coordinator.client
        self._overdue: set[str] = set()
        """Devices whose history must be read because the bridge was down for longer than `WINDOW`."""

    async def poll(self) -> AsyncIterator[Update]:
        """Yield what each device raised since its checkpoint. Raises BackendError."""
        now = datetime.now(UTC)
        baseline, polled = await self._checkpoints(now)
        errors = PollErrors()
        listing = self._coordinator.listing(self._client.alarm_latest, alarm_id)
        seen: set[str] = set()
        async for page in listing.pages():
            for newest in (parse_alarm(item, self._context.zone) for item in page.items):
                seen.add(newest.mac or "")
                alarms_of_device = await self._read_device(newest.mac, newest, baseline, errors)
                for update in alarms_of_device.updates:
                    yield update
                await self._save(alarms_of_device)
        if now - polled > WINDOW - _MARGIN and not self._overdue:
            self._overdue = set(await self._coordinator.macs())
        self._overdue -= seen
        for mac in tuple(self._overdue):
            alarms_of_device = await self._read_device(mac, None, baseline, errors)
            for update in alarms_of_device.updates:
                yield update
            await self._save(alarms_of_device)
        if now - polled > _SAVE_INTERVAL and not self._overdue:
            await self._save_polled(baseline, now)
        errors.close()

    async def _read_device(
        self, mac: str | None, newest: AlarmRecord | None, baseline: datetime, errors: PollErrors
    ) -> _DeviceAlarms:
        """Return what a device raised since its checkpoint; only its newest alarm if its history cannot be read."""
        checkpoint = _Checkpoint.read(self._context.checkpoint(mac)) if mac else None
        if newest is not None and checkpoint is not None and checkpoint.id == newest.id:
            return _DeviceAlarms(mac, (), None)
        records, verified = [newest] if newest is not None else [], False
        if mac is not None:
            try:
                records, verified = await self._history(mac, newest, _floor(checkpoint, newest, baseline)), True
            except BackendError as error:
                self._skip(mac, error, errors)
            else:
                errors.ok()
        alarms = [build_alarm(self._context, record, UpdateOrigin.POLL) for record in records]
        chunks = (alarms[at : at + CHUNK] for at in range(0, len(alarms), CHUNK))
        last = newest or (records[-1] if records else None)
        return _DeviceAlarms(
            mac,
            tuple(self._coordinator.update(alarms=chunk) for chunk in chunks),
            _Checkpoint.of(last) if verified else None,
        )

    async def _save(self, alarms_of_device: _DeviceAlarms) -> None:
        """Save a device's checkpoint: the consumer of the updates returns only once they are on disk."""
        if alarms_of_device.mac is not None and alarms_of_device.checkpoint is not None:
            self._overdue.discard(alarms_of_device.mac)
            if alarms_of_device.checkpoint.id is not None:
                await self._context.save_checkpoint(alarms_of_device.mac, alarms_of_device.checkpoint.text())

    def _skip(self, mac: str, error: BackendError, errors: PollErrors) -> None:
        """Skip a history that the UMS does not return; it is requested again by the next poll."""
        if isinstance(error, Rejected) and not isinstance(error, RateLimited):
            self._overdue.discard(mac)
            errors.ok()
        else:
            errors.skip(error)

    async def _history(self, mac: str, newest: AlarmRecord | None, floor: datetime) -> list[AlarmRecord]:
        """Return the alarms of a device since `floor`, oldest first. Raises BackendError."""
        history = _History(newest, floor)
        vendor = newest.item.metric_history_producer if newest else None
        fetch = partial(self._client.alarm_history, vendor or self._coordinator.store.vendor_mac(mac))
        offset = 0
        for _ in range(MAX_PAGES):
            page = await fetch(offset, self._coordinator.page_size)
            offset += page.count
            known = len(history.found)
            enough = history.add(parse_alarm(item, self._context.zone, mac) for item in page.items)
            if enough or _is_last(page, offset, self._coordinator.page_size):
                return history.result()
            if len(history.found) == known:
                break
        raise InvalidResponse(
            f"alarm_history: the pages for {mac} repeat without end", endpoint="alarm_history", code="endless"
        )

    async def _checkpoints(self, now: datetime) -> tuple[datetime, datetime]:
        """Return when this backend first ran, and when its alarms were last polled completely."""
        text = self._context.checkpoint("")
        if text is None:
            await self._save_polled(now, now)
            return now, now
        checkpoints = orjson.loads(text)
        return datetime.fromisoformat(checkpoints["baseline"]), datetime.fromisoformat(checkpoints["polled"])

    async def _save_polled(self, baseline: datetime, polled: datetime) -> None:
        text = orjson.dumps({"baseline": baseline.isoformat(), "polled": polled.isoformat()})
        await self._context.save_checkpoint("", text.decode())


def _is_last(page: Page, offset: int, limit: int) -> bool:
    """Return True if nothing comes after a page, `offset` being the number of items read with it."""
    if page.count == 0:
        return True
    return page.count < limit if page.total is None else offset >= page.total


def _floor(checkpoint: _Checkpoint | None, newest: AlarmRecord | None, baseline: datetime) -> datetime:
    """Return the time before which all alarms are known."""
    if checkpoint is None or checkpoint.at is None:
        return baseline - WINDOW
    at = checkpoint.at if newest is None or newest.at is None else min(checkpoint.at, newest.at)
    return at - OVERLAP


@dataclass(frozen=True, slots=True)
class _DeviceAlarms:
    """Updates of one device, and the checkpoint to save after them; None where its history was not read."""

    mac: str | None
    updates: tuple[Update, ...]
    checkpoint: _Checkpoint | None


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """The newest alarm of a device when its history was last read; None where it has had none."""

    id: str | None
    at: datetime | None

    @classmethod
    def of(cls, record: AlarmRecord | None) -> _Checkpoint:
        return cls(None, None) if record is None else cls(record.id, record.at)

    @classmethod
    def read(cls, text: str | None) -> _Checkpoint | None:
        if text is None:
            return None
        checkpoint = orjson.loads(text)
        return cls(checkpoint["id"], checkpoint["at"] and datetime.fromisoformat(checkpoint["at"]))

    def text(self) -> str:
        return orjson.dumps({"id": self.id, "at": vendor_json.iso(self.at)}).decode()
