"""Requests about alarms and maintenance windows: what operators do, and what was stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import voluptuous as vol

from fleet2mqtt.alarms import maintenance
from fleet2mqtt.alarms.maintenance import MaintenanceWindows
from fleet2mqtt.alarms.manager import SEVERITIES, AlarmManager, Operator
from fleet2mqtt.alarms.records import AlarmRecord, AlarmState
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import CommandError
from fleet2mqtt.outbox import AlarmEvent, Outbox
from fleet2mqtt.sdk.api import Action
from fleet2mqtt.sdk.json_schema import Described
from fleet2mqtt.sdk.validators import whole

MAX_PAGE = 1_000
DEFAULT_OPERATOR = "mqtt"
"""Operator of a request that names none."""
_CHUNK = 2_000
"""Events read at once while a filtered page is filled."""


def _time(value: Any) -> datetime:
    """Validate a time with offset, ISO 8601."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise vol.Invalid("expected a time with offset such as 2026-11-28T22:00:00+08:00")
    return moment.astimezone(UTC) if moment.utcoffset() is None else moment


def _zone(value: Any) -> str:
    """Validate the name of a time zone."""
    try:
        ZoneInfo(value)
    except (TypeError, ValueError, ZoneInfoNotFoundError, OSError) as error:
        raise vol.Invalid("expected a time zone such as Asia/Shanghai") from error
    return str(value)


time = Described(_time, type="string", format="date-time")
zone = Described(_zone, type="string")
_text = vol.All(str, vol.Length(min=1, max=1000))
_name = vol.All(str, vol.Length(min=1, max=100))

_ALARM: dict[Any, Any] = {vol.Optional("id"): str, vol.Optional("device"): str, vol.Optional("alarm"): str}
_OPERATOR: dict[Any, Any] = {vol.Optional("operator", default=DEFAULT_OPERATOR): _name, vol.Optional("text"): _text}
_SELECTOR = {vol.Optional(name): _name for name in ("backend", "device", *maintenance.ATTRIBUTES)}
_WINDOW: dict[Any, Any] = {
    vol.Required("selector"): _SELECTOR,
    vol.Optional("start"): time,
    vol.Optional("end"): time,
    vol.Optional("recurrence"): _text,
    vol.Optional("time_zone"): zone,
    **_OPERATOR,
}
_FILTERS: dict[Any, Any] = {
    vol.Optional("limit", default=100): vol.All(whole, vol.Range(min=1, max=MAX_PAGE)),
    vol.Optional("after", default=0): vol.All(whole, vol.Range(min=0)),
    vol.Optional("severity"): vol.Any(vol.In(SEVERITIES), [vol.In(SEVERITIES)]),
    vol.Optional("backend"): str,
    vol.Optional("device"): str,
    vol.Optional("group"): str,
    vol.Optional("state"): vol.In(tuple(state.value for state in AlarmState)),
    vol.Optional("acknowledged"): bool,
    vol.Optional("shelved"): bool,
    vol.Optional("text"): _text,
    vol.Optional("since"): time,
    vol.Optional("until"): time,
}

Change = Callable[[AlarmRecord, Operator], Coroutine[Any, Any, AlarmEvent | None]]


@dataclass(frozen=True, slots=True)
class AlarmRequests:
    """The bridge's requests about alarms, and the components that they read and change."""

    manager: AlarmManager
    windows: MaintenanceWindows
    outbox: Outbox
    registry: Registry
    owns: Callable[[str], bool] | None = None
    """Returns True for a device whose alarms are to be listed; without it all are."""

    def actions(self) -> tuple[Action, ...]:
        """Return the requests."""
        return (
            Action(
                name="alarms",
                summary="Alarm events that came after a seq, oldest first, a page at a time; filtered.",
                schema=_FILTERS,
                run=self._alarms,
            ),
            Action(name="alarm", summary="One alarm with all its changes.", schema=_ALARM, run=self._alarm),
            self._change("alarm_acknowledge", "Acknowledge an alarm.", self.manager.acknowledge),
            self._change("alarm_unacknowledge", "Take an acknowledgement back.", self.manager.unacknowledge),
            Action(
                name="alarm_shelve",
                summary="Withhold the events of an alarm until a time.",
                schema=_ALARM | {vol.Required("until"): time} | _OPERATOR,
                run=self._shelve,
            ),
            self._change("alarm_unshelve", "End a shelf.", self.manager.unshelve),
            self._change("alarm_close", "End an alarm that its vendor does not clear.", self.manager.close),
            *self._maintenance(),
        )

    def _maintenance(self) -> tuple[Action, ...]:
        return (
            Action(
                name="maintenance_add",
                summary="Withhold the alarms of devices, groups or a backend for a time, once or recurring.",
                schema=_WINDOW,
                run=self._add_window,
            ),
            Action(
                name="maintenance_remove",
                summary="Remove a maintenance window, which ends it.",
                schema={vol.Required("id"): str},
                run=self._remove_window,
            ),
            Action(name="maintenance_list", summary="The maintenance windows.", schema={}, run=self._list_windows),
        )

    def _change(self, name: str, summary: str, change: Change) -> Action:
        async def run(arguments: dict[str, Any]) -> dict[str, Any]:
            record = await self._find(arguments)
            # To its end, if the request expires meanwhile: what is stored has to be shown.
            return self._changed(record, await asyncio.shield(change(record, _operator(arguments))))

        return Action(name=name, summary=summary, schema=_ALARM | _OPERATOR, run=run)

    async def _shelve(self, arguments: dict[str, Any]) -> dict[str, Any]:
        record = await self._find(arguments)
        event = await asyncio.shield(self.manager.shelve(record, arguments["until"], _operator(arguments)))
        return self._changed(record, event)

    async def _find(self, arguments: dict[str, Any]) -> AlarmRecord:
        given = {name for name in ("id", "device", "alarm") if name in arguments}
        if given not in ({"id"}, {"device", "alarm"}):
            raise CommandError("invalid_arguments", "name an alarm by id, or by device and alarm")
        return await self.manager.find(
            event=arguments.get("id"), device=arguments.get("device"), alarm=arguments.get("alarm")
        )

    def _changed(self, record: AlarmRecord, event: AlarmEvent | None) -> dict[str, Any]:
        """Return the response to an operator's action: the alarm as it is, and the event's number if it changed."""
        if event is None:
            return {"changed": False, "seq": None, "alarm": record.body()}
        return {"changed": True, "seq": event.seq, "alarm": event.body}

    async def _alarm(self, arguments: dict[str, Any]) -> dict[str, Any]:
        record = await self._find(arguments)
        changes = await self.outbox.changes_of(record.event)
        return {"alarm": record.body(), "changes": [event.body for event in changes]}

    async def _alarms(self, arguments: dict[str, Any]) -> dict[str, Any]:
        last = self.outbox.last_seq  # as of now: what comes meanwhile is for the next request
        after, limit = arguments["after"], arguments["limit"]
        if arguments.get("state") == AlarmState.ACTIVE:
            bodies = (
                record.body()
                for record in self.manager.active()
                if record.event.seq > after and self._event_matches(record.event.body, arguments)
            )
            found = list(islice((body for body in bodies if _state_matches(body, arguments)), limit + 1))
            page, more = found[:limit], len(found) > limit
        else:
            page, more = await self._history(after, limit, arguments)
        return {
            "alarms": page,
            "more": more,
            "after": page[-1]["seq"] if page else after,
            "first_seq": self.outbox.first_seq,
            "last_seq": last,
        }

    async def _history(self, after: int, limit: int, arguments: dict[str, Any]) -> tuple[list[dict[str, Any]], bool]:
        """Return a page of stored events that match, and True if more do."""
        found: list[dict[str, Any]] = []
        filtered = self.owns is not None or arguments.keys() - {"after", "limit"}
        while True:
            events, more = await self.outbox.history(after, _CHUNK if filtered else limit)
            shown = await self.manager.show([each for each in events if self._event_matches(each.body, arguments)])
            found += [body for body in shown if _state_matches(body, arguments)]
            if len(found) > limit or not more or not filtered:
                return found[:limit], more or len(found) > limit
            after = events[-1].seq

    def _event_matches(self, body: dict[str, Any], wanted: dict[str, Any]) -> bool:
        """Compare what does not change after an event is stored."""
        if self.owns is not None and not self.owns(body["device"]):
            return False
        for name in ("backend", "device"):
            if name in wanted and body[name] != wanted[name]:
                return False
        if "severity" in wanted:
            severities = wanted["severity"] if isinstance(wanted["severity"], list) else [wanted["severity"]]
            if body["severity"] not in severities:
                return False
        if "since" in wanted or "until" in wanted:
            raised = datetime.fromisoformat(body["raised_at"])
            if raised < wanted.get("since", raised) or raised > wanted.get("until", raised):
                return False
        if "group" in wanted and wanted["group"] not in self.manager.groups_of(body["device"]):
            return False
        return "text" not in wanted or _contains(body, wanted["text"])

    async def _add_window(self, arguments: dict[str, Any]) -> dict[str, Any]:
        selected = arguments["selector"]
        if (backend := selected.get("backend")) is not None and not self.registry.of_backend(backend):
            raise CommandError("unknown_backend", f"nothing is known of a backend {backend}")
        if (device := selected.get("device")) is not None and device not in self.registry.devices:
            raise CommandError("unknown_device", f"there is no device {device}")
        try:
            window = maintenance.new_window(
                selector=maintenance.selector(selected),
                start=arguments.get("start") or datetime.now(UTC),
                end=arguments.get("end"),
                recurrence=arguments.get("recurrence"),
                time_zone=arguments.get("time_zone"),
                operator=arguments["operator"],
                text=arguments.get("text"),
            )
        except ValueError as error:
            raise CommandError("invalid_arguments", str(error)) from error
        await self.windows.add(window)
        return _window(window)

    async def _remove_window(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return _window(await self.windows.remove(arguments["id"]))

    async def _list_windows(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"windows": [_window(window) for window in self.windows]}


def _operator(arguments: dict[str, Any]) -> Operator:
    return Operator(name=arguments["operator"], text=arguments.get("text"))


def _state_matches(body: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Compare the state of an alarm, as it is now."""
    for name in ("state", "acknowledged"):
        if name in wanted and body[name] != wanted[name]:
            return False
    return "shelved" not in wanted or (body["shelved_until"] is not None) is wanted["shelved"]


_TEXTS = ("name", "description", "description_en", "device", "device_name", "line", "alarm_type")


def _contains(body: dict[str, Any], text: str) -> bool:
    return text.casefold() in "\0".join([str(body.get(name) or "") for name in _TEXTS]).casefold()


def _window(window: maintenance.MaintenanceWindow) -> dict[str, Any]:
    return window.json() | {"active": window.is_active(datetime.now(UTC))}
