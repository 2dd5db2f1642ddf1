"""Which alarms are the same: the webhook names no log, the log names no webhook.

Both tell device, status, level, rule and time. An alarm that one of them brings is the one that the other brought, if
all that both tell agrees and their times lie within `NEAR` seconds; each is matched at most once, the nearest first.
The memory outlives restarts, because the log goes on showing what was matched. It goes to disk together with the
alarms that it is about (`Update.marks`): a webhook that was answered is not a new alarm to the log after a kill.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

NEAR = 10.0
"""Seconds between an alarm's time in the webhook and in the log, at most."""
OVERLAP = 600.0
"""Seconds read again below the mark, for what was logged late."""
MOST = 5_000
"""Alarms remembered, and alarms that stand, of all devices together."""
WHOLE_DEVICE = "device"
"""What an alarm stands as where no rule is known."""


@dataclass(slots=True, kw_only=True)
class Entry:
    """An alarm as it was first seen. `at` is epoch seconds, `level` 0 if unknown, `log` and `push` the ids in either.

    `id` is what it is published as, `alarm_key` what stands or ends by it.
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

    def is_like(self, other: Entry) -> bool:
        """Whether nothing that both tell differs, but for the time, which is near."""
        same = (self.device, self.cleared) == (other.device, other.cleared) and abs(self.at - other.at) <= NEAR
        return same and self.agrees(other)

    def agrees(self, other: Entry) -> bool:
        """Whether level and rule, as far as both tell them, are the same."""
        if self.level and other.level and self.level != other.level:
            return False
        if self.rule and other.rule:
            return self.rule == other.rule
        return not (self.name and other.name) or self.name == other.name


@dataclass(slots=True, kw_only=True)
class _Memory:
    """What is remembered of one device: its alarms, and those that stand by what they stand as."""

    entries: list[Entry] = field(default_factory=list)
    open: dict[str, Entry] = field(default_factory=dict)

    def text(self) -> str:
        """All of it; nothing where there is nothing."""
        if not self.entries and not self.open:
            return ""
        said = {"entries": [_short(each) for each in self.entries], "open": [_short(e) for e in self.open.values()]}
        return orjson.dumps(said).decode()

    @classmethod
    def read(cls, text: str | None) -> _Memory:
        """What `text` gave."""
        said: dict[str, Any] = orjson.loads(text) if text else {}
        stand = [Entry(**fields) for fields in said.get("open", ())]
        entries = [Entry(**fields) for fields in said.get("entries", ())]
        return cls(entries=entries, open={entry.alarm_key: entry for entry in stand})


class Ledger:
    """The alarms of one project that may still come a second way, those that stand, and how far the log was read.

    `recall` gives what is on disk, by device; how far the log was read is under "".
    """

    def __init__(self, recall: Callable[[str], str | None]) -> None:
        said: dict[str, Any] = orjson.loads(recall("") or "{}")
        self.mark: float | None = said.get("mark")
        """The newest time down to which the log was read whole."""
        self.baseline: float | None = said.get("baseline")
        """When the first poll was."""
        self._recall = recall
        self._known: dict[str, _Memory] = {}

    def take_push(self, seen: Entry) -> Entry | None:
        """The alarm that a webhook tells; None for one from so long ago that the log has told it."""
        told = (seen.device, seen.rule or seen.name, seen.cleared, seen.at)
        seen.push = "push-" + hashlib.sha256(orjson.dumps(told)).hexdigest()[:24]
        mine = self._of(seen.device).entries
        known = next((entry for entry in mine if entry.push == seen.push), None)
        if known is not None:
            return known
        near = [entry for entry in mine if not entry.push and entry.is_like(seen)]
        if not near:
            return None if seen.at < self._horizon() else self._add(seen, seen.push)
        known = min(near, key=lambda entry: abs(entry.at - seen.at))
        known.push = seen.push
        return known

    def take_logs(self, seen: Iterable[Entry]) -> list[Entry]:
        """The alarms that rows of the log tell, in the same order."""
        listed = list(seen)
        found: dict[int, Entry] = {}
        for index, one in enumerate(listed):
            for entry in self._of(one.device).entries:
                if (entry.log, entry.cleared) == (one.log, one.cleared):
                    found[index] = entry
        self._match(listed, found)
        for index, one in enumerate(listed):
            if index not in found:
                found[index] = self._add(one, one.log)
        return [found[index] for index in range(len(listed))]

    def stands(self, device: str, log: str) -> bool:
        """Whether the alarm with this row in the device's log has not ended."""
        return any(entry.log == log for entry in self._of(device).open.values())

    def trim(self) -> None:
        """Forget what neither way can bring again."""
        entries = [entry for memory in self._known.values() for entry in memory.entries]
        floor = max(self._horizon(), _newest(entries))
        oldest = _newest([entry for memory in self._known.values() for entry in memory.open.values()])
        for memory in self._known.values():
            memory.entries = [entry for entry in memory.entries if entry.at >= floor]
            memory.open = {standing: entry for standing, entry in memory.open.items() if entry.at >= oldest}

    def checkpoints(self, devices: Iterable[str]) -> dict[str, str]:
        """What has to be on disk together with alarms of these devices."""
        return {device: self._of(device).text() for device in devices}

    def news(self) -> dict[str, str]:
        """All that is not on disk as it is here; what is there and needed no more is forgotten."""
        texts = {device: memory.text() for device, memory in self._known.items()}
        kept = {device: self._recall(device) or "" for device in texts}
        self._known = {device: memory for device, memory in self._known.items() if texts[device] or kept[device]}
        own = orjson.dumps({"mark": self.mark, "baseline": self.baseline}).decode()
        return {device: text for device, text in (texts | {"": own}).items() if text != (self._recall(device) or "")}

    def _of(self, device: str) -> _Memory:
        if device not in self._known:
            self._known[device] = _Memory.read(self._recall(device))
        return self._known[device]

    def _horizon(self) -> float:
        """What is older is forgotten."""
        return float("-inf") if self.mark is None else self.mark - OVERLAP - 2 * NEAR

    def _match(self, listed: list[Entry], found: dict[int, Entry]) -> None:
        """Give rows that are new the pushes that they repeat, nearest first."""
        pairs = [
            (abs(entry.at - one.at), index, entry)
            for index, one in enumerate(listed)
            if index not in found
            for entry in self._of(one.device).entries
            if not entry.log and entry.is_like(one)
        ]
        for _, index, entry in sorted(pairs, key=lambda pair: pair[:2]):
            if index not in found and not entry.log:
                entry.log = listed[index].log
                found[index] = entry

    def _add(self, entry: Entry, id_: str) -> Entry:
        memory = self._of(entry.device)
        entry.id = id_
        entry.alarm_key = _ended(memory, entry) if entry.cleared else entry.rule or entry.name or WHOLE_DEVICE
        memory.entries.append(entry)
        if not entry.cleared:
            memory.open[entry.alarm_key] = entry
        elif entry.alarm_key in memory.open and memory.open[entry.alarm_key].at <= entry.at:
            del memory.open[entry.alarm_key]
        return entry


def _ended(memory: _Memory, entry: Entry) -> str:
    """What a recovery ends: what its rule raised, else the oldest that may be meant."""
    own = entry.rule or entry.name
    if own in memory.open:
        return own
    meant = sorted((stands for stands in memory.open.values() if stands.agrees(entry)), key=lambda stands: stands.at)
    return meant[0].alarm_key if meant else own or WHOLE_DEVICE


def _newest(entries: list[Entry]) -> float:
    """The time of the oldest of as many as are remembered."""
    return sorted((entry.at for entry in entries), reverse=True)[MOST - 1] if len(entries) > MOST else float("-inf")


def _short(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in asdict(entry).items() if value or name in ("cleared", "at", "device")}
