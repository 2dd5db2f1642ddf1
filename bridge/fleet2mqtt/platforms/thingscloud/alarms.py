"""Alarms of the log, and the backfill: reading from the log what no webhook reported, so that nothing is lost.

The project's log (读取所有告警消息 in the document) has no documented paging, so it may be cut short. As long as it
reaches back to what was read before, nothing is missing. Where it does not, every device's own log is read, a few at
a poll, and the checkpoint moves only when all were read and are on disk.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from fleet2mqtt.devices.model import Alarm, Severity, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, RateLimited, Rejected
from fleet2mqtt.platforms.thingscloud.alarm_matching import OVERLAP, AlarmEntry, AlarmMatcher
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
from fleet2mqtt.sdk.poll_errors import PollErrors

FIRST_POLL_WINDOW = timedelta(hours=48)
"""How far back the first poll reads."""
DEVICES_PER_POLL = 20
"""Devices whose own log is read in one poll."""
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


def build_alarm(context: Context, entry: AlarmEntry, rule: AlarmRule, origin: UpdateOrigin) -> Alarm:
    """Build the bridge's alarm."""
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
        self._failed_devices: set[str] = set()
        """Those of them whose log could not be read last time."""
        self._saved: dict[tuple[str, bool], float] = {}
        """Items that are on disk, and their times."""

    async def poll(self) -> AsyncIterator[Update]:
        """Yield everything logged since the checkpoint. Raises BackendError."""
        if self._matcher.first_poll is None:
            self._matcher.first_poll = datetime.now(UTC).timestamp()
        complete_until = self._complete_until()
        logs, whole = await self._read(None)
        async for update in self._accept(logs):
            yield update
        times = [log.create_time.timestamp() for log in logs if log.create_time is not None]
        if times:
            self._newest_listed = max(complete_until, *times)
        if times and not whole and min(times) > complete_until:
            self._pending_devices.update(await self._coordinator.vendor_ids())
            self._pending_devices.update(filter(None, (log.device_id for log in logs)))
        errors = PollErrors()
        for device in sorted(self._pending_devices)[:DEVICES_PER_POLL]:
            async for update in self._accept(await self._read_device_log(device, errors)):
                yield update
            if device not in self._failed_devices:
                self._pending_devices.discard(device)
        errors.close()
        self._move_checkpoint()
        if checkpoints := self._matcher.unsaved_checkpoints():
            yield self._coordinator.update(checkpoints=checkpoints)

    def _move_checkpoint(self) -> None:
        """Move the checkpoint to what was read completely, and forget what lies far before it."""
        if self._newest_listed is not None and not self._pending_devices:
            self._matcher.read_until = max(self._newest_listed, self._matcher.read_until or 0.0)
        oldest = self._oldest()
        self._saved = {item: at for item, at in self._saved.items() if at >= oldest}
        self._matcher.trim()

    def _complete_until(self) -> float:
        """Return the time up to which nothing is missing, apart from pending devices."""
        return self._oldest() + OVERLAP if self._newest_listed is None else self._newest_listed

    def _oldest(self) -> float:
        """Return the time before which everything in the log has been read."""
        first_poll = self._matcher.first_poll or 0.0
        read_until = self._matcher.read_until
        return first_poll - FIRST_POLL_WINDOW.total_seconds() if read_until is None else read_until - OVERLAP

    async def _read_device_log(self, device: str, errors: PollErrors) -> Sequence[AlarmLog]:
        """Return a device's log; nothing where ThingsCloud refuses it for good, or fails: then it is read again."""
        self._failed_devices.discard(device)
        try:
            logs, _ = await self._read(device)
        except BackendError as error:
            if isinstance(error, Rejected) and not isinstance(error, RateLimited):
                errors.ok()
            else:
                self._failed_devices.add(device)
                errors.skip(error)
            return ()
        errors.ok()
        return logs

    async def _read(self, device: str | None) -> tuple[list[AlarmLog], bool]:
        """Return the items of a log, and whether those are all."""
        page = await self._client.alarm_logs(1, device)
        items: list[JsonObject] = [*page.items]
        for number in range(2, min(page.pages or 1, MAX_PAGES) + 1):
            items += (await self._client.alarm_logs(number, device)).items
        whole = page.total is not None and len(items) >= page.total
        context = zone_context(self._context.zone)
        return [AlarmLog.model_validate(item, context=context) for item in items], whole

    async def _accept(self, logs: Iterable[AlarmLog]) -> AsyncIterator[Update]:
        """Yield what is not on disk yet, oldest first; it counts as saved once the consumer asks for more."""
        oldest = self._oldest()
        pairs = [(log, entry) for log in logs if (entry := self._to_entry(log)) is not None]
        new = [pair for pair in pairs if self._is_new(pair[1], oldest)]
        new.sort(key=lambda pair: pair[1].at)
        for start in range(0, len(new), CHUNK):
            chunk = new[start : start + CHUNK]
            entries = self._matcher.match_logs(entry for _, entry in chunk)
            yield self._to_update([log for log, _ in chunk], entries)
            self._saved.update(((entry.log, entry.cleared), entry.at) for _, entry in chunk)

    def _to_update(self, logs: Sequence[AlarmLog], entries: Sequence[AlarmEntry]) -> Update:
        store = self._coordinator.store
        alarms = [
            build_alarm(self._context, entry, parse_rule(log.alarm_info), UpdateOrigin.POLL)
            for log, entry in zip(logs, entries, strict=True)
        ]
        changed = (
            store.apply_alarm(entry.device, alarm.raised_at, cleared=entry.cleared)
            for entry, alarm in zip(entries, alarms, strict=True)
        )
        devices = {device.id: device for device in changed if device is not None}
        checkpoints = self._matcher.checkpoints({entry.device for entry in entries})
        return self._coordinator.update(alarms=alarms, devices=devices.values(), checkpoints=checkpoints)

    def _is_new(self, entry: AlarmEntry, oldest: float) -> bool:
        if (entry.log, entry.cleared) in self._saved:
            return False
        return entry.at >= oldest or (entry.cleared and self._matcher.is_active(entry.device, entry.log))

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
