"""The watchlist: what is known of the groups, users and bindings that the option `watch` names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple, TypeAlias

from fleet2mqtt.devices.model import Device, Inventory
from fleet2mqtt.errors import BackendError
from fleet2mqtt.platforms.sangfor_ac.entities import (
    BINDING_ENTITIES,
    BINDINGS,
    GROUP_ENTITIES,
    GROUPS,
    ONLINE_USERS,
    USER_ENTITIES,
    USERS,
    GroupEntity,
    policy_switch,
)
from fleet2mqtt.platforms.sangfor_ac.models import (
    Account,
    BindingRecord,
    GroupRecord,
    IpMacBinding,
    Item,
    OnlineUser,
    UserBinding,
    UserRecord,
    normalize_mac,
)
from fleet2mqtt.sdk.device_cache import DeviceCache, NewestFirst

Outcome: TypeAlias = tuple[float, Iterable[Item]] | BackendError
"""Outcome of a call: the request time and its items, or its error."""

_EARLIEST = datetime.min.replace(tzinfo=UTC)
_PRESENCE, _ACCOUNT = "presence:", "account:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The option `watch`: vendor ids by kind; `patterns` are those of users, which online users are matched with."""

    groups: tuple[str, ...]
    users: tuple[str, ...]
    bindings: tuple[str, ...]
    patterns: tuple[str, ...] = ()


class Kind(NamedTuple):
    """Properties that the devices of a watchlist have in common.

    `segment` is part of their ids, `noun` the first word of their names. The kind `group` is that of group devices.
    """

    kind: str
    segment: str
    scope: str
    model: str
    noun: str

    def about(self, cache: DeviceCache, vendor_id: str) -> dict[str, Any]:
        """Return the fields that a device has whether or not it has been read."""
        name = f"{self.noun} {vendor_id}"
        about = {"vendor_id": vendor_id, "scope": self.scope, "name": name, "model": self.model}
        return {**about, "via": cache.backend, "kind": self.kind}

    def device(self, cache: DeviceCache, vendor_id: str) -> Device:
        """Return the device before it is read, for rules of selection to decide about its calls."""
        id_ = cache.id(self.segment, vendor_id)
        about = {**cache.about, **self.about(cache, vendor_id)}
        return Device(id=id_, backend=cache.backend, entities=(), state={}, **about)


GROUP = Kind(kind="user_group", segment="group", scope="groups", model="User group", noun="Group")
USER = Kind(kind="user", segment="user", scope="users", model="User", noun="User")
BINDING = Kind(kind="binding", segment="binding", scope="bindings", model="Binding", noun="Binding")


def watch_inventory(cache: DeviceCache, kind: Kind, vendor_ids: Iterable[str]) -> Inventory:
    """Return the inventory of a watchlist, which is the operator's own: complete, also when it is empty."""
    ids = frozenset(cache.id(kind.segment, vendor_id) for vendor_id in vendor_ids)
    return Inventory(scope=kind.scope, ids=ids, confirmed_empty=not ids)


@dataclass(slots=True, kw_only=True)
class Groups:
    """The watched groups. Each has a switch for every net policy that the AC lists."""

    cache: DeviceCache
    _records: dict[str, GroupRecord] = field(default_factory=dict)
    _newest: NewestFirst = field(default_factory=NewestFirst)
    _missed: set[str] = field(default_factory=set)
    _switches: dict[str, GroupEntity] = field(default_factory=dict)

    def apply(self, path: str, policies: tuple[str, ...] | None, requested_at: float) -> None:
        """Apply the policies of a group; None where the AC has no such group, which is unavailable then."""
        if not self._newest.accept(path, requested_at):
            return
        self._missed.discard(path)
        before = self._records.get(path)
        kept = before.policies if policies is None and before is not None else policies
        self._records[path] = GroupRecord(path=path, policies=kept, found=policies is not None)

    def apply_missed(self, path: str) -> None:
        """Make a group unavailable that several sweeps missed."""
        self._missed.add(path)
        self._records.setdefault(path, GroupRecord(path=path, policies=None, found=True))

    def devices(self, policies: Iterable[str], *, policies_known: bool) -> tuple[Device, ...]:
        """Return every group that was read, with switches for these policies and those it has."""
        return tuple(self._build(record, policies, policies_known=policies_known) for record in self._records.values())

    def policy(self, key: str) -> str | None:
        """Return the net policy of a switch."""
        return next((policy for policy, switch in self._switches.items() if switch.key == key), None)

    def _build(self, record: GroupRecord, policies: Iterable[str], *, policies_known: bool) -> Device:
        names = dict.fromkeys((*policies, *(record.policies or ())))
        entities = self.cache.intern((*GROUP_ENTITIES, *map(self.switch, names)))
        answered = policies_known and record.policies is not None
        return self.cache.build(
            self.cache.id(GROUP.segment, record.path),
            record,
            entities,
            **GROUP.about(self.cache, record.path),
            source=GROUPS,
            available=record.found and record.path not in self._missed,
            answered=frozenset((GROUPS,)) if answered else frozenset(),
        )

    def switch(self, policy: str) -> GroupEntity:
        """Return the switch of a net policy."""
        switch = self._switches.get(policy)
        if switch is None:
            switch = self._switches[policy] = policy_switch(policy)
        return switch


@dataclass(slots=True, kw_only=True)
class Users:
    """The watched users. `can_log_out` is True if there is a button to log them out.

    Two sources are about one device: of each, data that was requested before what is known is not applied.
    """

    cache: DeviceCache
    zone: tzinfo
    can_log_out: bool
    _records: dict[str, UserRecord] = field(default_factory=dict)
    _newest: NewestFirst = field(default_factory=NewestFirst)
    _answered: dict[str, frozenset[str]] = field(default_factory=dict)

    def logins(self, name: str, items: Iterable[Item]) -> tuple[OnlineUser, ...]:
        """Return the items that are of this very user, newest login first: the AC also finds names that are alike."""
        listed = [OnlineUser.model_validate(item, context={"zone": self.zone}) for item in items]
        own = [login for login in listed if login.name == name]
        return tuple(sorted(own, key=lambda login: login.login_time or _EARLIEST, reverse=True))

    def apply_presence(self, name: str, logins: tuple[OnlineUser, ...] | None, requested_at: float) -> None:
        """Apply where a user is online; None where that could not be found out, and what was known stays."""
        before = self._record(name)
        if self._newest.accept(_PRESENCE + name, requested_at):
            known = before.logins if logins is None else logins
            self._records[name] = replace(before, has_presence=True, logins=known)
            self._record_answer(name, ONLINE_USERS)

    def apply_presence_missed(self, name: str) -> None:
        """Make it unknown where a user is online, after several sweeps that missed it."""
        self._records[name] = replace(self._record(name), logins=None)
        self._record_answer(name, ONLINE_USERS)

    def apply_account(self, name: str, account: Item | None, requested_at: float) -> None:
        """Apply the account of a user; None where there is none of that name."""
        parsed = None if account is None else Account.model_validate(account, context={"zone": self.zone})
        if self._newest.accept(_ACCOUNT + name, requested_at):
            self._records[name] = replace(self._record(name), account=parsed, account_missed=False)
            self._record_answer(name, USERS)

    def apply_account_missed(self, name: str) -> None:
        """Make the account of a user unknown, after several sweeps that missed it."""
        self._records[name] = replace(self._record(name), account_missed=True)
        self._record_answer(name, USERS)

    def devices(self, *names: str) -> tuple[Device, ...]:
        """Return those of these users that were read."""
        return tuple(self._build(self._records[name]) for name in names if name in self._records)

    def discard(self, name: str) -> None:
        """Forget a user that is not watched any more."""
        self._records.pop(name, None)
        self._answered.pop(name, None)
        self._newest.discard(_PRESENCE + name)
        self._newest.discard(_ACCOUNT + name)
        self.cache.discard((self.cache.id(USER.segment, name),))

    def _build(self, record: UserRecord) -> Device:
        return self.cache.build(
            self.cache.id(USER.segment, record.name),
            record,
            USER_ENTITIES,
            **USER.about(self.cache, record.name),
            answered=self._answered.get(record.name, frozenset()),
        )

    def _record(self, name: str) -> UserRecord:
        return self._records.get(name) or UserRecord(name=name, can_log_out=self.can_log_out)

    def _record_answer(self, name: str, source: str) -> None:
        self._answered[name] = self._answered.get(name, frozenset()) | {source}


@dataclass(slots=True, kw_only=True)
class Bindings:
    """The watched searches. A search for an IP or a MAC is for a pair of both, too."""

    cache: DeviceCache
    _records: dict[str, BindingRecord] = field(default_factory=dict)
    _newest: NewestFirst = field(default_factory=NewestFirst)

    def apply_users(self, search: str, outcome: Outcome, *, missed: bool = False) -> None:
        """Apply the user bindings that a search finds; `missed` makes them unknown if the outcome is an error."""
        if isinstance(outcome, BackendError):
            if missed:
                self._records[search] = replace(self.record(search), users_missed=True)
            return
        requested_at, items = outcome
        bindings = [UserBinding.model_validate(item) for item in items]
        matching = tuple(one for one in bindings if _matches(search, one.name) or _matches_part(search, one.addr))
        if self._newest.accept(f"users:{search}", requested_at):
            self._records[search] = replace(self.record(search), users=matching, users_missed=False)

    def apply_pair(self, search: str, outcome: Outcome, *, missed: bool = False) -> None:
        """Apply the IP-MAC pair that a search finds; `missed` makes it unknown if the outcome is an error."""
        if isinstance(outcome, BackendError):
            if missed:
                self._records[search] = replace(self.record(search), pair_missed=True)
            return
        requested_at, items = outcome
        bindings = [IpMacBinding.model_validate(item) for item in items]
        matching = tuple(one for one in bindings if _matches(search, one.ip) or _matches(search, one.mac))
        if self._newest.accept(f"pair:{search}", requested_at):
            self._records[search] = replace(self.record(search), pair=matching, pair_missed=False)

    def record(self, search: str) -> BindingRecord:
        """Return what is known of a search."""
        return self._records.get(search) or BindingRecord(search=search)

    def devices(self, search: str, *, settled: bool) -> tuple[Device, ...]:
        """Return the device of a search, if it was read; `settled` is True if no call of it is awaited any more."""
        record = self._records.get(search)
        if record is None:
            return ()
        device = self.cache.build(
            self.cache.id(BINDING.segment, search),
            record,
            BINDING_ENTITIES,
            **BINDING.about(self.cache, search),
            source=BINDINGS,
            answered=frozenset((BINDINGS,)) if settled else frozenset(),
        )
        return (device,)


def _matches_part(search: str, addr: str | None) -> bool:
    return _matches(search, addr) or any(_matches(search, part) for part in (addr or "").split("+"))


def _matches(search: str, text: str | None) -> bool:
    """Return True if a text is what was searched for: the AC may also find what only begins alike."""
    return text is not None and (text == search or (normalize_mac(text) or text) == normalize_mac(search))
