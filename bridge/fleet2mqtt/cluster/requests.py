"""Requests to the bridge of a cluster: carried out by the units that know the devices or alarms, answered as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from fleet2mqtt.alarms.maintenance import MaintenanceWindows
from fleet2mqtt.alarms.records import AlarmId, AlarmRecord
from fleet2mqtt.cluster.alarm_mirror import alarm_states
from fleet2mqtt.cluster.errands import Errands, Perform
from fleet2mqtt.cluster.units import Units
from fleet2mqtt.commands.requests import validate_arguments
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import CommandError
from fleet2mqtt.outbox import Outbox
from fleet2mqtt.sdk.api import Action

_OF_ONE_ALARM = (
    *("alarm", "alarm_acknowledge", "alarm_unacknowledge", "alarm_shelve", "alarm_unshelve", "alarm_close"),
)
_REPEATABLE = frozenset(("health", "devices", "alarms", "alarm", "refresh", "announce", "log_level"))
"""Requests that do no harm when they are carried out twice."""
_Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitWork:
    """Errands that a unit performs for others: requests about its devices and alarms."""

    actions: Mapping[str, Action]
    registry: Registry
    records: Mapping[AlarmId, AlarmRecord]
    windows: MaintenanceWindows
    outbox: Outbox
    view: Perform
    """Returns a part of what the page shows."""

    async def perform(self, work: Mapping[str, Any]) -> Any:
        """Do the work of an errand. Raises CommandError, OutboxError."""
        arguments = work.get("arguments", {})
        match work["kind"]:
            case "request":
                action = self.actions.get(work["name"])
                if action is None:
                    raise CommandError("unknown_request", f"a unit does not know {work['name']}: update its node")
                return await action.run(validate_arguments(action, arguments))
            case "view":
                return await self.view(work)
            case "alarm_states":
                ids = [(device, alarm) for device, alarm in work["ids"]]
                return alarm_states(ids, self.records, self.registry)
            case "unknown_devices":
                return [id_ for id_ in arguments["ids"] if id_ not in self.registry.devices]
            case "windows":
                await self.load_windows()
                return None
        raise CommandError("unknown_request", f"a unit does not know the errand {work['kind']}: update its node")

    async def load_windows(self) -> None:
        """Apply the maintenance windows that are stored. Raises OutboxError."""
        self.windows.replace(await self.outbox.managed())


class ClusterRequests:
    """The requests to the bridge, by name, as they are carried out in a cluster."""

    def __init__(self, own: UnitWork, errands: Errands, units: Units) -> None:
        """`own` is the bridge unit's."""
        self._own = own
        self._errands = errands
        self._units = units

    def actions(self) -> dict[str, Action]:
        """Return the requests by name."""
        run: dict[str, Callable[[_Arguments], Awaitable[Any]]] = {
            "health": self._health,
            "devices": self._devices,
            "alarms": self._alarms,
            **{name: self._of_alarm(name) for name in _OF_ONE_ALARM},
            "maintenance_add": self._add_window,
            "maintenance_remove": self._remove_window,
            "maintenance_list": self._list_windows,
            "refresh": self._refresh,
            "announce": self.announce,
            "forget": self._forget,
            "log_level": self._log_level,
            "dead_letters": self._dead_letters,
        }
        return {name: replace(action, run=run.get(name, action.run)) for name, action in self._own.actions.items()}

    async def _ask(self, unit: str | None, name: str, arguments: _Arguments) -> Any:
        """Have a unit carry a request out, None being the bridge unit."""
        if unit is None:
            return await self._own.actions[name].run(arguments)
        return await self._errands.ask(unit, _request(name, arguments), patience=None)

    async def _ask_all(self, name: str, arguments: _Arguments) -> list[Any]:
        """Have all units carry a request out; return the results, that of the bridge unit first."""
        own = await self._own.actions[name].run(arguments)
        works = {unit: _request(name, arguments) for unit in self._units.names()}
        results = await self._errands.ask_all(works, patience=None)
        return [own, *(result for _, result in sorted(results.items()))]

    async def _health(self, arguments: _Arguments) -> Any:
        works = {unit: _request("health", arguments) for unit in self._units.names()}
        found = dict(sorted((await self._errands.ask_all(works, patience=None)).items()))
        for unit, health in found.items():
            self._units.note_figures(unit, health["bridge"])
        own = await self._own.actions["health"].run(arguments)
        backends = {name: each for health in found.values() for name, each in health["backends"].items()}
        return {"bridge": own["bridge"], "backends": backends}

    async def _devices(self, arguments: _Arguments) -> Any:
        if (backend := arguments.get("backend")) is not None:
            return await self._ask(self._units.unit_of_backend(backend), "devices", arguments)
        found = await self._ask_all("devices", arguments)
        devices, more = _merge(found, "devices", arguments["limit"], key=lambda device: device["id"])
        return {"devices": devices, "more": more, "after": devices[-1]["id"] if devices else arguments["after"]}

    async def _alarms(self, arguments: _Arguments) -> Any:
        if "device" in arguments:
            return await self._ask(self._units.unit_of_device(arguments["device"]), "alarms", arguments)
        if (unit := self._units.unit_of_backend(arguments.get("backend", ""))) is not None:
            return await self._ask(unit, "alarms", arguments)
        own, *others = await self._ask_all("alarms", arguments)
        alarms, more = _merge((own, *others), "alarms", arguments["limit"], key=lambda alarm: alarm["seq"])
        return own | {"alarms": alarms, "more": more, "after": alarms[-1]["seq"] if alarms else arguments["after"]}

    def _of_alarm(self, name: str) -> Callable[[_Arguments], Awaitable[Any]]:
        async def run(arguments: _Arguments) -> Any:
            unit = None
            if "device" in arguments:
                unit = self._units.unit_of_device(arguments["device"])
            elif "id" in arguments:
                unit = await self._units.unit_of_alarm(arguments["id"], self._own.outbox)
            return await self._ask(unit, name, arguments)

        return run

    async def _add_window(self, arguments: _Arguments) -> Any:
        selector = arguments["selector"]
        unit = None
        if "device" in selector:
            unit = self._units.unit_of_device(selector["device"])
        elif "backend" in selector:
            unit = self._units.unit_of_backend(selector["backend"])
        window = await self._ask(unit, "maintenance_add", arguments)
        await self._load_windows()
        return window

    async def _remove_window(self, arguments: _Arguments) -> Any:
        await self._own.load_windows()
        window = await self._ask(None, "maintenance_remove", arguments)
        await self._load_windows()
        return window

    async def _list_windows(self, arguments: _Arguments) -> Any:
        await self._own.load_windows()
        return await self._ask(None, "maintenance_list", arguments)

    async def _load_windows(self) -> None:
        """Have every unit apply the maintenance windows."""
        await self._own.load_windows()
        await self._errands.ask_all({unit: {"kind": "windows", "repeatable": True} for unit in self._units.names()})

    async def _refresh(self, arguments: _Arguments) -> Any:
        if "device" in arguments:
            return await self._ask(self._units.unit_of_device(arguments["device"]), "refresh", arguments)
        if "backend" in arguments:
            return await self._ask(self._units.unit_of_backend(arguments["backend"]), "refresh", arguments)
        found = await self._ask_all("refresh", arguments)
        return {"backends": {name: report for each in found for name, report in each["backends"].items()}}

    async def announce(self, arguments: _Arguments | None = None) -> Any:
        """Have all units publish everything again; return the number of devices. Raises CommandError, OutboxError."""
        return {"devices": sum(each["devices"] for each in await self._ask_all("announce", arguments or {}))}

    async def _forget(self, arguments: _Arguments) -> Any:
        ids = [*arguments.get("devices", ()), *([arguments["device"]] if "device" in arguments else [])]
        parts: defaultdict[str | None, _Arguments] = defaultdict(dict)
        for id_ in ids:
            parts[self._units.unit_of_device(id_)].setdefault("devices", []).append(id_)
        if "backend" in arguments:
            parts[self._units.unit_of_backend(arguments["backend"])]["backend"] = arguments["backend"]
        if len(parts) != 1:
            unknown = [each for part in parts for each in await self._unknown(part, parts[part].get("devices", []))]
            if unknown or not parts:
                what = ", ".join(unknown) or "name a device, devices, or a backend that has some"
                raise CommandError("unknown_device", f"nothing to forget: {what}")
        found = [await self._ask(unit, "forget", part) for unit, part in parts.items()]
        return {"forgotten": sorted(id_ for each in found for id_ in each["forgotten"])}

    async def _unknown(self, unit: str | None, ids: list[str]) -> list[str]:
        work = {"kind": "unknown_devices", "arguments": {"ids": ids}, "repeatable": True}
        found: list[str] = await (self._own.perform(work) if unit is None else self._errands.ask(unit, work))
        return found

    async def _log_level(self, arguments: _Arguments) -> Any:
        return (await self._ask_all("log_level", arguments))[0]

    async def _dead_letters(self, arguments: _Arguments) -> Any:
        if arguments["op"] != "retry":
            return await self._ask(None, "dead_letters", arguments)
        letters = await self._own.outbox.dead_letters(0, arguments["limit"])
        if (number := arguments.get("id")) is not None:
            letter = await self._own.outbox.get_dead_letter(number)
            letters = [letter] if letter is not None else []
        if not letters:
            return await self._ask(None, "dead_letters", arguments)
        retried: dict[str, Any] = {}
        for each in letters:
            unit = self._units.unit_of_backend(each.backend)
            retried |= (await self._ask(unit, "dead_letters", arguments | {"id": each.id}))["retried"]
        return {"retried": retried}


def _request(name: str, arguments: _Arguments) -> dict[str, Any]:
    """Return the errand of a request; times among its validated arguments are texts again."""
    return {
        "kind": "request",
        "name": name,
        "arguments": orjson.loads(orjson.dumps(arguments)),
        "repeatable": name in _REPEATABLE,
    }


def _merge(
    pages: Iterable[Mapping[str, Any]], member: str, limit: int, key: Callable[[Any], Any]
) -> tuple[list[Any], bool]:
    """Return a page of what pages have together, and True if there is more: each has the first of its own, sorted."""
    pages = tuple(pages)
    found = sorted((each for page in pages for each in page[member]), key=key)
    return found[:limit], len(found) > limit or any(page["more"] for page in pages)
