"""Alarms: what a row of the log means, and reading back what no webhook told, so that none is lost.

The project's log (读取所有告警消息 in the document) has no documented paging, so it may be cut short. As long as it
reaches back to what was known before, nothing is missing. Where it does not, every device's own log is read, a few at
a poll, and only when all were read and are on disk the mark moves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from fleet2mqtt.devices.model import Alarm, Severity, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, RateLimited, Rejected
from fleet2mqtt.platforms.thingscloud.alarm_matching import OVERLAP, Entry, Ledger
from fleet2mqtt.platforms.thingscloud.coordinator import System
from fleet2mqtt.platforms.thingscloud.models import AlarmLog, Row, Rule, in_zone, table
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Context
from fleet2mqtt.sdk.poll_errors import PollErrors

WINDOW = timedelta(hours=48)
"""How far before its first poll the bridge reads back."""
BATCH = 20
"""Devices whose own log is read in one poll."""
CHUNK = 200
MAX_PAGES = 50

_SEVERITY = {3: Severity.CRITICAL, 2: Severity.MAJOR, 1: Severity.MINOR}


def severity_of(level: int) -> Severity:
    """3 紧急, 2 严重 or 重要, 1 普通."""
    return _SEVERITY.get(level, Severity.INDETERMINATE)


def rule_of(info: Row) -> Rule:
    """The rule in a log's `alarm_info`, in whichever way it is told."""
    nested = table(info.get("alarm_rule") or info.get("rule"))
    flat = {"id": info.get("rule_id"), "name": info.get("rule_name"), "notify_text": info.get("notify_text")}
    return Rule.model_validate({key: value for key, value in (flat | nested).items() if value is not None})


def alarm_of(context: Context, entry: Entry, rule: Rule, origin: UpdateOrigin) -> Alarm:
    """An alarm as the bridge speaks of it."""
    return Alarm(
        id=f"{context.name}:{entry.id}",
        backend=context.name,
        device=context.ids(context.name, entry.device),
        severity=severity_of(entry.level),
        level=str(entry.level) if entry.level else "",
        name=rule.name or rule.notify_text or "alarm",
        raised_at=datetime.fromtimestamp(entry.at, context.zone),
        source=origin,
        cleared=entry.cleared,
        active=True,
        alarm_key=entry.alarm_key,
        code=rule.id,
        description=rule.notify_text,
    )


class CatchUp:
    """The alarms source."""

    def __init__(self, context: Context, system: System, ledger: Ledger) -> None:
        self._context = context
        self._system = system
        self._client = system.client
        self._ledger = ledger
        self._reached: float | None = None
        """The newest time that the project's log showed, in this run."""
        self._owed: set[str] = set()
        """Devices whose own log has to be read."""
        self._unread: set[str] = set()
        """Those of them whose log could not be read last time."""
        self._done: dict[tuple[str, bool], float] = {}
        """Rows that are on disk, and their times."""

    async def poll(self) -> AsyncIterator[Update]:
        """Everything logged since the mark. Raises BackendError."""
        if self._ledger.baseline is None:
            self._ledger.baseline = datetime.now(UTC).timestamp()
        known = self._known()
        rows, whole = await self._read(None)
        async for update in self._take(rows):
            yield update
        times = [row.create_time.timestamp() for row in rows if row.create_time is not None]
        if times:
            self._reached = max(known, *times)
        if times and not whole and min(times) > known:
            self._owed.update(await self._system.natives(), filter(None, (row.device_id for row in rows)))
        failures = PollErrors()
        for device in sorted(self._owed)[:BATCH]:
            async for update in self._take(await self._own_log(device, failures)):
                yield update
            if device not in self._unread:
                self._owed.discard(device)
        failures.close()
        self._settle()
        if news := self._ledger.news():
            yield self._system.update(checkpoints=news)

    def _settle(self) -> None:
        """Move the mark to what was read whole, and forget what lies far below it."""
        if self._reached is not None and not self._owed:
            self._ledger.mark = max(self._reached, self._ledger.mark or 0.0)
        floor = self._floor()
        self._done = {row: at for row, at in self._done.items() if at >= floor}
        self._ledger.trim()

    def _known(self) -> float:
        """Nothing older than this is missing but what is owed."""
        return self._floor() + OVERLAP if self._reached is None else self._reached

    def _floor(self) -> float:
        """What was logged before this is known."""
        baseline = self._ledger.baseline or 0.0
        mark = self._ledger.mark
        return baseline - WINDOW.total_seconds() if mark is None else mark - OVERLAP

    async def _own_log(self, device: str, failures: PollErrors) -> Sequence[AlarmLog]:
        """A device's log; nothing where ThingsCloud refuses it for good, or fails: then it is asked for again."""
        self._unread.discard(device)
        try:
            rows, _ = await self._read(device)
        except BackendError as error:
            if isinstance(error, Rejected) and not isinstance(error, RateLimited):
                failures.ok()
            else:
                self._unread.add(device)
                failures.skip(error)
            return ()
        failures.ok()
        return rows

    async def _read(self, device: str | None) -> tuple[list[AlarmLog], bool]:
        """The rows of a log, and whether those are all."""
        found: list[Row] = []
        page = await self._client.alarm_logs(1, device)
        found += page.rows
        for number in range(2, min(page.pages or 1, MAX_PAGES) + 1):
            more = await self._client.alarm_logs(number, device)
            found += more.rows
        whole = page.total is not None and len(found) >= page.total
        context = in_zone(self._context.zone)
        return [AlarmLog.model_validate(row, context=context) for row in found], whole

    async def _take(self, rows: Iterable[AlarmLog]) -> AsyncIterator[Update]:
        """What of these rows is not on disk yet, oldest first; counts as on disk once whoever takes it comes back."""
        floor = self._floor()
        pairs = [(row, entry) for row in rows if (entry := self._entry(row)) is not None]
        new = [pair for pair in pairs if self._is_new(pair[1], floor)]
        new.sort(key=lambda pair: pair[1].at)
        for at in range(0, len(new), CHUNK):
            part = new[at : at + CHUNK]
            entries = self._ledger.take_logs(entry for _, entry in part)
            yield self._told([row for row, _ in part], entries)
            self._done.update(((entry.log, entry.cleared), entry.at) for _, entry in part)

    def _told(self, rows: Sequence[AlarmLog], entries: Sequence[Entry]) -> Update:
        fleet = self._system.fleet
        alarms = [
            alarm_of(self._context, entry, rule_of(row.alarm_info), UpdateOrigin.POLL)
            for row, entry in zip(rows, entries, strict=True)
        ]
        changed = (
            fleet.alarm(entry.device, alarm.raised_at, cleared=entry.cleared)
            for entry, alarm in zip(entries, alarms, strict=True)
        )
        devices = {device.id: device for device in changed if device is not None}
        checkpoints = self._ledger.checkpoints({entry.device for entry in entries})
        return self._system.update(alarms=alarms, devices=devices.values(), checkpoints=checkpoints)

    def _is_new(self, entry: Entry, floor: float) -> bool:
        if (entry.log, entry.cleared) in self._done:
            return False
        return entry.at >= floor or (entry.cleared and self._ledger.stands(entry.device, entry.log))

    def _entry(self, row: AlarmLog) -> Entry | None:
        """A row as the ledger has it; None for one that names no device or has no id."""
        device = row.device_id or vendor_json.text(row.device.get("id"))
        if device is None or row.id is None:
            return None
        rule = rule_of(row.alarm_info)
        at = row.create_time or datetime.now(UTC)
        return Entry(
            device=device,
            cleared=row.alarm_status == 0,
            at=at.timestamp(),
            level=int(row.alarm_level or 0),
            rule=rule.id or "",
            name=rule.name or "",
            log=row.id,
        )


def entry_of_push(device: str, rule: Rule, notice: Any) -> Entry | None:
    """A webhook's alarm as the ledger has it; None for one without a time."""
    at: datetime | None = notice.ts or notice.ts_text
    if at is None:
        return None
    level = next(filter(None, chain((notice.level,), (rule.alarm_level,))), 0)
    return Entry(
        device=device,
        cleared=notice.status == 0,
        at=at.timestamp(),
        level=int(level),
        rule=rule.id or "",
        name=rule.name or "",
    )
