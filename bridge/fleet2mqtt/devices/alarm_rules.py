"""Rules for a vendor's alarms: recovery pairs, severities, what is ignored, when an alarm ends by itself, texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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
class AlarmRules:
    """The option `alarms` of one backend, for the alarms that its vendor raises; each names one by code or name."""

    recovers: tuple[RecoveryPair, ...] = ()
    severity: Mapping[AlarmName, Severity] = field(default_factory=dict)
    ignore: tuple[AlarmName, ...] = ()
    clear_after: Mapping[AlarmName, float] = field(default_factory=dict)
    """Seconds after which an alarm is cleared that nothing else clears."""
    texts: Mapping[AlarmName, Name] = field(default_factory=dict)

    def apply(self, alarms: Iterable[Alarm], language: str) -> list[Alarm]:
        """Return the alarms as the rules want them; those that are ignored are left out."""
        if self == NO_RULES:
            return list(alarms)
        return [changed for alarm in alarms if (changed := self._apply(alarm, language)) is not None]

    def _apply(self, alarm: Alarm, language: str) -> Alarm | None:
        names = names_of(alarm)
        if names & set(self.ignore):
            return None
        if alarm.cleared:
            return alarm
        changed = alarm
        if (severity := _first(self.severity, names)) is not None:
            changed = replace(changed, severity=severity)
        if (text := _first(self.texts, names)) is not None:
            changed = replace(changed, description=text.text(language), description_en=text.en)
        return changed if alarm.active else self._make_active(changed, names)

    def _make_active(self, alarm: Alarm, names: frozenset[str]) -> Alarm:
        """Return an alarm whose vendor reports no recovery as active, or as the end of one, where a rule says so."""
        for pair in self.recovers:
            if pair.raised in names:
                return replace(alarm, active=True, alarm_key=_key(pair.raised, alarm))
            if pair.by in names:
                return replace(
                    alarm, active=True, cleared=True, severity=Severity.CLEARED, alarm_key=_key(pair.raised, alarm)
                )
        ended = next((name for name in self.clear_after if name in names), None)
        return alarm if ended is None else replace(alarm, active=True, alarm_key=_key(ended, alarm))

    def seconds_until_clear(self, code: int | str | None, name: str) -> float | None:
        """Return the seconds after which an alarm with this code and name is cleared, None if it is not."""
        return _first(self.clear_after, _names(code, name))


def names_of(alarm: Alarm) -> frozenset[str]:
    """Return what a rule may call an alarm: its code and its name."""
    return _names(alarm.code, alarm.name)


def _names(code: int | str | None, name: str) -> frozenset[str]:
    return frozenset(str(each) for each in (code, name) if each not in {None, ""})


def _key(name: str, alarm: Alarm) -> str:
    return name if alarm.line is None else f"{name}_line_{alarm.line}"


def _first(table: Mapping[str, T], names: frozenset[str]) -> T | None:
    return next((value for name, value in table.items() if name in names), None)


NO_RULES = AlarmRules()
