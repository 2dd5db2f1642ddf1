"""The state of a simulated AC: users, groups, policies, bindings, and its deviations from the document."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import FaultInjector, FaultKind
from fleet2mqtt.simulators.sangfor_ac.data import (
    EVERYBODYS_POLICY,
    GROUPS,
    ONE_USERS_POLICY,
    SAMPLE_USER,
    generate_online,
    make_online,
    make_user,
    sample_bindings,
    sample_flux_policies,
    sample_net_policies,
    sample_online,
    sample_status,
)
from fleet2mqtt.simulators.sangfor_ac.protocol import Tree

HOUR = 3600.0
_EVERY = 5  # one generated user in so many has bindings


def overlay(item: Tree, fields: Tree) -> Tree:
    """Change fields of an item and return it. Raises KeyError for fields it lacks, and then changes nothing."""
    unknown = fields.keys() - item.keys()
    if unknown:
        raise KeyError(*unknown)
    item |= fields
    return item


class Arrival(NamedTuple):
    """A call that arrives: seconds since the one before, and whether its `random` was used."""

    gap: float
    reused: bool


@dataclass(slots=True, kw_only=True)
class Simulator:
    """The vendor's state as plain data, records of the calls, and the settings of the device.

    Every switch is off by default. Paths in switches are patterns as in a shell, from `/v1/` on.
    """

    rng: Random
    fault_injector: FaultInjector = field(default_factory=FaultInjector)
    key: str = "fleet2mqtt-sim"
    groups: dict[str, str] = field(default_factory=dict)  # path: desc
    net_policies: list[Tree] = field(default_factory=list)
    flux_policies: list[Tree] = field(default_factory=list)
    group_policies: dict[str, list[str]] = field(default_factory=dict)
    user_policies: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # "net" or "flux", user: names
    users: dict[str, Tree] = field(default_factory=dict)
    bindings: list[Tree] = field(default_factory=list)
    ipmac: dict[str, Tree] = field(default_factory=dict)  # by IP
    online: dict[str, Tree] = field(default_factory=dict)  # by IP
    status: Tree = field(default_factory=dict)

    reused_randoms: list[str] = field(default_factory=list)  # each time one came again within the hour
    used_randoms: dict[str, float] = field(default_factory=dict)  # and its Unix time
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=20_000))  # monotonic seconds
    in_flight: int = 0
    most_in_flight: int = 0

    min_spacing: float = 0.0  # seconds; a call that comes sooner finds the system busy
    busy_when_concurrent: bool = False
    answer_delay: float = 0.0  # seconds
    outside_whitelist: bool = False
    service_disabled: bool = False
    bbc_centre: bool = False  # only the chapters on users and groups and on policies
    missing_chapters: set[str] = field(default_factory=set)  # values of `Chapter`
    missing_as_text: bool = False  # they refuse the format; otherwise they are HTTP 404
    redirects: set[str] = field(default_factory=set)  # HTTP 302, as from a wrong port
    empty_bodies: set[str] = field(default_factory=set)  # HTTP 200 and nothing, the call carried out
    code_missing: bool = False  # successful POSTs have no `code`
    braces_for_empty: bool = False  # empty arrays are `{}`
    numbers_as_text: bool = False  # in chapter 1
    device_fluxpolicy: bool = False  # flat, as a 13.0.18 answers
    old_father_id: bool = False  # and `fatherID` is `father_id` in it
    table_spelling: bool = False  # 3.2: `targetip_group` and `childrens`, as its table says
    ipmac_under_bindinfo: bool = False  # the query of 4.2 is where its siblings are
    bindings_without_search: bool = False  # 4.1 without `search` lists all
    fuzzy_bindings: bool = False  # 4.1 finds parts of names and addresses
    deletes_pairs: bool = False  # 4.3 takes "ip+mac" too
    newer_terminals: bool = False  # 5.1 takes iot, armarium and custom too
    silent_protection: bool = False  # taking away a policy that cannot be taken away: success and nothing done
    flat_user_fields: bool = False  # extension fields of users have an effect flat as well
    nested_user_fields: bool = False  # extension fields of users are read under `extend`
    expiry_as_text: bool = False  # `expire_time` of users is read as it is written
    unit_ignored: bool = False  # throughput is in bytes whatever was asked for
    unit_missing: bool = False  # throughput without `unit`
    row_limit: int = 100
    utc_offset_hours: float = 8.0  # of sys-time

    drifted: int = 0  # items by which the online list has turned under DRIFT
    usual: int = 0  # online users to begin with
    generated: int = 0  # online users generated so far

    def populate(self, devices: int) -> None:
        """Start with so many online users, the document's first, and the rest of its samples."""
        self.usual = devices
        self.groups |= GROUPS
        self.net_policies, self.flux_policies = sample_net_policies(), sample_flux_policies()
        self.group_policies |= {"/hello": ["policy1", "policy2"], "/default": [EVERYBODYS_POLICY]}
        self.user_policies |= {"net": {SAMPLE_USER: [ONE_USERS_POLICY]}, "flux": {}}
        self.users[SAMPLE_USER] = make_user(SAMPLE_USER, SAMPLE_USER, "/default")
        self.bindings += sample_bindings()
        self.bind_ip("1.1.1.2", "11-11-11-11-11-11")
        self.status |= sample_status()
        now = int(time.time())
        if devices:
            sample = sample_online(now)
            self.online[sample["ip"]] = sample
        for _ in range(devices - 1):
            self.generate_user(now)

    def generate_user(self, now: int) -> Tree:
        """Bring a generated user, of whom the AC has an account, online; return the item."""
        item = generate_online(self.generated, self.rng, now)
        self.online[item["ip"]] = item
        self.users[item["name"]] = make_user(item["name"], item["show_name"], item["father_path"])
        if self.generated % _EVERY == _EVERY - 1:
            addr = f"{item['ip']}+{item['mac']}"
            self.bind_user(item["name"], addr, addr_type="ipmac")
            self.bind_ip(item["ip"], item["mac"])
        self.generated += 1
        return item

    def log_in(self, ip: str, name: str, mac: str = "", **fields: Any) -> Tree:
        """Bring a user online at an address, replacing the user there; `fields` are others of 5.1, or KeyError."""
        item = overlay(make_online(name, ip, mac, int(time.time())), fields)
        self.online.pop(ip, None)
        self.online[ip] = item
        return self.online[ip]

    def log_out(self, ip: str) -> None:
        """Take the user at an address offline. Raises KeyError."""
        del self.online[ip]

    def add_user(self, name: str, show_name: str = "", father_path: str = "/default", **fields: Any) -> Tree:
        """Add a local user, or replace it; `fields` are others of its item, or KeyError."""
        self.users[name] = overlay(make_user(name, show_name or name, father_path), fields)
        return self.users[name]

    def remove_user(self, name: str) -> None:
        """Remove a local user with its policies and bindings. Raises KeyError."""
        del self.users[name]
        for policies in self.user_policies.values():
            policies.pop(name, None)
        self.bindings[:] = [item for item in self.bindings if item["name"] != name]

    def remove_group(self, path: str) -> None:
        """Remove a group, those below it, and their users. Raises KeyError."""
        del self.groups[path]
        self.group_policies.pop(path, None)
        below = {other for other in self.groups if other.startswith(f"{path}/")}
        for group in below:
            del self.groups[group]
            self.group_policies.pop(group, None)
        for name in [name for name, user in self.users.items() if user["father_path"] in {path, *below}]:
            self.remove_user(name)

    def bind_user(self, name: str, addr: str, *, addr_type: str = "ip", **fields: Any) -> Tree:
        """Bind a user to an address; `fields` are others of 4.1, or KeyError."""
        kind = {"addr": addr, "addr_type": addr_type, "time": self.local_time("%Y-%m-%d"), "limitlogon": True}
        item = {"enable": True, "desc": "", "name": name, **kind, "noauth": {"enable": False, "indate": 0}}
        self.bindings.append(overlay(item, fields))
        return self.bindings[-1]

    def bind_ip(self, ip: str, mac: str, desc: str = "") -> Tree:
        """Bind an IP to a MAC address."""
        self.ipmac[ip] = {"desc": desc, "mac": mac, "ip": ip}
        return self.ipmac[ip]

    def net_policy(self, name: str) -> Tree | None:
        """Return a net policy."""
        return next((item for item in self.net_policies if item["policy_info"]["name"] == name), None)

    def flux_policy(self, name: str) -> Tree | None:
        """Return a channel, wherever in the tree it is."""
        return next((item for _, item in self.channels() if item["name"] == name), None)

    def channels(self, above: Tree | None = None) -> Iterator[tuple[Tree | None, Tree]]:
        """Return each channel with the one it is in, parents first."""
        for item in self.flux_policies if above is None else above["children"]:
            yield above, item
            yield from self.channels(item)

    def local_time(self, form: str) -> str:
        """Return the device's own time, which has no zone."""
        return time.strftime(form, time.gmtime(time.time() + self.utc_offset_hours * HOUR))

    def record_call(self, random: str | None, at: float) -> Arrival:
        """Record a call that arrived at `at` (monotonic)."""
        gap = at - self.arrivals[-1] if self.arrivals else float("inf")
        self.arrivals.append(at)
        return Arrival(gap=gap, reused=random is not None and self._is_reused(random))

    def _is_reused(self, random: str) -> bool:
        now = time.time()
        while self.used_randoms and now - next(iter(self.used_randoms.values())) >= HOUR:
            del self.used_randoms[next(iter(self.used_randoms))]
        if now - self.used_randoms.get(random, -HOUR) < HOUR:
            self.reused_randoms.append(random)
            return True
        self.used_randoms.pop(random, None)
        self.used_randoms[random] = now
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that passed the permission check."""

    simulator: Simulator
    path: str
    query: Mapping[str, str]
    body: Tree

    def finds_nothing(self) -> bool:
        """Return True if a fault makes lists look empty; uses it up."""
        return self.simulator.fault_injector.take(self.path, FaultKind.EMPTY) is not None


SIMULATOR = web.AppKey("simulator", Simulator)
