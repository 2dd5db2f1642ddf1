"""Lists of active and past alarms, and single ones: the content of `/api/alarms` and `/api/alarm`. An allow-list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from fleet2mqtt.alarms.handling import AlarmSources
from fleet2mqtt.alarms.maintenance import MaintenanceWindow, MaintenanceWindows
from fleet2mqtt.alarms.manager import SEVERITIES, AlarmManager, by_seq
from fleet2mqtt.alarms.records import AlarmRecord
from fleet2mqtt.alarms.texts import text_in
from fleet2mqtt.contract.payloads import stamp
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import CommandError, OutboxError
from fleet2mqtt.outbox import AlarmEvent, Outbox
from fleet2mqtt.web.parameters import Parameters
from fleet2mqtt.web.search import Query, searchable

PAGE_ROWS = 100
MAX_WINDOWS = 100
ACTIVE, PAST = STATES = ("active", "past")
_READ_AT_ONCE = 500
_MAX_READ = 20
"""Parts of the history that one page may take; a page of rare alarms is then shorter and leads to the next."""
_ROW = (
    *("id", "seq", "device", "backend", "line", "severity", "name", "alarm_type", "source", "raised_at"),
    *("state", "acknowledged", "acknowledged_by", "acknowledged_at"),
    *("shelved_until", "shelved_by", "suppressed_by", "flapping"),
)


@dataclass(frozen=True, slots=True)
class _Filter:
    severities: frozenset[str]
    backend: str
    device: str
    group: str
    acknowledged: bool | None
    shelved: bool | None
    query: Query

    @classmethod
    def of(cls, parameters: Parameters) -> _Filter:
        return cls(
            parameters.choices("severity", SEVERITIES),
            parameters.text("backend"),
            parameters.text("device"),
            parameters.text("group"),
            parameters.boolean("acknowledged"),
            parameters.boolean("shelved"),
            Query(parameters.text("text")),
        )


_EVERY = _Filter(frozenset(), "", "", "", None, None, Query(""))


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmList:
    """Alarms as the page lists them, newest first."""

    manager: AlarmManager
    registry: Registry
    outbox: Outbox
    windows: MaintenanceWindows
    sources: AlarmSources = field(default_factory=AlarmSources)
    """By which the texts of conditions and rules are found in either language."""
    owns: Callable[[str], bool] | None = None
    """Returns True for a device whose past alarms are to be listed; without it all are."""
    _texts: dict[str, tuple[Mapping[str, Any], str]] = field(default_factory=dict)
    """Searchable texts of active alarms by event id, with the body that each was made from."""

    async def json(self, parameters: Parameters, rows: int | None = None) -> dict[str, Any]:
        """Return a page of alarms. Raises ParameterError, OutboxError.

        With `rows` it is not the page of active alarms that is asked for, but so many of the first ones.

        Parameters are `state` (active, past), `severity`, `backend`, `device`, `group`, `acknowledged`, `shelved` and
        `text`; `page` of active alarms, `before` (a seq) of past ones.
        """
        wanted = _Filter.of(parameters)
        state = parameters.choice("state", STATES, ACTIVE)
        if state == ACTIVE:
            page = parameters.number("page", 1)
            listed = self._active(wanted, page if rows is None else 1, parameters.language, rows or PAGE_ROWS)
        else:
            listed = await self._past(
                wanted, parameters.number("before", self.outbox.last_seq + 1), parameters.language
            )
        return {
            "now": stamp(),
            "counts": self.manager.counts(),
            "backends": sorted({device.backend for device in self.registry.devices.values()} - {""}),
            "alarms": {"state": state, **listed},
            "windows": self._windows(),
        }

    async def alarm(self, parameters: Parameters) -> dict[str, Any] | None:
        """Return the alarm of the parameter `id` with its changes, None if there is none. Raises OutboxError."""
        try:
            record = await self.manager.find(event=parameters.text("id"))
        except CommandError:
            return None
        changes = await self.outbox.changes_of(record.event)
        return {
            "now": stamp(),
            "alarm": self._row(record.body(), parameters.language, record.cleared_at),
            "changes": {"rows": [_change(event) for event in changes]},
        }

    def of_devices(self, ids: Iterable[str], language: str) -> list[dict[str, Any]]:
        """Return the active alarms of devices, newest first."""
        records = [record for id_ in ids for record in self.manager.of_device(id_)]
        return [self._row(record.body(), language) for record in sorted(records, key=by_seq, reverse=True)]

    async def past_of_device(self, device: str, limit: int, language: str) -> list[dict[str, Any]] | None:
        """Return the newest past alarms of a device, None while the outbox cannot be read."""
        wanted = replace(_EVERY, device=device)
        try:
            return (await self._past(wanted, self.outbox.last_seq + 1, language, limit))["rows"]  # type: ignore[no-any-return]
        except OutboxError:
            return None

    def _windows(self) -> dict[str, Any]:
        """Return the maintenance windows, active ones first."""
        active = {window.id for window in self.windows.active(datetime.now(UTC))}
        listed = sorted(self.windows, key=lambda window: (window.id not in active, window.start))
        rows = [self._window(window, active=window.id in active) for window in listed[:MAX_WINDOWS]]
        return {"total": len(listed), "rows": rows}

    def _window(self, window: MaintenanceWindow, *, active: bool) -> dict[str, Any]:
        device = self.registry.devices.get(window.selector.device or "")
        members = ("id", "selector", "start", "end", "recurrence", "time_zone", "operator", "text")
        shown = window.json()
        return {name: shown[name] for name in members} | {
            "active": active,
            "device_name": device.name if device is not None else None,
        }

    def _active(self, wanted: _Filter, page: int, language: str, length: int) -> dict[str, Any]:
        found = self.manager.active()
        if wanted != _EVERY:
            found = [record for record in found if self._matches(record, wanted)]
        found.reverse()
        if len(self._texts) > 2 * len(self.manager.records):
            self._texts.clear()
        pages = max(1, -(-len(found) // length))
        page = min(page, pages)
        rows = [self._row(record.body(), language) for record in found[(page - 1) * length : page * length]]
        return {"matching": len(found), "page": page, "pages": pages, "rows": rows}

    async def _past(self, wanted: _Filter, before: int, language: str, limit: int = PAGE_ROWS) -> dict[str, Any]:
        """Return alarms that have ended or have no end; `before` of the next page is None on the last."""
        rows: list[dict[str, Any]] = []
        ended: dict[int, str] = {}
        following: int | None = before
        for _ in range(_MAX_READ):
            if following is None or len(rows) >= limit:
                break
            events, ends = await self.outbox.raised_before(following, _READ_AT_ONCE, wanted.device)
            following = events[-1].seq if len(events) == _READ_AT_ONCE else None
            ended |= ends
            shown = await self.manager.show([each for each in events if self.owns is None or self.owns(each.device)])
            for body in shown:
                if body["state"] == ACTIVE or not self._body_matches(body, wanted):
                    continue
                if len(rows) == limit:
                    following = rows[-1]["seq"]
                    break
                rows.append(self._row(body, language, ended.get(body["seq"])))
        return {"before": following, "rows": rows}

    def _matches(self, record: AlarmRecord, wanted: _Filter) -> bool:
        if wanted.acknowledged is not None and record.acknowledged is not wanted.acknowledged:
            return False
        if wanted.shelved is not None and (record.shelved_until is not None) is not wanted.shelved:
            return False
        body = record.event.body
        return self._event_matches(body, wanted) and (not wanted.query or wanted.query.matches(self._text(body)))

    def _body_matches(self, body: Mapping[str, Any], wanted: _Filter) -> bool:
        if wanted.acknowledged is not None and body["acknowledged"] is not wanted.acknowledged:
            return False
        if wanted.shelved is not None and (body["shelved_until"] is not None) is not wanted.shelved:
            return False
        found = self._event_matches(body, wanted)
        return found and (not wanted.query or wanted.query.matches(searchable(self._words(body))))

    def _event_matches(self, body: Mapping[str, Any], wanted: _Filter) -> bool:
        if wanted.severities and body["severity"] not in wanted.severities:
            return False
        if (wanted.backend and body["backend"] != wanted.backend) or (
            wanted.device and body["device"] != wanted.device
        ):
            return False
        return not wanted.group or wanted.group in self.manager.groups_of(body["device"])

    def _text(self, body: Mapping[str, Any]) -> str:
        known, text = self._texts.get(body["id"], (None, ""))
        if known is not body:
            text = searchable(self._words(body))
            self._texts[body["id"]] = body, text
        return text

    def _words(self, body: Mapping[str, Any]) -> list[str]:
        members = ("device", "device_name", "line", "name", "alarm_type", "description", "description_en")
        device = self.registry.devices.get(body["device"])
        addresses = [value for _, value in device.connections] if device is not None else []
        return [str(text) for name in members if (text := body.get(name))] + addresses

    def _row(self, body: Mapping[str, Any], language: str, ended_at: str | None = None) -> dict[str, Any]:
        device = self.registry.devices.get(body["device"])
        name = device.name if device is not None else body["device_name"] or body["device"]
        return {
            **{member: body.get(member) for member in _ROW},
            "device_name": name,
            "known": device is not None,
            "text": text_in(self.sources, language, body),
            "ended_at": ended_at,
        }


def _change(event: AlarmEvent) -> dict[str, Any]:
    """Return an event of an alarm: what changed, when, and who did it."""
    body = event.body
    return {
        "id": event.seq,
        "type": body["type"],
        "at": body.get("at") or body["raised_at"],
        **{name: body.get(name) if event.changes_alarm else None for name in ("operator", "text", "until")},
        "suppressed": event.suppressed,
    }
