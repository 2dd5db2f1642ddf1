"""The views of one unit: of a bridge of one process all there is, in a cluster a part of what the page shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet2mqtt.errors import CommandError
from fleet2mqtt.web.alarm_list import AlarmList
from fleet2mqtt.web.device_view import DeviceView
from fleet2mqtt.web.metrics import UnitMetrics, to_json
from fleet2mqtt.web.overview import UnitOverview
from fleet2mqtt.web.parameters import Parameters
from fleet2mqtt.web.search import Query


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitViews:
    """Devices, alarms and metrics of one unit."""

    overview: UnitOverview
    alarms: AlarmList
    metrics: UnitMetrics

    @property
    def device(self) -> DeviceView:
        """The view of one device."""
        return DeviceView(overview=self.overview, alarms=self.alarms)

    async def perform(self, work: Mapping[str, Any]) -> Any:
        """Return a part of a view of the whole cluster, as an errand wants it. Raises CommandError, OutboxError."""
        parameters = Parameters(work.get("parameters", {}), work.get("language", "en"))
        match work["view"]:
            case "metrics":
                return to_json(self.metrics.collect())
            case "devices":
                return await self._devices(Query(parameters.text("filter")), work["count"])
            case "rows":
                devices = self.overview.registry.devices
                return [self.overview.row(devices[id_], parameters.language) for id_ in work["ids"] if id_ in devices]
            case "alarms":
                return await self.alarms.json(parameters, work["count"])
            case "alarm":
                return await self.alarms.alarm(parameters)
            case "device":
                return await self.device.json(parameters)
        raise CommandError("unknown_request", f"a unit has no view {work['view']}: update its node")

    async def _devices(self, wanted: Query, count: int) -> dict[str, Any]:
        """Return the backends, and ids and names of the first devices that match."""
        ids = await self.overview.find(wanted)
        devices = self.overview.registry.devices
        return {
            "backends": self.overview.backends(),
            "total": len(self.overview.index.ids()),
            "matching": len(ids),
            "first": [(devices[id_].name, id_) for id_ in ids[:count]],
        }
