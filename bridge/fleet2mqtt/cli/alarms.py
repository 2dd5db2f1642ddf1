"""`fleet2mqtt alarms test`: what rules and options of conditions would have done with the stored history."""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fleet2mqtt.app import OUTBOX
from fleet2mqtt.cli.process import OK, configure_logging, print_line
from fleet2mqtt.config.loader import load
from fleet2mqtt.config.models import Config
from fleet2mqtt.devices.alarm_rules import AlarmRules, names_of
from fleet2mqtt.devices.builtin_conditions import BACKEND_CONDITIONS, bridge_conditions
from fleet2mqtt.devices.conditions import Condition, ConditionTable
from fleet2mqtt.devices.model import Alarm, Severity, UpdateOrigin
from fleet2mqtt.outbox import open_outbox
from fleet2mqtt.outbox.sqlite.snapshot import copy
from fleet2mqtt.sdk import api

PAGE = 1_000
Body = dict[str, Any]


async def test(options: argparse.Namespace) -> int:
    """Print a line for each kind of alarm in the history: how often it came, and what would become of it."""
    config = load(options.config)
    configure_logging(options, config)
    bodies = await history(config)
    print_line(f"{options.config}: {len(bodies)} alarm events in the history", options.translate)
    for line in report(config, bodies):
        print_line(line)
    return OK


async def history(config: Config) -> list[Body]:
    """Return the stored events, oldest first; the bridge may be running. Raises OutboxError."""
    found: list[Body] = []
    with tempfile.TemporaryDirectory(prefix="fleet2mqtt-") as folder:
        async with open_outbox(copy(config.data_dir / OUTBOX, Path(folder))) as outbox:
            more = True
            while more:
                events, more = await outbox.history(found[-1]["seq"] if found else 0, PAGE)
                found += [event.body for event in events]
    return found


def report(config: Config, bodies: Iterable[Body]) -> Iterator[str]:
    """Yield the lines of the report: vendors' alarms, then conditions, each by backend."""
    vendors, conditions = defaultdict[tuple[str, str], _VendorAlarms](_VendorAlarms), dict[tuple[str, str], _Raises]()
    for body in bodies:
        backend = body["backend"]
        if body["type"] not in {"raised", "cleared"}:
            continue
        if body["source"] != UpdateOrigin.CONDITION:
            rules = config.backends[backend].alarm_rules if backend in config.backends else AlarmRules()
            alarm = _alarm(body, rules)
            vendors[backend, _title(alarm)].apply(alarm, rules, config.language)
        elif body["category"] == "condition":
            conditions.setdefault((backend, body["alarm_type"]), _Raises()).add(body)
    for (backend, title), seen in sorted(vendors.items()):
        yield f"{backend}: {title}: {seen.count} times: {seen.result()}"
    tables: dict[str, ConditionTable] = {}
    for (backend, key), raises in sorted(conditions.items()):
        table = tables.setdefault(backend, _table(config, backend))
        yield f"{backend}: condition {key}: raised {len(raises.began)} times: {raises.result(table.get(key))}"


@dataclass(slots=True)
class _VendorAlarms:
    """The alarms of one code and name, and what the rules make of them."""

    count: int = 0
    ignored: int = 0
    event_only: int = 0
    ended: int = 0
    raised: int = 0
    severities: dict[tuple[str, str], None] = field(default_factory=dict)
    texts: dict[str, None] = field(default_factory=dict)
    seconds: float | None = None

    def apply(self, alarm: Alarm, rules: AlarmRules, language: str) -> None:
        self.count += 1
        severity, description = alarm.severity, alarm.description
        changed = rules.apply([alarm], language)
        if not changed:
            self.ignored += 1
            return
        [after] = changed
        if after.cleared:
            self.ended += 1
        elif after.active:
            self.raised += 1
        else:
            self.event_only += 1
        if not after.cleared:
            self.severities[severity.value, after.severity.value] = None
            self.seconds = rules.seconds_until_clear(alarm.code, alarm.name)
        if after.description is not None and after.description != description:
            self.texts[after.description] = None

    def result(self) -> str:
        if self.ignored:
            return "ignored"
        found = [
            f"severity {after}" + (f" (was {before})" if after != before else "") for before, after in self.severities
        ]
        if self.raised:
            found.append(f"active {self.raised} times")
        if self.ended:
            found.append(f"ends an alarm {self.ended} times")
        if self.event_only:
            found.append("event only: nothing ends it")
        if self.seconds is not None:
            found.append(f"cleared after {self.seconds:g} s")
        found += [f"text: {text}" for text in self.texts]
        return ", ".join(found)


@dataclass(slots=True)
class _Raises:
    """The alarms of one condition: when each began, and how long those that have ended lasted."""

    began: dict[str, datetime] = field(default_factory=dict)
    lasted: list[float] = field(default_factory=list)
    severities: dict[str, None] = field(default_factory=dict)

    def add(self, body: Body) -> None:
        moment = datetime.fromisoformat(body["raised_at"])
        if body["type"] == "raised":
            self.began[body["id"]] = moment
            self.severities[body["severity"]] = None
        elif body["id"] in self.began:
            self.lasted.append((moment - self.began[body["id"]]).total_seconds())

    def result(self, condition: Condition | None) -> str:
        if condition is None or not condition.enabled:
            return "not enabled: none would have been raised"
        after, before = condition.severity.value, ", ".join(self.severities)
        found = [f"severity {after}" + (f" (was {before})" if after != before else "")]
        if condition.on_delay and (short := sum(seconds < condition.on_delay for seconds in self.lasted)):
            found.append(f"{short} of them not: they lasted less than on_delay ({condition.on_delay:g} s)")
        return ", ".join(found)


def _table(config: Config, backend: str) -> ConditionTable:
    if backend not in config.backends:
        table = () if backend not in {"", "bridge"} else bridge_conditions(config.alarms.max_rows)
        return ConditionTable(table, config.alarms.conditions)
    found = config.backends[backend]
    table = (*BACKEND_CONDITIONS, *api.conditions(api.platforms()[found.platform]()))
    return ConditionTable(table, config.alarms.conditions, found.conditions)


def _title(alarm: Alarm) -> str:
    return " ".join(str(each) for each in (alarm.code, alarm.name) if each not in {None, ""})


def _alarm(body: Body, rules: AlarmRules) -> Alarm:
    """Return the alarm as its vendor sent it, as far as the event says so."""
    alarm = Alarm(
        id=body["id"],
        backend=body["backend"],
        device=body["device"],
        severity=Severity(body["severity"]),
        level=body["level"],
        name=body["name"],
        raised_at=datetime.fromisoformat(body["raised_at"]),
        source=UpdateOrigin(body["source"]),
        cleared=body["type"] == "cleared",
        line=body["line"],
        code=body["code"],
        description=body["description"],
        description_en=body["description_en"],
    )
    if alarm.cleared and names_of(alarm) & {pair.by for pair in rules.recovers}:
        return _alarm(body | {"type": "raised"}, rules)  # an event of its own, which a rule made the end of another
    return alarm
