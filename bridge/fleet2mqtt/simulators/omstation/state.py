"""The state of a simulated omstation, its changes, and its deviations from the document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import FaultInjector
from fleet2mqtt.simulators.omstation.data import (
    EMPTY,
    FAILED,
    FAILING_EVERY,
    FULL,
    LATTICE_FIELDS,
    LATTICES,
    ORG_ID,
    PLACES,
    ROLES,
    STATION_FIELDS,
    furnish,
    lattice_numbers,
    make_collections,
    make_film,
    make_id,
    make_lattice,
    make_slots,
    make_station,
    make_transfers,
    nanoseconds,
    statistics,
)
from fleet2mqtt.simulators.omstation.protocol import DEVICE_TYPES, Code, RefusalError, TokenAnswer, Tree, md5_hex

_FIXED = frozenset({"id", "stationId"})  # the members that identify an item
_STATIONS_A_STEP = 500  # so that ten thousand stations do not block the event loop


@dataclass(slots=True, kw_only=True)
class Simulator:
    """The vendor's state as plain data, and the switches that change its behaviour.

    `stations`, `collections` and `transfers` are items by id, `lattices` the items of a station by its id, `charge` per
    cent by lattice id, `devices` the type of each known lock, `away` the locks in no lattice. Ids and lattice numbers
    that are not there raise KeyError. Every switch is off by default.
    """

    rng: Random
    fault_injector: FaultInjector = field(default_factory=FaultInjector)
    org_id: str = ORG_ID
    accounts: dict[str, str] = field(default_factory=lambda: {"admin": "123456"})  # plain passwords
    expired_accounts: set[str] = field(default_factory=set)
    tokens: dict[str, str] = field(default_factory=dict)  # user by token
    login_count: int = 0  # tries, good and bad
    bad_logins: Counter[str] = field(default_factory=Counter)  # since the last good one
    stations: dict[str, Tree] = field(default_factory=dict)
    lattices: dict[str, list[Tree]] = field(default_factory=dict)
    charge: dict[str, int] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)
    away: list[str] = field(default_factory=list)
    collections: dict[str, Tree] = field(default_factory=dict)
    transfers: dict[str, Tree] = field(default_factory=dict)
    asset_token: str = "A334853698EF49DC98A1C8BA65149351"  # noqa: S105 - the page's sample
    asset_changes: dict[str, Tree] = field(default_factory=dict)  # fields of the asset call that differ, by lock
    refused_assets: set[str] = field(default_factory=set)  # locks for which the asset call is refused
    low_inventory: int = 3
    live_seconds: float = 3.0

    add_answers: int = Code.EXCEPTION  # the code of addDeviceInfo, which does add; 200 is the other
    lock_after: int | None = None  # an account with so many bad logins on end is locked
    locked_code: int = Code.BAD_LOGIN
    token_answer: str = TokenAnswer.CODE
    single_session: bool = False  # a login ends the account's earlier ones
    writes_say_105: bool = False  # every write is carried out and answers 105
    null_strings: bool = False  # null for texts that are empty or that no page calls required
    statistics_as_text: bool = False
    lattices_missing: bool = False  # no `stationLatticeInfoList`
    window_filters_sums: bool = False  # the sums of a station count the lattices that changed from startTime to endTime
    size_is_page_size: bool = False  # `size` of a page, which its page calls the page number

    def populate(self, stations: int) -> None:
        """Start with so many stations, twelve lattices each, and a few authorisations."""
        for _ in range(stations):
            self.add_station()
        self.collections = {item["id"]: item for item in make_collections(self.rng)}
        self.transfers = {item["id"]: item for item in make_transfers(self.rng)}

    def add_station(self, *, lattices: int = LATTICES, **fields: Any) -> Tree:
        """Add a station of full, charging and empty lattices; `fields` as for `change_station`.

        The first few stations have a failed lattice each, of the others one in `FAILING_EVERY`.
        """
        number = len(self.stations)
        self._check(fields, STATION_FIELDS)
        station = make_station(self.rng, number) | fields
        self.keep_station(station, make_slots(lattices), lattices)
        roles = list(ROLES)
        if number:
            self.rng.shuffle(roles)
        if number >= len(PLACES) and number % FAILING_EVERY:
            roles = [FULL if role == FAILED else role for role in roles]
        for position, lattice in enumerate(self.lattices[station["id"]]):
            role = roles[position % len(roles)]
            device_id = "" if role == EMPTY else self._new_device()
            self.charge[lattice["id"]] = furnish(lattice, role, device_id, self.rng)
        return station

    def keep_station(self, station: Tree, slots: list[Tree], count: int) -> None:
        """Store a station and give it `count` lattices; those whose numbers it had stay, the locks of others go."""
        before = {item["latticeNo"]: item for item in self.lattices.get(station["id"], ())}
        items = []
        for index, number in enumerate(lattice_numbers(slots, count), 1):
            item = before.pop(number, None) or make_lattice(self.rng, station["id"], index, number)
            items.append(item | {"index": index})
            self.charge.setdefault(item["id"], 0)
        for item in before.values():
            self._forget(item)
        station |= {"totalCount": count, "latticeAssetList": slots}
        self.stations[station["id"]] = station
        self.lattices[station["id"]] = items

    def remove_station(self, station_id: str) -> None:
        """Forget a station; its locks are away."""
        del self.stations[station_id]
        for item in self.lattices.pop(station_id):
            self._forget(item)

    def change_station(self, station_id: str, /, **fields: Any) -> Tree:
        """Set fields as the list of stations names them. Raises AttributeError for others, and for the id."""
        self._check(fields, STATION_FIELDS, _FIXED)
        self.stations[station_id] |= fields
        return self.stations[station_id]

    def lattice(self, station_id: str, number: str) -> Tree:
        """Return a lattice by its `latticeNo`."""
        found = next((item for item in self.lattices[station_id] if item["latticeNo"] == number), None)
        if found is None:
            raise KeyError(number)
        return found

    def change_lattice(self, station_id: str, number: str, /, **fields: Any) -> Tree:
        """Set fields of a lattice, updated now unless they say when. Raises AttributeError for others, and for ids."""
        self._check(fields, LATTICE_FIELDS, _FIXED)
        item = self.lattice(station_id, number)
        item |= {"updateTime": nanoseconds()} | fields
        return item

    def take_lock(self, station_id: str, number: str) -> str:
        """Somebody takes the lock out of a lattice, and is filmed; its id. Raises ValueError where there is none."""
        item = self.lattice(station_id, number)
        device_id: str = item["deviceId"]
        if not device_id:
            raise ValueError(f"lattice {number} is empty")
        emptied = {"deviceId": "", "deviceType": 0, "connectPower": 0, "isFull": 0, "lockStatus": 1}
        self.change_lattice(station_id, number, **emptied, fileUrl=make_film(self.rng))
        self.charge[item["id"]] = 0
        self.away.append(device_id)
        return device_id

    def return_lock(self, station_id: str, number: str, device_id: str | None = None, charge: int = 20) -> str:
        """Somebody puts a lock into a lattice, to charge: this one, the one longest away, or a new one; its id.

        Raises ValueError where the lattice is not empty or the lock not away.
        """
        item = self.lattice(station_id, number)
        if item["deviceId"]:
            raise ValueError(f"lattice {number} is not empty")
        if device_id is None:
            device_id = self.away[0] if self.away else self._new_device()
        elif device_id in self.devices and device_id not in self.away:
            raise ValueError(f"lock {device_id} is in a lattice or not there")
        self.devices.setdefault(device_id, DEVICE_TYPES[0])
        self.away[:] = [other for other in self.away if other != device_id]
        filled = {"deviceId": device_id, "deviceType": self.devices[device_id], "lockStatus": 0}
        self.change_lattice(station_id, number, **filled, connectPower=1, isFull=0, fileUrl=make_film(self.rng))
        self.set_charge(station_id, number, charge)
        return device_id

    def set_charge(self, station_id: str, number: str, percent: int) -> None:
        """Charge a lock to so many per cent; at 100 it is full."""
        item = self.lattice(station_id, number)
        self.charge[item["id"]] = min(percent, 100)
        if item["isFull"] != (full := int(percent >= 100)):
            self.change_lattice(station_id, number, isFull=full)

    def sums(self, *station_ids: str, only: Callable[[Tree], bool] = lambda _: True) -> dict[str, int]:
        """Return `stationStatistics` of these stations, over the lattices that `only` accepts."""
        return statistics((filter(only, self.lattices[known]) for known in station_ids), self.low_inventory)

    def log_in(self, user: str, digest: str) -> str:
        """Return a new token for the account; `digest` is the password's MD5. Raises RefusalError."""
        self.login_count += 1
        if self.lock_after is not None and self.bad_logins[user] >= self.lock_after:
            raise RefusalError(self.locked_code, "Account is locked")
        if user not in self.accounts or digest != md5_hex(self.accounts[user]):
            self.bad_logins[user] += 1
            raise RefusalError(Code.BAD_LOGIN)
        if user in self.expired_accounts:
            raise RefusalError(Code.ACCOUNT_EXPIRED)
        self.bad_logins.pop(user, None)
        if self.single_session:
            self._end_sessions(user)
        token = make_id(self.rng)
        self.tokens[token] = user
        return token

    def set_password(self, user: str, password: str | None) -> None:
        """Give the account, new or not, this plain password; None removes it. Its tokens become invalid."""
        if password is None:
            self.accounts.pop(user, None)
        else:
            self.accounts[user] = password
        self._end_sessions(user)

    def expire_tokens(self) -> None:
        """Make all tokens invalid."""
        self.tokens.clear()

    def happen(self) -> None:
        """Let locks charge, and one lock be taken or returned."""
        chosen = self.rng.sample(list(self.stations), min(len(self.stations), _STATIONS_A_STEP))
        for item in self._items(chosen):
            if item["deviceId"] and item["connectPower"] and not item["isFull"] and not item["isFailure"]:
                percent = self.charge[item["id"]] + self.rng.randint(3, 12)
                self.set_charge(item["stationId"], item["latticeNo"], percent)
        sound = [item for item in self._items(chosen) if not item["isFailure"]]
        full = [item for item in sound if item["deviceId"] and item["isFull"]]
        empty = [item for item in sound if not item["deviceId"]]
        if empty and self.away and (not full or self.rng.random() < len(self.away) / (len(self.away) + 2)):
            item = self.rng.choice(empty)
            self.return_lock(item["stationId"], item["latticeNo"], charge=self.rng.randrange(5, 60))
        elif full:
            item = self.rng.choice(full)
            self.take_lock(item["stationId"], item["latticeNo"])

    def _end_sessions(self, user: str) -> None:
        self.tokens = {token: owner for token, owner in self.tokens.items() if owner != user}

    def _items(self, station_ids: list[str]) -> Iterator[Tree]:
        for station_id in station_ids:
            yield from self.lattices[station_id]

    def _forget(self, item: Tree) -> None:
        self.charge.pop(item["id"], None)
        if item["deviceId"]:
            self.away.append(item["deviceId"])

    def _new_device(self) -> str:
        number = len(self.devices)
        while (device_id := f"{DEVICE_TYPES[number % 3]}{number + 1:07d}") in self.devices:
            number += 1
        self.devices[device_id] = DEVICE_TYPES[number % 3]
        return device_id

    @staticmethod
    def _check(fields: Tree, known: tuple[str, ...], fixed: frozenset[str] = frozenset()) -> None:
        unknown = fields.keys() - (set(known) - fixed)
        if unknown:
            raise AttributeError(", ".join(sorted(unknown)))


SIMULATOR = web.AppKey("omstation_simulator", Simulator)
