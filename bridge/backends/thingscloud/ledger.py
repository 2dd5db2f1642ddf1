"""Which alarms are the same: the webhook names no log, the log names no webhook.

Both tell device, status, level, rule and time. An alarm that one of them brings is the one that the other brought, if
all that both tell agrees and their times lie within `NEAR` seconds; each is matched at most once, the nearest first.
The memory outlives restarts, because the log goes on showing what was matched.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import orjson

from bridge.errors import OutboxError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from bridge.backend import Context

_LOG = logging.getLogger(__name__)

NEAR = 10.0
"""Seconds between an alarm's time in the webhook and in the log, at most."""
OVERLAP = 600.0
"""Seconds read again below the mark, for what was logged late."""
MOST = 5_000
"""Alarms remembered, and alarms that stand."""
WHOLE_DEVICE = "device"
"""What an alarm stands as where no rule is known."""


@dataclass(slots=True, kw_only=True)
class Entry:
    """An alarm as it was first seen. `at` is epoch seconds, `level` 0 if unknown, `log` and `push` the ids in either.

    `id` is what it is published as, `standing` what stands or ends by it.
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
    standing: str = ""

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


class Ledger:
    """The alarms of one project that may still come a second way, those that stand, and how far the log was read."""

    def __init__(self, *, mark: float | None = None, baseline: float | None = None) -> None:
        self.mark = mark
        """The newest time down to which the log was read whole."""
        self.baseline = baseline
        """When the first poll was."""
        self._by_device: defaultdict[str, list[Entry]] = defaultdict(list)
        self._open: dict[tuple[str, str], Entry] = {}

    def take_push(self, seen: Entry) -> Entry | None:
        """The alarm that a webhook tells; None for one from so long ago that the log has told it."""
        told = (seen.device, seen.rule or seen.name, seen.cleared, seen.at)
        seen.push = "push-" + hashlib.sha256(orjson.dumps(told)).hexdigest()[:24]
        mine = self._by_device[seen.device]
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
            for entry in self._by_device.get(one.device, ()):
                if (entry.log, entry.cleared) == (one.log, one.cleared):
                    found[index] = entry
        self._match(listed, found)
        for index, one in enumerate(listed):
            if index not in found:
                found[index] = self._add(one, one.log)
        return [found[index] for index in range(len(listed))]

    def stands(self, log: str) -> bool:
        """Whether the alarm with this row in the log has not ended."""
        return any(entry.log == log for entry in self._open.values())

    def trim(self) -> None:
        """Forget what neither way can bring again."""
        floor = self._horizon()
        kept = [entry for mine in self._by_device.values() for entry in mine if entry.at >= floor]
        kept = sorted(kept, key=lambda entry: entry.at)[-MOST:]
        self._by_device.clear()
        for entry in kept:
            self._by_device[entry.device].append(entry)

    def text(self) -> str:
        """All of it."""
        entries = [_short(entry) for mine in self._by_device.values() for entry in mine]
        stand = [_short(entry) for entry in self._open.values()]
        said = {"mark": self.mark, "baseline": self.baseline, "entries": entries, "open": stand}
        return orjson.dumps(said).decode()

    @classmethod
    def read(cls, text: str | None) -> Ledger:
        """What `text` gave."""
        said: dict[str, Any] = orjson.loads(text) if text else {}
        ledger = cls(mark=said.get("mark"), baseline=said.get("baseline"))
        for fields in said.get("entries", ()):
            entry = Entry(**fields)
            ledger._by_device[entry.device].append(entry)
        for fields in said.get("open", ()):
            entry = Entry(**fields)
            ledger._open[entry.device, entry.standing] = entry
        return ledger

    def _horizon(self) -> float:
        """What is older is forgotten."""
        return float("-inf") if self.mark is None else self.mark - OVERLAP - 2 * NEAR

    def _match(self, listed: list[Entry], found: dict[int, Entry]) -> None:
        """Give rows that are new the pushes that they repeat, nearest first."""
        pairs = [
            (abs(entry.at - one.at), index, entry)
            for index, one in enumerate(listed)
            if index not in found
            for entry in self._by_device.get(one.device, ())
            if not entry.log and entry.is_like(one)
        ]
        for _, index, entry in sorted(pairs, key=lambda pair: pair[:2]):
            if index not in found and not entry.log:
                entry.log = listed[index].log
                found[index] = entry

    def _add(self, entry: Entry, id_: str) -> Entry:
        entry.id = id_
        entry.standing = self._ended(entry) if entry.cleared else entry.rule or entry.name or WHOLE_DEVICE
        self._by_device[entry.device].append(entry)
        key = entry.device, entry.standing
        if not entry.cleared:
            self._open[key] = entry
            if len(self._open) > MOST:
                self._open.pop(next(iter(self._open)))
        elif key in self._open and self._open[key].at <= entry.at:
            del self._open[key]
        return entry

    def _ended(self, entry: Entry) -> str:
        """What a recovery ends: what its rule raised, else the oldest that may be meant."""
        own = entry.rule or entry.name
        mine = [stands for (device, _), stands in self._open.items() if device == entry.device]
        if any(stands.standing == own for stands in mine):
            return own
        meant = sorted((stands for stands in mine if stands.agrees(entry)), key=lambda stands: stands.at)
        return meant[0].standing if meant else own or WHOLE_DEVICE


def _short(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in asdict(entry).items() if value or name in ("cleared", "at", "device")}


class Keeper:
    """The ledger and its place on disk. A webhook cannot wait for the disk, so it only wakes whoever writes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept = context.watermark("")
        self._changed = asyncio.Event()
        self.ledger = Ledger.read(self._kept)

    def wake(self) -> None:
        """There is something to keep."""
        self._changed.set()

    async def run(self) -> None:
        """Keep what changes, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.save()

    async def save(self) -> None:
        """Keep the ledger, if it changed; what the disk refuses is kept next time."""
        text = self.ledger.text()
        if text == self._kept:
            return
        try:
            await self._context.keep("", text)
        except OutboxError as error:
            _LOG.warning("%s: the memory of alarms is not written: %s", self._context.name, error)
        else:
            self._kept = text


@asynccontextmanager
async def keeping(context: Context) -> AsyncIterator[Keeper]:
    """A backend's memory of alarms, kept on disk as it changes and once more at the end."""
    keeper = Keeper(context)
    task = asyncio.create_task(keeper.run(), name=f"{context.name} memory of alarms")
    try:
        yield keeper
    finally:
        task.cancel()
        await asyncio.wait([task])
        await keeper.save()
        if not task.cancelled():
            task.result()
