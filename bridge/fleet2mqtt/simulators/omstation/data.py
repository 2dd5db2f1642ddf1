"""The data of a simulated omstation: stations with lattices, locks, and authorisations, in the vendor's names.

Types that no page gives (`iconType`, `formType`, `radius`, `path`, the `deviceType` of an empty lattice) are guesses.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from random import Random

from fleet2mqtt.simulators.omstation.protocol import COLLECTION_STATUSES, DEVICE_TYPES, PERIOD, TRANSFER_STATUSES, Tree

# The sample of the document.
USER_ID = "620FF63E384345F4935BF6A1B9095A7B"
ORG_ID = "520FF63E384345F4935BF6A1B9095A7B"
ORG_NAME = "Jiutong IoT"
TIME_DIFF = 28_800

LATTICES = 12
FULL, CHARGING, EMPTY, FAILED = "full", "charging", "empty", "failed"
ROLES = (FULL, FULL, CHARGING, EMPTY, FULL, CHARGING, EMPTY, FULL, CHARGING, EMPTY, FAILED, EMPTY)
PLACES = (
    ("Shenzhen", 22.5431, 114.0579),
    ("Yantian", 22.5886, 114.2713),
    ("Ningbo", 29.8683, 121.5440),
    ("Qingdao", 36.0671, 120.3826),
    ("Khorgos", 44.2131, 80.4098),
)
FAILING_EVERY = 20
"""Stations of a large organisation of which one has a failed lattice."""
UNPLACED = 1  # of every so many stations (PLACES) this one has no position
FILMED_EVERY = 4
LATTICE_FIELDS = (
    *("id", "index", "stationId", "latticeNo", "updateTime", "lockStatus", "deviceId"),
    *("connectPower", "isFull", "isFailure", "fileUrl", "deviceType"),
)
STATION_FIELDS = (
    *("id", "stationName", "deviceId", "totalCount", "orgId", "orgName", "createTime", "creatorId"),
    *("iconType", "formType", "centerLat", "centerLon", "radius", "path", "latticeAssetList"),
)


def utc(at: datetime | None = None) -> str:
    """Return a time as `loginTime` in the document: milliseconds and Z."""
    return (at or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock_time(at: datetime) -> str:
    """Return a time as `createTime` in the pages: UTC that does not say so."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def nanoseconds(ns: int | None = None) -> str:
    """Return a time as `updateTime` of a lattice: nine digits of fraction and Z."""
    seconds, fraction = divmod(time.time_ns() if ns is None else ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{fraction:09d}Z"


def make_id(rng: Random) -> str:
    """Return an id or a token: 32 upper-case hexadecimal digits."""
    return f"{rng.getrandbits(128):032X}"


def make_admin_code(rng: Random) -> str:
    """Return an `adminCode`: as long as the sample's, and as opaque."""
    return base64.b64encode(rng.randbytes(48)).decode()


def make_film(rng: Random) -> str:
    """Return a `fileUrl`: the film of somebody at the lattice, with the token that opens it."""
    return f"https://api.example.com/omstation/file/{make_id(rng).lower()}.mp4?token={make_id(rng)}"


def make_station(rng: Random, number: int) -> Tree:
    """Return the `number`-th station as the list has it, without lattices."""
    city, lat, lon = PLACES[number % len(PLACES)]
    placed = number % len(PLACES) != UNPLACED
    return {
        "id": make_id(rng),
        "stationName": f"{city} Station {number + 1}",
        "deviceId": f"80{number + 1:08d}",
        "totalCount": 0,
        "orgId": ORG_ID,
        "orgName": ORG_NAME,
        "createTime": clock_time(datetime.now(UTC) - timedelta(days=rng.randrange(1, 400))),
        "creatorId": USER_ID,
        "iconType": 0,
        "formType": 1,
        "centerLat": round(lat + rng.uniform(-0.05, 0.05), 6) if placed else 0.0,
        "centerLon": round(lon + rng.uniform(-0.05, 0.05), 6) if placed else 0.0,
        "radius": 200,
        "path": "",
        "latticeAssetList": [],
    }


def make_slots(count: int) -> list[Tree]:
    """Return a `latticeAssetList` of one row of lattices."""
    return [{"typeId": 701, "stationType": "A", "index": index} for index in range(1, count + 1)]


def lattice_numbers(slots: Iterable[Tree], count: int) -> list[str]:
    """Return the numbers of `count` lattices: those of the slots, then the next free ones of row A."""
    numbers = [f"{slot['stationType']}{slot['index']}" for slot in slots]
    free = (f"A{index}" for index in range(1, 2 * count + 1) if f"A{index}" not in numbers)
    return [*numbers, *(next(free) for _ in range(count - len(numbers)))]


def make_lattice(rng: Random, station_id: str, index: int, number: str) -> Tree:
    """Return an empty lattice; `fileUrl` is there only where there is a film."""
    return {
        "id": make_id(rng),
        "index": index,
        "stationId": station_id,
        "latticeNo": number,
        "updateTime": nanoseconds(),
        "lockStatus": 1,
        "deviceId": "",
        "connectPower": 0,
        "isFull": 0,
        "isFailure": 0,
        "deviceType": 0,
    }


def furnish(lattice: Tree, role: str, device_id: str, rng: Random) -> int:
    """Give a new lattice its role, and the lock `device_id` unless it is empty; return its charge in %."""
    lattice["updateTime"] = nanoseconds(time.time_ns() - rng.randrange(60 * 10**9, 86_400 * 10**9))
    if lattice["index"] % FILMED_EVERY == 0:
        lattice["fileUrl"] = make_film(rng)
    if role == EMPTY:
        return 0
    lattice |= {"deviceId": device_id, "deviceType": int(device_id[:3])}
    if role == FAILED:
        lattice |= {"isFailure": 1, "lockStatus": -1}
        return 10
    lattice |= {"connectPower": 1, "isFull": int(role == FULL), "lockStatus": 0}
    return 100 if role == FULL else rng.randrange(20, 90)


def statistics(stations: Iterable[Iterable[Tree]], low_inventory: int) -> dict[str, int]:
    """Return the sums of `stationStatistics` over stations, each given as its lattices; what they mean is a guess.

    In storage is any lock, available one in a sound lattice; a station below `low_inventory` available ones is low.
    """
    sums = dict.fromkeys(
        (
            *("sumStationCount", "sumLowInventoryCount", "sumInStorageCount", "sumAvailableCount"),
            *("sumFullChargeCount", "sumAbnormalCount", "sumLatticeCount", "sumEmptyLatticeCount", "sumInChargeCount"),
        ),
        0,
    )
    for lattices in stations:
        available = 0
        for lattice in lattices:
            stored, failed = bool(lattice["deviceId"]), bool(lattice["isFailure"])
            sound = stored and not failed
            available += sound
            sums["sumLatticeCount"] += 1
            sums["sumInStorageCount"] += stored
            sums["sumEmptyLatticeCount"] += not stored
            sums["sumAbnormalCount"] += failed
            sums["sumFullChargeCount"] += bool(sound and lattice["isFull"])
            sums["sumInChargeCount"] += bool(sound and lattice["connectPower"] and not lattice["isFull"])
        sums["sumStationCount"] += 1
        sums["sumAvailableCount"] += available
        sums["sumLowInventoryCount"] += available < low_inventory
    return sums


def make_authorisation(rng: Random, created: datetime, status: int) -> Tree:
    """Return an authorisation that is for nobody yet."""
    return {
        "id": make_id(rng),
        "status": status,
        "createTime": clock_time(created),
        "creatorId": USER_ID,
        "userName": "admin",
        "orgId": ORG_ID,
        "orgName": ORG_NAME,
        "authCode": f"{rng.randrange(10**6):06d}",
        **dict.fromkeys(("toUser", "phoneNum", "email", "descInfo"), ""),
    }


def _make_authorisation(rng: Random, number: int, status: int) -> Tree:
    created = datetime.now(UTC) - timedelta(hours=6 * number + 1, minutes=rng.randrange(60))
    return make_authorisation(rng, created, status) | {
        "toUser": f"Driver {number + 1}",
        "phoneNum": f"1390000{number:04d}",
        "email": f"driver{number + 1}@example.com",
    }


def make_collections(rng: Random) -> list[Tree]:
    """Return authorisations to take locks: one or two of each status, all three types."""
    items = []
    for number in range(9):
        item = _make_authorisation(rng, number, COLLECTION_STATUSES[number % len(COLLECTION_STATUSES)])
        start = datetime.now(UTC) - timedelta(hours=number)
        item |= {"type": number % 3, "startTime": None, "endTime": None}
        if item["type"] == PERIOD:
            item |= {"startTime": clock_time(start), "endTime": clock_time(start + timedelta(days=1))}
        item["deviceTypes"] = ",".join(str(kind) for kind in DEVICE_TYPES[: 1 + number % 3])
        items.append(item)
    return items


def make_transfers(rng: Random) -> list[Tree]:
    """Return authorisations to move locks; the page's sample lists `authInfo` as null."""
    return [
        _make_authorisation(rng, number, TRANSFER_STATUSES[number % len(TRANSFER_STATUSES)])
        | {"authInfo": f'[{{"deviceType":{DEVICE_TYPES[number % 3]},"count":{number + 1}}}]'}
        for number in range(5)
    ]
