"""The evaluator of conditions: raises and clears the alarms that the bridge makes from what it reads."""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import filterfalse, islice

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.devices.conditions import ConditionTable, WaitingChange, WaitingChanges
from fleet2mqtt.devices.model import Alarm, Device, Severity, Update, UpdateOrigin
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox import DISK_RETRY_DELAY, AlarmEvent

_LOG = logging.getLogger(__name__)

Accept = Callable[[Update], Awaitable[object]]
TIME_CHECK = 60.0
"""Seconds between two looks at values that change by themselves: timestamps that come nearer."""
DEVICES_AT_ONCE = 200
CATEGORY = "condition"


@dataclass(slots=True, kw_only=True)
class _Condition:
    """State of one condition of one device: the id of its alarm while that is active, and a change that waits.

    `since` is when the condition began to differ from that, `began` and `due` (of the monotonic clock) since when and
    until when that is delayed. `waited` are the seconds of an earlier run, and `noticed` is when this run found it so.
    `texts` are those of the raise, in the bridge's language and in English: its clear has the same.
    """

    alarm: str | None = None
    texts: tuple[str | None, str | None] = (None, None)
    since: datetime | None = None
    noticed: datetime | None = None
    began: float = 0.0
    due: float | None = None
    waited: float = 0.0

    def settle(self) -> None:
        """Drop a change that waits."""
        self.since, self.noticed, self.due, self.waited = None, None, None, 0.0


class ConditionEvaluator:
    """Evaluates the conditions of every device when its values change, and after their delays.

    `tables` returns the conditions of a backend as it is configured now. A value that is not known changes nothing, so
    an alarm survives a restart, and a change that waits goes on with what is left of its delay: the condition is
    evaluated again once its device has been read.
    """

    def __init__(self, registry: Registry, tables: Callable[[str], ConditionTable], language: str) -> None:
        self._registry = registry
        self._tables = tables
        self._language = language
        self._states: dict[tuple[str, str], _Condition] = {}
        self._keys: dict[str, set[str]] = {}
        """Keys of the conditions that have a state, by device."""
        self._to_evaluate: dict[str, None] = {}
        self._evaluated: set[str] = set()
        """Devices that were evaluated since the start."""
        self._timed: set[str] = set()
        """Devices with a condition about a time, which may be met without a change."""
        self._due: list[tuple[float, tuple[str, str]]] = []
        """A heap of the changes that wait; what was settled meanwhile stays in it until its time."""
        self._work = asyncio.Event()

    def restore(self, active: Iterable[AlarmEvent]) -> None:
        """Continue with the active alarms of the last run."""
        for event in active:
            if event.body["source"] == UpdateOrigin.CONDITION:
                state = self._state(event.device, event.alarm_key)
                state.alarm, state.texts = event.id, (event.body["description"], event.body["description_en"])

    def restore_waiting(self, waiting: WaitingChanges) -> None:
        """Continue delays of the last run, once the active alarms are restored."""
        for device, changes in waiting.items():
            for key, change in changes.items():
                known = self._states.get((device, key))
                if change.clears is (known is not None and known.alarm is not None):
                    state = self._state(device, key)
                    state.since, state.waited = datetime.fromisoformat(change.since), change.waited

    def waiting(self) -> WaitingChanges:
        """Return the changes that wait, for `restore_waiting`."""
        now, found = time.monotonic(), dict[str, dict[str, WaitingChange]]()
        for (device, key), state in self._states.items():
            if state.since is not None:
                waited = state.waited if state.due is None else now - state.began
                found.setdefault(device, {})[key] = WaitingChange(
                    since=state.since.isoformat(), waited=waited, clears=state.alarm is not None
                )
        return found

    def on_devices(self, ids: Iterable[str], changed: Iterable[str]) -> None:
        """Evaluate devices soon that changed, or that were read for the first time since the start."""
        self._to_evaluate |= dict.fromkeys(changed)
        self._to_evaluate |= dict.fromkeys(filterfalse(self._evaluated.__contains__, ids))
        if self._to_evaluate:
            self._work.set()

    def on_options(self, backend: str) -> None:
        """Evaluate the devices of a backend again that were read: its options may have changed."""
        self._to_evaluate |= dict.fromkeys(id_ for id_ in self._registry.of_backend(backend) if id_ in self._evaluated)
        self._work.set()

    def on_removed(self, ids: Iterable[str]) -> None:
        """Forget devices that are gone, and their alarms."""
        for id_ in ids:
            for key in self._keys.pop(id_, ()):
                self._states.pop((id_, key), None)
            self._evaluated.discard(id_)
            self._timed.discard(id_)
            self._to_evaluate.pop(id_, None)

    async def run(self, accept: Accept) -> None:
        """Evaluate what changed and pass alarms to `accept`, until cancelled."""
        looked = time.monotonic()
        while True:
            self._work.clear()
            if time.monotonic() - looked >= TIME_CHECK:
                looked = time.monotonic()
                self._to_evaluate |= dict.fromkeys(self._timed)
            await self._evaluate_all()
            try:
                await self._apply(accept)
            except OutboxError as error:
                _LOG.warning("alarms of conditions wait: %s; trying again in %g s", error, DISK_RETRY_DELAY)
                await asyncio.sleep(DISK_RETRY_DELAY)
                continue
            await wait_for_event(self._work, self._delay())

    async def _evaluate_all(self) -> None:
        while self._to_evaluate:
            for id_ in tuple(islice(self._to_evaluate, DEVICES_AT_ONCE)):
                del self._to_evaluate[id_]
                if (device := self._registry.complete_device(id_)) is not None:
                    self._evaluate(device)
            await asyncio.sleep(0)  # a fleet is large

    def _evaluate(self, device: Device) -> None:
        """Find out which conditions of a device differ from their alarms, and when those shall change."""
        self._evaluated.add(device.id)
        conditions = self._tables(device.backend).of(device, *self._ancestors(device))
        now = datetime.now(UTC)
        if any(condition.is_of_time for condition in conditions):
            self._timed.add(device.id)
        for condition in conditions:
            state = self._states.get((device.id, condition.key))
            active = state is not None and state.alarm is not None
            holds = condition.holds(device, active=active, now=now)
            if holds is None:
                continue
            if holds is active:
                self._settle(device.id, condition.key)
                continue
            state = self._state(device.id, condition.key)
            if state.due is None:
                self._delay_change(device.id, condition.key, condition.on_delay if holds else condition.off_delay)
        if device.id not in self._keys:
            return
        for key in self._keys[device.id] - {condition.key for condition in conditions}:  # no longer enabled
            state = self._states[device.id, key]
            if state.alarm is None:
                self._drop(device.id, key)
            elif state.due is None:
                self._delay_change(device.id, key, 0)

    def _delay_change(self, device: str, key: str, seconds: float) -> None:
        """Make a change in so many seconds, of which some may have passed in an earlier run."""
        state = self._states[device, key]
        state.noticed = datetime.now(UTC)
        state.since = state.since or state.noticed
        state.began = time.monotonic() - state.waited
        state.due = state.began + seconds
        heapq.heappush(self._due, (state.due, (device, key)))

    def _ancestors(self, device: Device) -> Iterator[Device]:
        via, seen = device.via, {device.id}
        while via and via not in seen and (found := self._registry.devices.get(via)) is not None:
            seen.add(via)
            yield found
            via = found.via

    async def _apply(self, accept: Accept) -> None:
        """Raise and clear the alarms that are due, one backend after another. Raises OutboxError.

        First those by which the alarms of sub-devices are suppressed.
        """
        due = self._pop_due()
        try:
            while due:
                await self._apply_some(next(iter(due.values())), accept)
                del due[next(iter(due))]
        finally:
            for listed in due.values():  # what the disk refused
                for id_, _ in listed:
                    if (state := self._states.get(id_)) is not None and state.due is not None:
                        heapq.heappush(self._due, (state.due, id_))
        if self._to_evaluate:
            self._work.set()

    def _pop_due(self) -> dict[tuple[bool, str], list[tuple[tuple[str, str], Alarm]]]:
        """Return the alarms that are due, by backend; those that do not suppress others are listed last."""
        clock, alarms = time.monotonic(), dict[tuple[bool, str], list[tuple[tuple[str, str], Alarm]]]()
        while self._due and self._due[0][0] <= clock:
            due, (id_, key) = heapq.heappop(self._due)
            state = self._states.get((id_, key))
            if state is None or state.due != due:
                continue
            if (device := self._registry.complete_device(id_)) is None:  # it is being removed
                self._settle(id_, key)
                continue
            condition = self._tables(device.backend).get(key)
            alarm = self._alarm(device, key)
            late = condition is None or not condition.unreachable or alarm.cleared
            alarms.setdefault((late, device.backend), []).append(((id_, key), alarm))
        return dict(sorted(alarms.items()))

    async def _apply_some(self, alarms: list[tuple[tuple[str, str], Alarm]], accept: Accept) -> None:
        await accept(
            Update(
                backend=alarms[0][1].backend,
                origin=UpdateOrigin.CONDITION,
                requested_at=time.monotonic(),
                observed_at=datetime.now(UTC),
                alarms=tuple(alarm for _, alarm in alarms),
            )
        )
        for (id_, key), alarm in alarms:
            state = self._states.get((id_, key))
            if state is None:  # the device was removed meanwhile
                continue
            if alarm.cleared:
                self._drop(id_, key)
            else:
                state.alarm, state.texts = alarm.id, (alarm.description, alarm.description_en)
                state.settle()
            self._to_evaluate[id_] = None  # it may have changed meanwhile

    def _alarm(self, device: Device, key: str) -> Alarm:
        state = self._states[device.id, key]
        since = state.since or datetime.now(UTC)
        noticed = state.noticed or since  # of this run: an alarm of the last one may have begun at `since`, too
        table = self._tables(device.backend)
        conditions = {each.key: each for each in table.of(device, *self._ancestors(device))}
        condition = conditions.get(key) or table.get(key)
        raised = state.alarm is None
        texts = state.texts
        if raised and condition:
            texts = condition.describe(device, self._language), condition.describe(device, "en")
        backend = device.backend or device.id
        return Alarm(
            id=state.alarm or f"{backend}:{device.id}.{key}.{int(noticed.timestamp() * 1000)}",
            backend=backend,
            device=device.id,
            severity=condition.severity if raised and condition else Severity.CLEARED,
            level=condition.severity.value if condition else "",
            name=key,
            alarm_type=key,
            raised_at=since,
            source=UpdateOrigin.CONDITION,
            cleared=not raised,
            active=True,
            alarm_key=key,
            category=CATEGORY,
            description=texts[0],
            description_en=texts[1],
        )

    def _delay(self) -> float:
        return min(TIME_CHECK, max(0.0, self._due[0][0] - time.monotonic())) if self._due else TIME_CHECK

    def _state(self, device: str, key: str) -> _Condition:
        self._keys.setdefault(device, set()).add(key)
        return self._states.setdefault((device, key), _Condition())

    def _settle(self, device: str, key: str) -> None:
        """Cancel a change that was waiting: the condition agrees with its alarm again."""
        state = self._states.get((device, key))
        if state is None:
            return
        state.settle()
        if state.alarm is None:
            self._drop(device, key)

    def _drop(self, device: str, key: str) -> None:
        self._states.pop((device, key), None)
        if (keys := self._keys.get(device)) is not None:
            keys.discard(key)
            if not keys:
                del self._keys[device]
