"""The simulated calls about stations, their lattices, and the registration of locks."""

from __future__ import annotations

from fleet2mqtt.simulators.fault_injection import FaultKind
from fleet2mqtt.simulators.omstation.data import make_station
from fleet2mqtt.simulators.omstation.protocol import (
    Tree,
    device_type,
    is_date,
    is_filled,
    is_slots,
    is_text,
    is_whole_text,
    parse_date,
    parse_time,
    refuse_unless,
)
from fleet2mqtt.simulators.omstation.state import Simulator

LIST_FIELDS = {"orgId": is_filled}
DETAIL_FIELDS = {"id": is_filled, "startTime": is_date, "endTime": is_date}
STATION_FIELDS = {
    "id": is_filled,
    "stationName": is_filled,
    "deviceId": is_text,
    "totalCount": is_whole_text,
    "orgId": is_filled,
    "latticeAssetList": is_slots,
}
DEVICES_FIELDS = {"orgId": is_filled, "deviceInfoList": lambda value: isinstance(value, list) and value != []}
MOST_LATTICES = 200


def list_stations(simulator: Simulator, body: Tree, path: str) -> Tree:
    """Serve `queryStationInfoListByOrgId`; another organisation has none."""
    stations = list(simulator.stations.values()) if body["orgId"] == simulator.org_id else []
    items = [dict(station) for station in stations]
    if simulator.fault_injector.take(path, FaultKind.EMPTY):  # against its own sums
        items = []
    if simulator.null_strings:
        texts = ("deviceId", "orgName", "path")
        items = [item | dict.fromkeys(texts) for item in items]
    return {"stationInfoList": items, "stationStatistics": _shown(simulator, simulator.sums(*_ids(stations)))}


def list_lattices(simulator: Simulator, body: Tree, path: str) -> Tree:
    """Serve `queryStationLatticeDetail`; the lattices are those of now, whatever the window."""
    station_id = body["id"]
    start, end = parse_date(body["startTime"]), parse_date(body["endTime"])
    refuse_unless(start <= end, "startTime is after endTime")
    refuse_unless(station_id in simulator.stations, "id")

    def counts(item: Tree) -> bool:
        return not simulator.window_filters_sums or start <= parse_time(item["updateTime"]).date() <= end

    answer: Tree = {"stationStatistics": _shown(simulator, simulator.sums(station_id, only=counts))}
    items = [dict(item) for item in simulator.lattices[station_id]]
    if simulator.fault_injector.take(path, FaultKind.EMPTY):
        items = []
    if simulator.null_strings:
        items = [item | {name: item.get(name) or None for name in ("deviceId", "fileUrl")} for item in items]
    return answer if simulator.lattices_missing else answer | {"stationLatticeInfoList": items}


def add_station(simulator: Simulator, body: Tree, _: str) -> None:
    """Serve `addStationInfo`: a station of empty lattices under the id that the caller chose."""
    refuse_unless(body["id"] not in simulator.stations, "id is taken")
    station = make_station(simulator.rng, len(simulator.stations))
    _store(simulator, station | {"id": body["id"], "centerLat": 0.0, "centerLon": 0.0}, body)


def update_station(simulator: Simulator, body: Tree, _: str) -> None:
    """Serve `updateStationInfo`: all of it anew; lattices that keep their numbers keep their locks."""
    refuse_unless(body["id"] in simulator.stations, "id")
    _store(simulator, simulator.stations[body["id"]], body)


def add_devices(simulator: Simulator, body: Tree, _: str) -> None:
    """Serve `addDeviceInfo`: all locks or none; one that is known already stays as it is."""
    refuse_unless(body["orgId"] == simulator.org_id, "orgId")
    wanted: dict[str, int] = {}
    for device in body["deviceInfoList"]:
        refuse_unless(isinstance(device, dict) and device.keys() == {"deviceType", "deviceId"}, "deviceInfoList")
        refuse_unless(is_filled(device["deviceId"]), "deviceId")
        wanted[device["deviceId"]] = device_type(device["deviceType"])
    for device_id, kind in wanted.items():
        if device_id not in simulator.devices:
            simulator.devices[device_id] = kind
            simulator.away.append(device_id)


def _store(simulator: Simulator, station: Tree, body: Tree) -> None:
    count, slots = int(body["totalCount"]), body["latticeAssetList"]
    refuse_unless(body["orgId"] == simulator.org_id, "orgId")
    refuse_unless(len(slots) <= count <= MOST_LATTICES, "totalCount")
    station |= {"stationName": body["stationName"], "deviceId": body["deviceId"]}
    simulator.keep_station(station, slots, count)


def _ids(stations: list[Tree]) -> list[str]:
    return [station["id"] for station in stations]


def _shown(simulator: Simulator, sums: dict[str, int]) -> Tree:
    return {name: str(number) if simulator.statistics_as_text else number for name, number in sums.items()}
