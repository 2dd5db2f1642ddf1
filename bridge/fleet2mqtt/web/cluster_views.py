"""The views of a cluster: put together from those of its units."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client.metrics_core import Metric

from fleet2mqtt.outbox import Outbox
from fleet2mqtt.web.alarm_list import ACTIVE, PAGE_ROWS
from fleet2mqtt.web.metrics import from_json
from fleet2mqtt.web.overview import MAX_ROWS, Overview, page_of
from fleet2mqtt.web.parameters import Parameters
from fleet2mqtt.web.search import Query, natural_key
from fleet2mqtt.web.unit_views import UnitViews

Work = Mapping[str, Any]


class OtherUnits(Protocol):
    """The other units, as the bridge unit asks them."""

    def names(self) -> list[str]:
        """Return their names."""
        ...

    def unit_of_device(self, device: str) -> str | None:
        """Return the unit of a device, None for one of none."""
        ...

    async def unit_of_alarm(self, event: str, outbox: Outbox) -> str | None:
        """Return the unit of an alarm by the id of its event, None for one of none. Raises OutboxError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterViews:
    """Views of all units together, for the page of a cluster; `own` are those of the bridge unit."""

    own: UnitViews
    overview: Overview
    units: OtherUnits
    ask_all: Callable[[Mapping[str, Work]], Awaitable[Mapping[str, Any]]]
    """Has units do errands, and returns the results by unit. Raises CommandError, OutboxError."""
    alarm_counts: Callable[[], Mapping[str, Mapping[str, int]]]
    load_windows: Callable[[], Awaitable[None]]

    async def status(self, parameters: Parameters) -> dict[str, Any]:
        """Return the overview. Raises ParameterError, CommandError, OutboxError."""
        page = parameters.number("page", 1)
        parts = await self._ask(parameters, {"view": "devices", "count": page * MAX_ROWS})
        first = sorted((natural_key(name), id_, unit) for unit, part in parts.items() for name, id_ in part["first"])
        matching = sum(part["matching"] for part in parts.values())
        page, pages = page_of(page, matching)
        shown = first[(page - 1) * MAX_ROWS : page * MAX_ROWS]
        rows = await self._rows(((id_, unit) for _, id_, unit in shown), parameters.language)
        return {
            **self.overview.bridge(),
            "backends": [backend for _, part in sorted(parts.items()) for backend in part["backends"]],
            "alarms": await self.overview.counts(self.alarm_counts()),
            "devices": {
                "total": sum(part["total"] for part in parts.values()),
                "matching": matching,
                "page": page,
                "pages": pages,
                "rows": [rows[id_] for _, id_, _ in shown if id_ in rows],
            },
        }

    async def _rows(self, devices: Iterable[tuple[str, str]], language: str) -> dict[str, Any]:
        """Return the rows of devices, by id; given are their ids and units."""
        works: dict[str, dict[str, Any]] = {}
        for id_, unit in devices:
            work = works.setdefault(unit, _view({"view": "rows", "language": language, "ids": []}))
            work["ids"].append(id_)
        return {row["id"]: row for part in (await self.ask_all(works)).values() for row in part}

    async def alarms(self, parameters: Parameters) -> dict[str, Any]:
        """Return a page of alarms. Raises ParameterError, CommandError, OutboxError."""
        await self.load_windows()
        page = parameters.number("page", 1)
        own = await self.own.alarms.json(parameters, page * PAGE_ROWS)
        parts = [own, *(await self._ask(parameters, {"view": "alarms", "count": page * PAGE_ROWS})).values()]
        listed = [part["alarms"] for part in parts]
        merged = merge_active(listed, page) if own["alarms"]["state"] == ACTIVE else merge_past(listed)
        names = {
            row["id"]: row["device_name"] for part in parts for row in part["windows"]["rows"] if row["device_name"]
        }
        windows = [row | {"device_name": names.get(row["id"])} for row in own["windows"]["rows"]]
        return own | {
            "counts": self.alarm_counts(),
            "backends": sorted({name for part in parts for name in part["backends"]}),
            "alarms": {"state": own["alarms"]["state"], **merged},
            "windows": own["windows"] | {"rows": windows},
        }

    async def alarm(self, parameters: Parameters) -> dict[str, Any] | None:
        """Return one alarm with its changes, None if there is none. Raises CommandError, OutboxError."""
        unit = await self.units.unit_of_alarm(parameters.text("id"), self.overview.outbox)
        return await self._one(unit, "alarm", parameters)

    async def device(self, parameters: Parameters) -> dict[str, Any] | None:
        """Return one device, None if there is none. Raises CommandError, OutboxError."""
        return await self._one(self.units.unit_of_device(parameters.text("id")), "device", parameters)

    async def metrics(self) -> list[list[Metric]]:
        """Return the metrics of the other units. Raises CommandError, OutboxError."""
        works = dict.fromkeys(self.units.names(), _view({"view": "metrics"}))
        return [from_json(part) for part in (await self.ask_all(works)).values()]

    async def _one(self, unit: str | None, view: str, parameters: Parameters) -> dict[str, Any] | None:
        work = _work(parameters, {"view": view})
        found: dict[str, Any] | None
        found = await self.own.perform(work) if unit is None else (await self.ask_all({unit: work})).get(unit)
        return found

    async def _ask(self, parameters: Parameters, work: Work) -> Mapping[str, Any]:
        """Return the parts of a view by unit."""
        Query(parameters.text("filter"))
        return await self.ask_all(dict.fromkeys(self.units.names(), _work(parameters, work)))


def _work(parameters: Parameters, work: Work) -> dict[str, Any]:
    values = {name: list(each) for name, each in parameters.values.items()}
    return _view({"parameters": values, "language": parameters.language, **work})


def _view(work: Work) -> dict[str, Any]:
    return {"kind": "view", "repeatable": True, **work}


def merge_active(parts: Iterable[Mapping[str, Any]], page: int) -> dict[str, Any]:
    """Return a page of active alarms from the first ones of each unit, newest first."""
    parts = tuple(parts)
    rows = sorted((row for part in parts for row in part["rows"]), key=lambda row: row["seq"], reverse=True)
    matching = sum(part["matching"] for part in parts)
    pages = max(1, -(-matching // PAGE_ROWS))
    page = min(page, pages)
    return {
        "matching": matching,
        "page": page,
        "pages": pages,
        "rows": rows[(page - 1) * PAGE_ROWS : page * PAGE_ROWS],
    }


def merge_past(parts: Iterable[Mapping[str, Any]], length: int = PAGE_ROWS) -> dict[str, Any]:
    """Return a page of past alarms, newest first: not beyond what each unit has read."""
    parts = tuple(parts)
    read = max((part["before"] for part in parts if part["before"] is not None), default=0)
    found = (row for part in parts for row in part["rows"] if row["seq"] >= read)
    rows = sorted(found, key=lambda row: row["seq"], reverse=True)
    before = rows[length - 1]["seq"] if len(rows) > length else (read or None)
    return {"before": before, "rows": rows[:length]}
