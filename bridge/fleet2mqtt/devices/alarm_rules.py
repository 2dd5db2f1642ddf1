"""Rules for a vendor's alarms: recovery pairs, severities, what is ignored, when an alarm ends by itself, texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

from fleet2mqtt.devices.model import Alarm, Name, Severity

T = TypeVar("T")
AlarmName = str
"""A vendor's code or name of an alarm, as a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryPair:
    """Two alarms of a vendor of which the second says that the first is over, for the same device and line."""

    raised: AlarmName
    by: AlarmName


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveAlarm:
    """An active alarm as rules see it: id of its raise event, key, line (None if it is not known), and its time."""

    id: str
    key: str
    line: str | None
    raised_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decision:
    """Decision of the rules about the alarms with one code and name."""

    ignored: bool
    severity: Severity | None
    text: Name | None
    pair: RecoveryPair | None
    recovers: bool
    """True for the second alarm of the pair."""
    ended: AlarmName | None
    """The name by which it is cleared after a time, if it is in no pair."""


_MAX_DECISIONS = 1_000


ActiveAlarms = Callable[[str], Sequence[ActiveAlarm]]
"""Returns the active alarms of a device, by its id."""


def _nothing_active(_: str) -> Sequence[ActiveAlarm]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRules:
    """The option `alarms` of one backend, for the alarms that its vendor raises; each names one by code or name."""

    recovers: tuple[RecoveryPair, ...] = ()
    severity: Mapping[AlarmName, Severity] = field(default_factory=dict)
    ignore: tuple[AlarmName, ...] = ()
    clear_after: Mapping[AlarmName, float] = field(default_factory=dict)
    """Seconds after which an alarm is cleared that nothing else clears."""
    texts: Mapping[AlarmName, Name] = field(default_factory=dict)
    _decisions: dict[frozenset[str], _Decision] = field(default_factory=dict, init=False, repr=False, compare=False)

    def apply(self, alarms: Iterable[Alarm], language: str, active_of: ActiveAlarms = _nothing_active) -> list[Alarm]:
        """Return the alarms as the rules want them, changed themselves; those that are ignored are left out.

        A vendor's list may not name the line that its push names. A recovery therefore has the key of the one active
        alarm of the device that it can mean; `active_of` returns those.
        """
        listed = list(alarms)
        if self is NO_RULES:
            return listed
        return [each for alarm in listed if (each := self._apply(alarm, language, listed, active_of)) is not None]

    def _apply(self, alarm: Alarm, language: str, listed: Sequence[Alarm], active_of: ActiveAlarms) -> Alarm | None:
        names = names_of(alarm)
        decision = self._decisions.get(names) or self._decide(names)
        if decision.ignored:
            return None
        if alarm.cleared:
            return alarm
        if decision.severity is not None:
            alarm.severity = decision.severity
        if decision.text is not None:
            alarm.description, alarm.description_en = decision.text.text(language), decision.text.en
        if alarm.active or (decision.pair is None and decision.ended is None):
            return alarm
        return _make_active(alarm, decision, listed, active_of)

    def _decide(self, names: frozenset[str]) -> _Decision:
        if len(self._decisions) >= _MAX_DECISIONS:
            self._decisions.clear()
        pair = next((pair for pair in self.recovers if pair.raised in names or pair.by in names), None)
        decision = self._decisions[names] = _Decision(
            ignored=not names.isdisjoint(self.ignore),
            severity=_first(self.severity, names),
            text=_first(self.texts, names),
            pair=pair,
            recovers=pair is not None and pair.raised not in names,
            ended=next((name for name in self.clear_after if name in names), None),
        )
        return decision

    def seconds_until_clear(self, code: int | str | None, name: str) -> float | None:
        """Return the seconds after which an alarm with this code and name is cleared, None if it is not."""
        return _first(self.clear_after, _names(code, name))


def _make_active(alarm: Alarm, decision: _Decision, listed: Sequence[Alarm], active_of: ActiveAlarms) -> Alarm:
    """Return an alarm whose vendor reports no recovery as active, or as the end of one."""
    pair = decision.pair
    if pair is None:
        return replace(alarm, active=True, alarm_key=_key(decision.ended or "", alarm))
    if not decision.recovers:
        return replace(alarm, active=True, alarm_key=_key_of_raise(pair, alarm, active_of))
    key = _key_of_recovery(pair, alarm, listed, active_of)
    return replace(alarm, active=True, cleared=True, severity=Severity.CLEARED, alarm_key=key)


def names_of(alarm: Alarm) -> frozenset[str]:
    """Return what a rule may call an alarm: its code and its name."""
    return _names(alarm.code, alarm.name)


@lru_cache(maxsize=1_000)
def _names(code: int | str | None, name: str) -> frozenset[str]:
    return frozenset(str(each) for each in (code, name) if each not in {None, ""})


def _key(name: str, alarm: Alarm) -> str:
    return name if alarm.line is None else f"{name}_line_{alarm.line}"


def _key_of_raise(pair: RecoveryPair, alarm: Alarm, active_of: ActiveAlarms) -> str:
    """Return the key of an alarm: without its line if it is active already, and the line was learnt afterwards."""
    key = _key(pair.raised, alarm)
    if key == pair.raised:
        return key
    known = any(each.key == pair.raised and each.line == alarm.line for each in active_of(alarm.device))
    return pair.raised if known else key


def _key_of_recovery(pair: RecoveryPair, alarm: Alarm, listed: Sequence[Alarm], active_of: ActiveAlarms) -> str:
    """Return the key of the alarm that a recovery ends: of the only active one, as far as both lines are known.

    It is not that one if another alarm that came since, and is in the same list, may be meant.
    """
    key = _key(pair.raised, alarm)
    candidates = [
        each
        for each in active_of(alarm.device)
        if (each.key == pair.raised or each.key.startswith(f"{pair.raised}_line_"))
        and _may_be_one(each.line, alarm.line)
        and each.raised_at <= alarm.raised_at
    ]
    if len(candidates) != 1 or candidates[0].key == key:
        return key
    [active] = candidates
    later = any(
        other.device == alarm.device
        and active.raised_at < other.raised_at <= alarm.raised_at
        and other.id != active.id
        and _may_be_one(other.line, alarm.line)
        and pair.raised in names_of(other)
        for other in listed
    )
    return key if later else active.key


def _may_be_one(line: str | None, other: str | None) -> bool:
    return line is None or other is None or line == other


def _first(table: Mapping[str, T], names: frozenset[str]) -> T | None:
    for name, value in table.items():
        if name in names:
            return value
    return None


NO_RULES = AlarmRules()
