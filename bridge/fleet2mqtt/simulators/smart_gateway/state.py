"""State of a simulated IG200 system: gateways, port mapping rules, and its deviations from the document."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import FaultInjector
from fleet2mqtt.simulators.smart_gateway.data import (
    FIRST_RULE,
    FIRST_SN,
    SECOND_RULE,
    SECOND_SN,
    make_alias,
    make_gateway,
    make_registered,
    make_rule,
    make_sn,
    make_uuid,
    sample_gateways,
    sample_rules,
)
from fleet2mqtt.simulators.smart_gateway.protocol import Tree

DEVICE_TYPE = "IG-200"  # as the document's rules spell the IG200
_GATEWAYS_PER_RULE = 10  # one generated gateway in so many has a rule
_FREE_PORTS = 30_000


@dataclass(slots=True, kw_only=True)
class Simulator:
    """The vendor's state as plain data (`gateways` by serial number, `rules` by uuid), and its quirks.

    Every quirk is off by default; what the document leaves open is an attribute. A running gateway's `runtime` follows
    the clock, so change it by `set_base`. Unknown serial numbers raise KeyError.
    """

    rng: Random
    fault_injector: FaultInjector = field(default_factory=FaultInjector)
    gateways: dict[str, Tree] = field(default_factory=dict)
    rules: dict[str, Tree] = field(default_factory=dict)

    set_path: str | None = "/api/v1/devices/set"  # None: no path is served
    apply_delay: float = 0.0  # seconds from the response to a set until queries show it
    max_devices: int = 20_000
    alias_limit: int = 32  # characters
    first_page: int = 1
    running_state: str = "running"  # the `state` of a gateway that runs; the document has one example and no list
    partial_code: int = 0  # `code` where some of several rules could not be removed

    kbps_unquoted: bool = False  # the list sends `"rateup": 58640 Kbps`, which is not JSON
    kbps_text: bool = False  # rates are texts, "58640 Kbps"
    bare_success: bool = False  # regist and delete send `"msg": success`, which is not JSON
    trailing_commas: bool = False  # every response ends in `,}`
    placeholders: bool = False  # runtime, remark, qos and record are ""
    list_placeholders: bool = False  # … and gps is 0, 0, but only in the list, as the comments of document 1.1 have it
    blank_when_offline: bool = False  # a gateway that is off has no network and empty channels
    gps_zero: bool = False
    gps_missing: bool = False
    net_as_int: bool = False  # 0 auto, 1 SA, 2 NSA, as in the comment beside the sample
    bool_enables: bool = False  # enable, hidden, top and lock are true and false
    query_volumes: bool = False  # query returns the channel fields of the list too: used, remain, total, addresses
    query_failures: dict[str, int] = field(default_factory=dict)  # by gateway: the code, or HTTP status, of its queries
    list_failures: dict[str, int] = field(default_factory=dict)  # by gateway: the HTTP status of its page
    duplicate_rules: bool = False  # mapping/list returns each rule twice, as in the sample

    drift: int = 0  # items by which the list was moved under DRIFT
    last_queried: dict[str, Tree] = field(default_factory=dict)  # last query items of the last few gateways
    _booted: dict[str, float] = field(default_factory=dict)

    def populate(self, devices: int) -> None:
        """Add so many gateways, the document's two first, and the rules of its sample."""
        for gateway in sample_gateways(self.rng)[:devices]:
            self._store(gateway)
        for rule in sample_rules():
            self.rules[rule["uuid"]] = rule
        for uuid, sn, ip in ((FIRST_RULE, FIRST_SN, "192.168.4.2"), (SECOND_RULE, SECOND_SN, "192.168.4.5")):
            if sn in self.gateways:
                self.assign(uuid, sn, ip)
        for index in range(devices - 2):
            sn = self.add_gateway(make_sn(self.rng), make_alias(index))["base"]["sn"]
            if index % _GATEWAYS_PER_RULE == 0:
                name = f"PLC_{index + 1}"
                uuid = self.add_rule(name, "192.168.16.56", f"{_FREE_PORTS + index // _GATEWAYS_PER_RULE}", 0)
                self.assign(uuid, sn, "192.168.4.10")

    def add_gateway(self, sn: str, alias: str) -> Tree:
        """Add a running gateway with six generated channels."""
        return self._store(make_gateway(sn, alias, self.rng))

    def register(self, sn: str, alias: str) -> Tree:
        """Add a gateway as `regist` does: not running, without data."""
        return self._store(make_registered(sn, alias))

    def remove_gateway(self, sn: str) -> None:
        """Remove a gateway; its rules become unassigned."""
        for item in self.gateways.pop(sn)["base"]["mapping"]:
            self.rules[item["uuid"]] |= {"sn": "", "devName": "", "devType": ""}
        self._booted.pop(sn, None)
        self.last_queried.pop(sn, None)

    def set_base(self, sn: str, /, **fields: Any) -> None:
        """Change `base` fields; a `state` other than `running_state` means a gateway that is off."""
        gateway = self.refreshed(sn)
        gateway["base"] |= fields
        self._booted.pop(sn, None)
        self.refreshed(sn)
        for item in gateway["base"]["mapping"]:
            self.rules[item["uuid"]]["devName"] = gateway["base"]["alias"]

    def set_network(self, sn: str, part: str, /, **fields: Any) -> None:
        """Change fields of "lan" or "hotspot"."""
        self.gateways[sn]["network"].setdefault(part, {}).update(fields)

    def set_channel(self, sn: str, key: str, /, **fields: Any) -> None:
        """Change fields of a channel; an empty slot gets exactly these."""
        self.gateways[sn]["channel"].setdefault(key, {}).update(fields)

    def set_parameters(self, sn: str, /, **fields: Any) -> None:
        """Change `top` and `lock`."""
        self.gateways[sn]["parameters"] |= fields

    def pull_sim(self, sn: str, key: str) -> None:
        """Empty a channel's slot."""
        self.gateways[sn]["channel"][key] = {}

    def is_running(self, sn: str) -> bool:
        """Return True if a gateway's state is that of a running one."""
        return bool(self.gateways[sn]["base"]["state"] == self.running_state)

    def refreshed(self, sn: str) -> Tree:
        """Return the gateway with its run time as of now."""
        gateway: Tree = self.gateways[sn]
        base = gateway["base"]
        if self.is_running(sn):
            now = time.monotonic()
            booted = self._booted.setdefault(sn, now - (base["runtime"] or 0))
            base["runtime"] = round(now - booted)
        else:
            self._booted.pop(sn, None)
        return gateway

    def add_rule(self, name: str, ip: str, port: str, protocol: int, mark: str = "") -> str:
        """Add an unassigned rule; return its uuid."""
        uuid = make_uuid(self.rng)
        self.rules[uuid] = make_rule(uuid, name, port, protocol) | {"ip": ip, "mark": mark}
        return uuid

    def remove_rule(self, uuid: str) -> None:
        """Remove a rule, also from its gateway."""
        self.unassign(uuid)
        del self.rules[uuid]

    def assign(self, uuid: str, sn: str, ip: str) -> None:
        """Assign a rule to a gateway, for the address `ip` in its LAN; another gateway loses it."""
        rule, base = self.rules[uuid], self.gateways[sn]["base"]
        self.unassign(uuid)
        rule |= {"sn": sn, "devName": base["alias"], "devType": DEVICE_TYPE}
        base["mapping"].append({"uuid": uuid, "name": rule["name"], "ip": ip})

    def unassign(self, uuid: str) -> None:
        """Unassign a rule from its gateway, if it has one."""
        rule = self.rules[uuid]
        if rule["sn"]:
            base = self.gateways[rule["sn"]]["base"]
            base["mapping"] = [item for item in base["mapping"] if item["uuid"] != uuid]
        rule |= {"sn": "", "devName": "", "devType": ""}

    def assigned(self, sn: str, uuid: str) -> Tree | None:
        """Return the gateway's own item of an assigned rule: uuid, name, address in its LAN."""
        items: Iterable[Tree] = self.gateways[sn]["base"]["mapping"]
        return next((item for item in items if item["uuid"] == uuid), None)

    def snapshot(self) -> Tree:
        """Return the whole state."""
        return {"gateways": {sn: self.refreshed(sn) for sn in self.gateways}, "rules": self.rules}

    def _store(self, gateway: Tree) -> Tree:
        sn: str = gateway["base"]["sn"]
        self.gateways[sn] = gateway
        return self.refreshed(sn)


SIMULATOR = web.AppKey("simulator", Simulator)
