"""Alarms of the log, and the backfill: reading from the log what no webhook reported, so that nothing is lost.

The project's log (读取所有告警消息 in the document) has no documented paging, so it may be cut short. It is read from
its new end down to items that are known by their ids. As long as it reaches back to those, nothing is missing. Where
it does not, every device's own log is read, a few at a poll, and the checkpoint moves only when all are on disk.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fleet2mqtt.devices.model import Alarm, Severity, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, RateLimited, Rejected
from fleet2mqtt.platforms.thingscloud.alarm_matching import (
    MAX_KNOWN_LOGS,
    OVERLAP,
    AlarmEntry,
    AlarmMatcher,
    log_key,
)
from fleet2mqtt.platforms.thingscloud.coordinator import Coordinator
from fleet2mqtt.platforms.thingscloud.models import (
    AlarmLog,
    AlarmNotification,
    AlarmRule,
    JsonObject,
    json_object,
    zone_context,
)
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Context
from fleet2mqtt.sdk.sweep import Sweep

FULL_CHECK_INTERVAL = 3_600.0
"""Seconds between two readings of all pages of the log, for alarms that were logged with an old time."""
FIRST_POLL_WINDOW = timedelta(hours=48)
"""Age of the oldest alarm that the first poll reads."""
DEVICES_PER_POLL, DEVICES_PER_FIRST_POLL = 20, 1
"""Devices whose own log is read in one poll, and in a first run while many wait for their first values."""
CHUNK = 200
MAX_PAGES = 50

_SEVERITY = {3: Severity.CRITICAL, 2: Severity.MAJOR, 1: Severity.MINOR}


def severity_of(level: int) -> Severity:
    """Return the severity of a level: 3 紧急, 2 严重 or 重要, 1 普通."""
    return _SEVERITY.get(level, Severity.INDETERMINATE)


def parse_rule(info: JsonObject) -> AlarmRule:
    """Return the rule in a log's `alarm_info`, in any of its likely shapes."""
    nested = json_object(info.get("alarm_rule") or info.get("rule"))
    flat = {"id": info.get("rule_id"), "name": info.get("rule_name"), "notify_text": info.get("notify_text")}
    return AlarmRule.model_validate({key: value for key, value in (flat | nested).items() if value is not None})


def build_alarm(
    context: Context, entry: AlarmEntry, rule: AlarmRule, origin: UpdateOrigin, *, backlog: bool = False
) -> Alarm:
    """Build the bridge's alarm; `backlog` marks one from before the bridge's time."""
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
        backlog=backlog,
    )


@dataclass(frozen=True, slots=True)
class _Listing:
    """Items of a log, newest first, and whether those are all."""

    logs: Sequence[AlarmLog]
    whole: bool = False


def _is_oldest_first(logs: Sequence[AlarmLog]) -> bool:
    times = [log.create_time for log in logs if log.create_time is not None]
    return bool(times) and times[0] < times[-1]


def _key(entry: AlarmEntry) -> str:
    return log_key(entry.log, cleared=entry.cleared)


class Backfill:
    """The alarms source."""

    def __init__(self, context: Context, coordinator: Coordinator, matcher: AlarmMatcher) -> None:
        self._context = context
        self._coordinator = coordinator
        self._client = coordinator.client
        self._matcher = matcher
        self._newest_listed: float | None = None
        """The newest time in the project's log, in this run."""
        self._pending_devices: set[str] = set()
        """Devices whose own log has to be read."""
        self._sweep = Sweep(primary_fails=context.primary_fails)
        self._saved: dict[str, float] = {}
        """Keys of items that are on disk, and their times."""
        self.full_check_at = time.monotonic() + FULL_CHECK_INTERVAL
        """Time at which all pages of the log are read next (`time.monotonic()`)."""

    async def poll(self) -> AsyncIterator[Update]:
        """Yield everything logged since the last poll. Raises BackendError."""
        was_read = self._matcher.was_read
        if self._matcher.first_poll is None:
            self._matcher.first_poll = time.time()
        listing = await self._read_project_log()
        has_gap = self._has_gap(listing)
        async for update in self._accept(listing, self._oldest()):
            yield update
        self._remember(listing)
        if has_gap:
            self._pending_devices.update(await self._coordinator.vendor_ids())
            logged = filter(None, (log.device_id for log in listing.logs))
            self._pending_devices.update(
                device
                for device in logged
                if self._coordinator.may_select(device) and self._coordinator.is_selected(device)
            )
        async for update in self._read_device_logs():
            yield update
        self._move_checkpoint()
        if not was_read and (devices := self._coordinator.store.refresh_alarms()):
            yield self._coordinator.update(devices=devices)
        if checkpoints := self._matcher.unsaved_checkpoints():
            yield self._coordinator.update(checkpoints=checkpoints)

    # Reading

    async def _read_project_log(self) -> _Listing:
        """Read the project's log from its new end down to what is known, now and then all of it."""
        full_check = time.monotonic() >= self.full_check_at
        page = await self._client.alarm_logs(1)
        logs = self._parse(page.items)
        oldest_first = _is_oldest_first(logs)
        pages, whole = {1: logs}, page.count >= (page.total or 0) and page.total is not None
        numbers = range(2, (page.pages or 1) + 1)
        for number in list(reversed(numbers) if oldest_first else numbers)[:MAX_PAGES]:
            if not (full_check or oldest_first) and self._ends_at(pages[number - 1]):
                break
            pages[number] = self._parse((await self._client.alarm_logs(number)).items)
            if oldest_first and not full_check and self._ends_at(pages[number]):
                break
        else:
            whole = whole or (page.total is not None and sum(map(len, pages.values())) >= page.total)
        if full_check:
            self.full_check_at = time.monotonic() + FULL_CHECK_INTERVAL
        found = [log for _, logs in sorted(pages.items()) for log in logs]
        return _Listing(found[::-1] if oldest_first else found, whole=whole)

    def _ends_at(self, logs: Sequence[AlarmLog]) -> bool:
        """Return whether nothing new comes after these items in the log."""
        entries = [entry for log in logs if (entry := self._to_entry(log)) is not None]
        return not any(self._is_new(entry, self._oldest()) for entry in entries)

    async def _read_device_logs(self) -> AsyncIterator[Update]:
        """Read the own logs of pending devices, some in each poll.

        One that ThingsCloud refuses for good is done; one that fails is read again.
        """
        # Each log that is read now delays a first value; those of a first run are backlog, and can wait.
        delays = self._matcher.is_first_run and sum(1 for _ in self._coordinator.unread()) >= DEVICES_PER_POLL
        limit = DEVICES_PER_FIRST_POLL if delays else DEVICES_PER_POLL
        devices = self._sweep.order(sorted(self._pending_devices))[:limit]
        for device in devices:
            try:
                logs = self._parse((await self._client.alarm_logs(1, device)).items)
            except BackendError as error:
                if isinstance(error, Rejected) and not isinstance(error, RateLimited):
                    self._sweep.record_success(device)
                    self._pending_devices.discard(device)
                else:
                    self._sweep.record_failure(device, error)
                continue
            self._sweep.record_success(device)
            async for update in self._accept(_Listing(logs), self._oldest_unread()):
                yield update
            self._pending_devices.discard(device)
        self._sweep.close()

    def _parse(self, items: Iterable[JsonObject]) -> list[AlarmLog]:
        context = zone_context(self._context.zone)
        return [AlarmLog.model_validate(item, context=context) for item in items]

    # What is new

    def _has_gap(self, listing: _Listing) -> bool:
        """Return whether the project's log is cut short and does not reach back to what was read before."""
        entries = self._entries(listing)
        if listing.whole or not entries:
            return False
        if self._matcher.known_logs:
            return not any(self._matcher.is_known(_key(entry)) for _, entry in entries)
        if self._matcher.known_logs is not None:  # it was empty
            return False
        read_until = self._matcher.read_until
        return min(entry.at for _, entry in entries) > (self._oldest_wanted() if read_until is None else read_until)

    async def _accept(self, listing: _Listing, oldest: float) -> AsyncIterator[Update]:
        """Yield what is not on disk yet, oldest first; it counts as saved once the consumer asks for more.

        Above an item that is known by its id everything unknown is new; below it `oldest` bounds what is.
        """
        entries = self._entries(listing)
        known = [index for index, (_, entry) in enumerate(entries) if self._matcher.is_known(_key(entry))]
        new = [
            (log, entry)
            for index, (log, entry) in enumerate(entries)
            if self._is_new(entry, float("-inf") if known and index < known[0] else oldest)
        ]
        new.reverse()  # of the same second, the one that is listed later was raised earlier
        new.sort(key=lambda pair: pair[1].at)
        for start in range(0, len(new), CHUNK):
            chunk = new[start : start + CHUNK]
            matched = self._matcher.match_logs(entry for _, entry in chunk)
            yield self._to_update([log for log, _ in chunk], matched)
            self._saved.update((_key(entry), entry.at) for _, entry in chunk)

    def _is_new(self, entry: AlarmEntry, oldest: float) -> bool:
        """Return whether an item was not accepted yet. `oldest` bounds items that are not known by their ids."""
        if _key(entry) in self._saved or self._matcher.is_known(_key(entry)):
            return False
        return entry.at >= oldest or (entry.cleared and self._matcher.is_active(entry.device, entry.log))

    def _oldest(self) -> float:
        """Return the time before which an unknown item is old, not new: it only came into view."""
        known, read_until = self._matcher.known_logs, self._matcher.read_until
        if known:
            complete = len(known) < MAX_KNOWN_LOGS
            return self._oldest_wanted() if complete else max(min(known.values()), self._oldest_wanted())
        if known is not None and read_until is None:  # the log was empty
            return float("-inf")
        return self._oldest_unread()

    def _oldest_unread(self) -> float:
        """Return the time before which the log has been read completely."""
        read_until = self._matcher.read_until
        return self._oldest_wanted() if read_until is None else read_until - OVERLAP

    def _oldest_wanted(self) -> float:
        """Return the time of the oldest alarms that the first poll wanted."""
        return min(self._matcher.first_poll or 0.0, time.time()) - FIRST_POLL_WINDOW.total_seconds()

    # How far it was read

    def _remember(self, listing: _Listing) -> None:
        """Remember the items of the project's log, those that were not wanted too."""
        entries = [entry for _, entry in self._entries(listing)]
        self._matcher.remember_logs({_key(entry): entry.at for entry in entries})
        if not entries:
            return
        self._newest_listed = max(entry.at for entry in entries)
        # If the clock of the first poll was ahead, the listed times are the better bound.
        window = FIRST_POLL_WINDOW.total_seconds()
        self._matcher.first_poll = min(self._matcher.first_poll or 0.0, self._newest_listed + window)

    def _move_checkpoint(self) -> None:
        """Move the checkpoint to what was read completely, and forget what lies far before it."""
        if self._newest_listed is not None and not self._pending_devices:
            self._matcher.read_until = max(min(self._newest_listed, time.time()), self._matcher.read_until or 0.0)
        if not self._pending_devices:
            self._matcher.save_known_logs()
        oldest = (self._matcher.read_until or 0.0) - OVERLAP
        self._saved = {key: at for key, at in self._saved.items() if at >= oldest}
        self._matcher.trim()

    # Converting

    def _entries(self, listing: _Listing) -> list[tuple[AlarmLog, AlarmEntry]]:
        return [(log, entry) for log in listing.logs if (entry := self._to_entry(log)) is not None]

    def _to_update(self, logs: Sequence[AlarmLog], entries: Sequence[AlarmEntry]) -> Update:
        store, backlog = self._coordinator.store, self._matcher.is_first_run
        alarms = [
            build_alarm(self._context, entry, parse_rule(log.alarm_info), UpdateOrigin.POLL, backlog=backlog)
            for log, entry in zip(logs, entries, strict=True)
            if self._coordinator.may_select(entry.device)
        ]
        changed = (store.apply_alarms(device) for device in {entry.device for entry in entries})
        devices = {device.id: device for device in changed if device is not None}
        checkpoints = self._matcher.checkpoints({entry.device for entry in entries})
        return self._coordinator.update(alarms=alarms, devices=devices.values(), checkpoints=checkpoints)

    def _to_entry(self, log: AlarmLog) -> AlarmEntry | None:
        """Return an item as the matcher has it; None for one without a device or an id."""
        device = log.device_id or vendor_json.text(log.device.get("id"))
        if device is None or log.id is None:
            return None
        rule = parse_rule(log.alarm_info)
        at = log.create_time or datetime.now(UTC)
        return AlarmEntry(
            device=device,
            cleared=log.alarm_status == 0,
            at=at.timestamp(),
            level=int(log.alarm_level or 0),
            rule=rule.id or "",
            name=rule.name or "",
            log=log.id,
        )


def entry_from_push(device: str, rule: AlarmRule, notification: AlarmNotification) -> AlarmEntry | None:
    """Return a webhook's alarm as the matcher has it; None for one without a time."""
    at = notification.ts or notification.ts_text
    if at is None:
        return None
    level = notification.level or rule.alarm_level or 0
    return AlarmEntry(
        device=device,
        cleared=notification.status == 0,
        at=at.timestamp(),
        level=int(level),
        rule=rule.id or "",
        name=rule.name or "",
    )
