"""What is known of what the option `watch` names: groups, users, bindings."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bridge.backends.sangfor_ac.entities import BINDING, GROUP, USER, policy_switch
from bridge.backends.sangfor_ac.models import (
    BindingRecord,
    GroupRecord,
    IpMacBinding,
    OnlineUser,
    UserBinding,
    UserRecord,
    mac_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import tzinfo

    from bridge.backends.sangfor_ac.client import Row
    from bridge.backends.sangfor_ac.shelf import Shelf
    from bridge.model import Device, Entity

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class Groups:
    """The watched groups. Each has a switch for every net policy that is known."""

    shelf: Shelf
    _known: dict[str, GroupRecord] = field(default_factory=dict)
    _switches: dict[str, Entity] = field(default_factory=dict)

    def learn(self, path: str, policies: tuple[str, ...] | None) -> None:
        """The policies of a group; None where the AC has no such group, which is unavailable then."""
        before = self._known.get(path)
        kept = before.policies if policies is None and before is not None else policies
        self._known[path] = GroupRecord(path=path, policies=kept, found=policies is not None)

    def devices(self, policies: Iterable[str]) -> tuple[Device, ...]:
        """Every group heard of, with switches for these policies and those it has."""
        return tuple(self._device(record, policies) for record in self._known.values())

    def _device(self, record: GroupRecord, policies: Iterable[str]) -> Device:
        names = dict.fromkeys((*policies, *(record.policies or ())))
        rows = (*GROUP, *(self._switch(name) for name in names))
        return self.shelf.device(record.path, record, rows, name=record.path, available=record.found)

    def _switch(self, policy: str) -> Entity:
        known = self._switches.get(policy)
        if known is None:
            known = self._switches[policy] = policy_switch(policy)
        return known


@dataclass(slots=True, kw_only=True)
class Users:
    """The watched users. `logout` says whether there is a button to log them out."""

    shelf: Shelf
    zone: tzinfo
    logout: bool
    _known: dict[str, UserRecord] = field(default_factory=dict)

    def logins(self, name: str, rows: Iterable[Row]) -> tuple[OnlineUser, ...]:
        """The rows that are of this very user, the newest login first: the AC also finds names that are alike."""
        found = [OnlineUser.model_validate(row, context={"zone": self.zone}) for row in rows]
        mine = [login for login in found if login.name == name]
        return tuple(sorted(mine, key=lambda login: login.login_time or _LONG_AGO, reverse=True))

    def learn(self, name: str, logins: tuple[OnlineUser, ...] | None) -> Device:
        """Where a user is online; None where that could not be found out, and what was known stays."""
        if logins is not None or name not in self._known:
            self._known[name] = UserRecord(name=name, logins=logins, logout=self.logout)
        return self.shelf.device(name, self._known[name], USER, name=name)


@dataclass(slots=True, kw_only=True)
class Bindings:
    """The watched searches."""

    shelf: Shelf
    _known: dict[str, BindingRecord] = field(default_factory=dict)

    def learn(self, search: str, users: Iterable[Row] | None, pair: Iterable[Row] | None) -> Device:
        """What a search finds; None for what was not answered, of which the last answer stays."""
        before = self._known.get(search) or BindingRecord(search=search, users=None, pair=None)
        found = before.users if users is None else _of_users(search, users)
        paired = before.pair if pair is None else _of_pairs(search, pair)
        self._known[search] = record = BindingRecord(search=search, users=found, pair=paired)
        return self.shelf.device(search, record, BINDING, name=search)


def _of_users(search: str, rows: Iterable[Row]) -> tuple[UserBinding, ...]:
    found = (UserBinding.model_validate(row) for row in rows)
    return tuple(row for row in found if _is(search, row.name) or _is_part(search, row.addr))


def _of_pairs(search: str, rows: Iterable[Row]) -> tuple[IpMacBinding, ...]:
    found = (IpMacBinding.model_validate(row) for row in rows)
    return tuple(row for row in found if _is(search, row.ip) or _is(search, row.mac))


def _is_part(search: str, addr: str | None) -> bool:
    return _is(search, addr) or any(_is(search, part) for part in (addr or "").split("+"))


def _is(search: str, text: str | None) -> bool:
    """Whether a text is what was searched for: the AC may also find what only begins alike."""
    return text is not None and (text == search or (mac_of(text) or text) == mac_of(search))
