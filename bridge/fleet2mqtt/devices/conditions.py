"""Conditions: alarms that the bridge raises and clears itself from the values that it reads. Data only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, time
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from fleet2mqtt.devices.model import Device, Name, Severity, Value
from fleet2mqtt.devices.selection import Rule

BACKEND = "backend"
"""Kind of a backend's own device, in the table of conditions."""
EVERY = "*"
"""Key of options for all conditions; those of one condition win over them."""


class Comparison(StrEnum):
    """Comparison of a value with a condition's threshold."""

    IS = "is"
    """The value is one of `values`."""
    ABOVE = "above"
    BELOW = "below"
    WITHIN = "within"
    """The value is a timestamp less than `threshold` seconds ahead, or past."""
    OLDER = "older"
    """The value is a timestamp more than `threshold` seconds ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The definition of an alarm that the bridge raises while a value of a device says so, and clears afterwards.

    `key` is the alarm type and the last segment of its active topic. It is about the devices that have the key
    `entity`, which may be a pattern; `kind` restricts it to a kind of sub-device, or to a backend's own device
    (BACKEND). `value` replaces the value of the key where it has to be computed, and `computed` names that in the
    documentation. `comparison` compares it with `values` or `threshold`; `hysteresis` is
    how far the value must be back inside before the alarm clears. `requires` are values of other keys without which
    there is no alarm, such as a channel that is enabled.

    The condition must hold for `on_delay` seconds before the alarm is raised, and must not hold for `off_delay` seconds
    before it is cleared. `text` may contain `{value}` and `{threshold}`. `unreachable` says that nothing is known of
    the sub-devices meanwhile: their alarms are suppressed.
    """

    key: str
    severity: Severity
    text: Name
    entity: str
    value: Callable[[Device], Value] | None = None
    computed: str = ""
    comparison: Comparison = Comparison.IS
    values: tuple[Value, ...] = ("ON",)
    threshold: float | None = None
    hysteresis: float = 0.0
    requires: Mapping[str, Value] = field(default_factory=dict)
    kind: str | None = None
    on_delay: float = 0.0
    off_delay: float = 0.0
    enabled: bool = True
    unreachable: bool = False

    @property
    def is_of_time(self) -> bool:
        """True if it may come to hold without a change of the device."""
        return self.comparison in _OF_TIME

    def read(self, device: Device) -> Value:
        """Return the value that the condition judges, None if it is not known."""
        return device.state.get(self.entity) if self.value is None else self.value(device)

    def holds(self, device: Device, *, active: bool, now: datetime) -> bool | None:
        """Return True if a device meets the condition, None if that is not known; `active` is whether it did before."""
        applies = self._applies(device)
        if not applies:
            return applies
        value = self.read(device)
        if value is None:
            return None
        if self.comparison is Comparison.IS:
            return value in self.values
        return self._compare(value, now, self.hysteresis if active else 0.0)

    def _compare(self, value: Value, now: datetime, slack: float) -> bool | None:
        """Compare a number or a timestamp with the threshold, which is relaxed by `slack`."""
        measured = _seconds_ahead(value, now) if self.comparison in _OF_TIME else _number(value)
        if measured is None or self.threshold is None:
            return None
        if self.comparison is Comparison.ABOVE:
            return measured > self.threshold - slack
        if self.comparison is Comparison.OLDER:
            return -measured > self.threshold - slack
        return measured < self.threshold + slack

    def _applies(self, device: Device) -> bool | None:
        """Return True if the other keys have the values that the condition requires, None if one is not known."""
        for key, wanted in self.requires.items():
            given = device.state.get(key)
            if given != wanted:
                return None if given is None else False
        return True

    def describe(self, device: Device, language: str) -> str:
        """Return the text of the alarm in `en` or `zh-Hans`."""
        threshold = "" if self.threshold is None else f"{self.threshold:g}"
        value = self.read(device)
        shown = _minutes(value) if self.is_of_time else f"{value:g}" if isinstance(value, float) else str(value)
        return self.text.text(language).replace("{value}", shown).replace("{threshold}", threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingChange:
    """A change of a condition's alarm that is delayed: since when (ISO 8601), the seconds so far, and if it clears."""

    since: str
    waited: float
    clears: bool


WaitingChanges = Mapping[str, Mapping[str, WaitingChange]]
"""Changes that are delayed, by device and condition."""


_OF_TIME = frozenset((Comparison.WITHIN, Comparison.OLDER))


def _seconds_ahead(value: Value, now: datetime) -> float | None:
    """Return how far a timestamp is ahead of now, None for what is none."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return None if moment.tzinfo is None else (moment - now).total_seconds()


def _minutes(value: Value) -> str:
    """Return a timestamp as a text shows it: in its own zone, to the minute, midnight without a time."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    return f"{moment:%Y-%m-%d}" if moment.time() == time.min else f"{moment:%Y-%m-%d %H:%M}"


def _number(value: Value) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionOptions:
    """Changes of one condition by options; None leaves the table's. `rule` restricts it to matching devices.

    A condition of the operator's own names the `entity` and `above`, `below` or `values` as well.
    """

    rule: Rule | None = None
    enabled: bool | None = None
    severity: Severity | None = None
    threshold: float | None = None
    hysteresis: float | None = None
    on_delay: float | None = None
    off_delay: float | None = None
    entity: str | None = None
    above: float | None = None
    below: float | None = None
    values: tuple[Value, ...] | None = None
    kind: str | None = None
    text: Name | None = None
    selectors: tuple[ConditionOptions, ...] = ()

    def apply(self, condition: Condition) -> Condition:
        """Return the condition with these options."""
        names = ("enabled", "severity", "threshold", "hysteresis", "on_delay", "off_delay", "values", "text")
        changed: dict[str, Any] = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.above is not None:
            changed |= {"comparison": Comparison.ABOVE, "threshold": self.above}
        if self.below is not None:
            changed |= {"comparison": Comparison.BELOW, "threshold": self.below}
        return replace(condition, **changed) if changed else condition

    def define(self, key: str) -> Condition:
        """Return the condition of the operator's own that these options define; `entity` is given."""
        entity = self.entity or ""
        comparison = "is {value}"
        if self.above is not None:
            comparison = "is {value}, above {threshold}"
        elif self.below is not None:
            comparison = "is {value}, below {threshold}"
        condition = Condition(
            key=key,
            severity=Severity.MAJOR,
            text=Name(f"{entity} {comparison}", f"{entity} {comparison}"),
            entity=entity,
            kind=self.kind,
        )
        return self.apply(condition)


Options = Mapping[str, ConditionOptions]
"""Options of conditions by key."""


class ConditionTable:
    """The conditions of one backend: the platform's and the operator's own, with the options for all and for it."""

    def __init__(self, conditions: Iterable[Condition], *options: Options) -> None:
        """Options later in the order win over earlier ones; within one, selectors win over what is for all devices."""
        table = {condition.key: condition for condition in conditions}
        self._selectors: dict[str, list[ConditionOptions]] = {}
        for given in options:
            if (every := given.get(EVERY)) is not None:
                table = {key: every.apply(condition) for key, condition in table.items()}
                for key in table:
                    self._selectors.setdefault(key, []).extend(every.selectors)
            for key, each in given.items():
                if key not in table and each.entity is not None:
                    table[key] = each.define(key)
                if key in table:
                    table[key] = each.apply(table[key])
                    self._selectors.setdefault(key, []).extend(each.selectors)
        self._table = table
        self._enabled = [
            condition
            for condition in table.values()
            if condition.enabled or any(each.enabled for each in self._selectors.get(condition.key, ()))
        ]

    def of(self, device: Device, *ancestors: Device) -> tuple[Condition, ...]:
        """Return the enabled conditions of a device, with the options that apply to it.

        A selector matches if the device does, or one of its `ancestors`: the devices through which it is connected.
        """
        found = []
        for condition in self._enabled:
            if not _is_about(condition, device):
                continue
            applied = condition
            for selector in self._selectors.get(condition.key, ()):
                if _matches(selector.rule, (device, *ancestors)):
                    applied = selector.apply(applied)
            if applied.enabled:
                found.append(applied)
        return tuple(found)

    def get(self, key: str) -> Condition | None:
        """Return the condition with a key as it is without selectors, None if there is none."""
        return self._table.get(key)

    def covers(self, device: Device) -> bool:
        """Return True if a device has a condition that may be enabled."""
        return any(_is_about(condition, device) for condition in self._enabled)


def _is_about(condition: Condition, device: Device) -> bool:
    if condition.kind is not None and condition.kind != (BACKEND if device.id == device.backend else device.kind):
        return False
    if "*" in condition.entity:
        return any(fnmatchcase(key, condition.entity) for key in device.state)
    return condition.entity in device.state


def _matches(rule: Rule | None, devices: tuple[Device, ...]) -> bool:
    return rule is None or any(replace(rule, kind=device.kind).matches(device) for device in devices)


NO_CONDITIONS = ConditionTable(())
