"""Alarm matching: the webhook names no log entry, and the log names no webhook.

Both report device, status, level, rule and time. An alarm of one is the alarm of the other if nothing differs that both
report, and their times lie within `MAX_TIME_DIFFERENCE` seconds; each is matched at most once, the nearest first. What
is remembered outlives restarts, because the log goes on listing what was matched. It is saved together with the alarms
that it is about (`Update.checkpoints`): after a crash a webhook that was acknowledged is not a new alarm in the log.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

MAX_TIME_DIFFERENCE = 10.0
"""Largest difference in seconds between an alarm's time in the webhook and in the log."""
OVERLAP = 600.0
"""Seconds before the checkpoint that are read again, for alarms that were logged late."""
CLOCK_TOLERANCE = 3_600.0
"""Seconds by which a saved time may lie in the future and still be believed."""
MAX_ENTRIES = 5_000
"""Most alarms remembered, and most active alarms, of all devices together."""
MAX_KNOWN_LOGS = 1_000
"""Items of the project's log that are remembered by their ids."""
WHOLE_DEVICE = "device"
"""Alarm key where no rule is known."""


@dataclass(slots=True, kw_only=True)
class AlarmEntry:
    """An alarm as it was first seen. `at` is epoch seconds, `level` 0 if unknown, `log` and `push` the ids in either.

    `id` is the id it is published with. The field names are those of the checkpoint on disk.
    """

    device: str
    cleared: bool
    at: float
    level: int = 0
    rule: str = ""
    name: str = ""
    log: str = ""
    push: str = ""
    id: str = ""
    alarm_key: str = ""

    def is_same(self, other: AlarmEntry) -> bool:
        """Return whether nothing differs that both report, and the times are near."""
        same = (self.device, self.cleared) == (other.device, other.cleared)
        return same and abs(self.at - other.at) <= MAX_TIME_DIFFERENCE and self.agrees(other)

    def agrees(self, other: AlarmEntry) -> bool:
        """Return whether level and rule are the same, as far as both report them."""
        if self.level and other.level and self.level != other.level:
            return False
        if self.rule and other.rule:
            return self.rule == other.rule
        return not (self.name and other.name) or self.name == other.name


@dataclass(slots=True, kw_only=True)
class _DeviceAlarms:
    """The alarms of one device that are remembered: recent entries, and active ones by alarm key."""

    entries: list[AlarmEntry] = field(default_factory=list)
    active: dict[str, AlarmEntry] = field(default_factory=dict)

    def to_checkpoint(self) -> str:
        """Return the text to save; "" if there is nothing."""
        if not self.entries and not self.active:
            return ""
        content = {"entries": [_compact(entry) for entry in self.entries]}
        content["open"] = [_compact(entry) for entry in self.active.values()]
        return orjson.dumps(content).decode()

    @classmethod
    def from_checkpoint(cls, text: str | None) -> _DeviceAlarms:
        """Return the alarms that a text was made from."""
        content: dict[str, Any] = orjson.loads(text) if text else {}
        active = [AlarmEntry(**fields) for fields in content.get("open", ())]
        entries = [AlarmEntry(**fields) for fields in content.get("entries", ())]
        return cls(entries=entries, active={entry.alarm_key: entry for entry in active})


def log_key(id_: str, *, cleared: bool) -> str:
    """Return the key of a log item: its id alone is not enough where the item of an alarm turns into its clear."""
    return f"{id_}#" if cleared else id_


class AlarmMatcher:
    """The alarms of one project that may still be reported again, the active ones, and how far the log was read.

    The log is read down to items that are known by their ids. Times only bound the search, and a saved time that lies
    in the future is not believed. `checkpoint` returns what is on disk, by device; how far the log was read is
    under "".
    """

    def __init__(self, checkpoint: Callable[[str], str | None]) -> None:
        content: dict[str, Any] = orjson.loads(checkpoint("") or "{}")
        self.read_until = _believable(content.get("mark"))
        """The newest time up to which the log was read completely, no later than when it was read."""
        self.first_poll = _believable(content.get("baseline"))
        self.known_logs: dict[str, float] | None = dict(content["logs"]) if "logs" in content else None
        """Times of the items of the project's log by their keys, newest first; None before the first poll."""
        self._saved_logs = self.known_logs
        self._checkpoint = checkpoint
        self._devices: dict[str, _DeviceAlarms] = {}

    def match_push(self, pushed: AlarmEntry) -> AlarmEntry | None:
        """Return the alarm of a webhook; None for one so old that the log has reported it."""
        identity = (pushed.device, pushed.rule or pushed.name, pushed.cleared, pushed.at)
        pushed.push = "push-" + hashlib.sha256(orjson.dumps(identity)).hexdigest()[:24]
        entries = self._of(pushed.device).entries
        known = next((entry for entry in entries if entry.push == pushed.push), None)
        if known is not None:
            return known
        candidates = [entry for entry in entries if not entry.push and entry.is_same(pushed)]
        if not candidates:
            return None if pushed.at < self._oldest_remembered() else self._add(pushed, pushed.push)
        nearest = min(candidates, key=lambda entry: abs(entry.at - pushed.at))
        nearest.push = pushed.push
        return nearest

    def match_logs(self, listed: Iterable[AlarmEntry]) -> list[AlarmEntry]:
        """Return the alarms of log items, in the same order."""
        items = list(listed)
        matches: dict[int, AlarmEntry] = {}
        for index, item in enumerate(items):
            for entry in self._of(item.device).entries:
                if (entry.log, entry.cleared) == (item.log, item.cleared):
                    matches[index] = entry
        self._match_pushed(items, matches)
        for index, item in enumerate(items):
            if index not in matches:
                matches[index] = self._add(item, item.log)
        return [matches[index] for index in range(len(items))]

    @property
    def was_read(self) -> bool:
        """Return whether the log was ever read."""
        return self.known_logs is not None or self.read_until is not None

    @property
    def is_first_run(self) -> bool:
        """Return whether the log was never read completely: its alarms are from before the bridge's time."""
        return self._saved_logs is None and self.read_until is None

    def has_active(self, device: str) -> bool | None:
        """Return whether a device has an active alarm; None while neither log nor webhook has reported any."""
        alarms = self._of(device)
        if alarms.active:
            return True
        return False if alarms.entries or self.was_read else None

    def is_known(self, key: str) -> bool:
        """Return whether an item of the project's log was listed before."""
        return self.known_logs is not None and key in self.known_logs

    def remember_logs(self, listed: Mapping[str, float]) -> None:
        """Remember the items of the project's log, listed newest first."""
        merged = {**listed, **{key: at for key, at in (self.known_logs or {}).items() if key not in listed}}
        self.known_logs = dict(list(merged.items())[:MAX_KNOWN_LOGS])

    def save_known_logs(self) -> None:
        """Have the known items of the log saved: nothing above them is still to be read."""
        self._saved_logs = self.known_logs

    def is_active(self, device: str, log: str) -> bool:
        """Return whether the alarm with this id in the device's log is active."""
        return any(entry.log == log for entry in self._of(device).active.values())

    def trim(self) -> None:
        """Forget what neither way can report again."""
        entries = [entry for alarms in self._devices.values() for entry in alarms.entries]
        oldest = max(self._oldest_remembered(), _oldest_of_newest(entries))
        active = [entry for alarms in self._devices.values() for entry in alarms.active.values()]
        oldest_active = _oldest_of_newest(active)
        for alarms in self._devices.values():
            alarms.entries = [entry for entry in alarms.entries if entry.at >= oldest]
            alarms.active = {key: entry for key, entry in alarms.active.items() if entry.at >= oldest_active}

    def checkpoints(self, devices: Iterable[str]) -> dict[str, str]:
        """Return what has to be saved together with alarms of these devices."""
        return {device: self._of(device).to_checkpoint() for device in devices}

    def unsaved_checkpoints(self) -> dict[str, str]:
        """Return everything that is not on disk as it is here; forget devices for which nothing is needed any more."""
        texts = {device: alarms.to_checkpoint() for device, alarms in self._devices.items()}
        saved = {device: self._checkpoint(device) or "" for device in texts}
        self._devices = {device: alarms for device, alarms in self._devices.items() if texts[device] or saved[device]}
        own: dict[str, Any] = {"mark": self.read_until, "baseline": self.first_poll}
        if self._saved_logs is not None:
            own["logs"] = list(self._saved_logs.items())
        texts[""] = orjson.dumps(own).decode()
        return {device: text for device, text in texts.items() if text != (self._checkpoint(device) or "")}

    def _of(self, device: str) -> _DeviceAlarms:
        if device not in self._devices:
            self._devices[device] = _DeviceAlarms.from_checkpoint(self._checkpoint(device))
        return self._devices[device]

    def _oldest_remembered(self) -> float:
        """Return the time before which alarms are forgotten."""
        if self.read_until is None:
            return float("-inf")
        return min(self.read_until, time.time()) - OVERLAP - 2 * MAX_TIME_DIFFERENCE

    def _match_pushed(self, items: list[AlarmEntry], matches: dict[int, AlarmEntry]) -> None:
        """Match items that are new in the log with webhooks, nearest first."""
        pairs = [
            (abs(entry.at - item.at), index, entry)
            for index, item in enumerate(items)
            if index not in matches
            for entry in self._of(item.device).entries
            if not entry.log and entry.is_same(item)
        ]
        for _, index, entry in sorted(pairs, key=lambda pair: pair[:2]):
            if index not in matches and not entry.log:
                entry.log = items[index].log
                matches[index] = entry

    def _add(self, entry: AlarmEntry, id_: str) -> AlarmEntry:
        alarms = self._of(entry.device)
        entry.id = id_
        entry.alarm_key = _cleared_key(alarms, entry) if entry.cleared else entry.rule or entry.name or WHOLE_DEVICE
        alarms.entries.append(entry)
        if not entry.cleared:
            alarms.active[entry.alarm_key] = entry
        elif entry.alarm_key in alarms.active and alarms.active[entry.alarm_key].at <= entry.at:
            del alarms.active[entry.alarm_key]
        return entry


def _cleared_key(alarms: _DeviceAlarms, clear: AlarmEntry) -> str:
    """Return the alarm key that a clear is for: that of its rule, else of the oldest active alarm that agrees."""
    own = clear.rule or clear.name
    if own in alarms.active:
        return own
    agreeing = sorted((entry for entry in alarms.active.values() if entry.agrees(clear)), key=lambda entry: entry.at)
    return agreeing[0].alarm_key if agreeing else own or WHOLE_DEVICE


def _oldest_of_newest(entries: list[AlarmEntry]) -> float:
    """Return the time of the oldest of the newest MAX_ENTRIES."""
    if len(entries) <= MAX_ENTRIES:
        return float("-inf")
    return sorted((entry.at for entry in entries), reverse=True)[MAX_ENTRIES - 1]


def _believable(at: float | None) -> float | None:
    """Return a saved time, None for one in the future: a clock was wrong when it was saved."""
    return None if at is None or at > time.time() + CLOCK_TOLERANCE else at


def _compact(entry: AlarmEntry) -> dict[str, Any]:
    return {name: value for name, value in asdict(entry).items() if value or name in ("cleared", "at", "device")}
