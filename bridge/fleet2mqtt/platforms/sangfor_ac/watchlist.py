"""What is known of what the option `watch` names: groups, users, bindings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from fleet2mqtt.devices.model import Device, EntityDescription
from fleet2mqtt.platforms.sangfor_ac.entities import BINDING, GROUP, USER, policy_switch
from fleet2mqtt.platforms.sangfor_ac.models import (
    Account,
    BindingRecord,
    GroupRecord,
    IpMacBinding,
    OnlineUser,
    UserBinding,
    UserRecord,
    mac_of,
)

if TYPE_CHECKING:
    from fleet2mqtt.platforms.sangfor_ac.device_cache import Shelf
    from fleet2mqtt.platforms.sangfor_ac.session import Row

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class Groups:
    """The watched groups. Each has a switch for every net policy that is known."""

    shelf: Shelf
    _known: dict[str, GroupRecord] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)
    _switches: dict[str, EntityDescription] = field(default_factory=dict)

    def learn(self, path: str, policies: tuple[str, ...] | None, requested_at: float) -> None:
        """The policies of a group; None where the AC has no such group, which is unavailable then.

        What was asked for before that which is known (`began`) does not count.
        """
        if _outdated(self._asked, path, requested_at):
            return
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

    def _switch(self, policy: str) -> EntityDescription:
        known = self._switches.get(policy)
        if known is None:
            known = self._switches[policy] = policy_switch(policy)
        return known


@dataclass(slots=True, kw_only=True)
class Users:
    """The watched users. `logout` says whether there is a button to log them out.

    Two sources tell of one device: of each, what was asked for before that which is known (`began`) does not count.
    """

    shelf: Shelf
    zone: tzinfo
    logout: bool
    _known: dict[str, UserRecord] = field(default_factory=dict)
    _seen: dict[str, float] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)

    def logins(self, name: str, rows: Iterable[Row]) -> tuple[OnlineUser, ...]:
        """The rows that are of this very user, the newest login first: the AC also finds names that are alike."""
        found = [OnlineUser.model_validate(row, context={"zone": self.zone}) for row in rows]
        mine = [login for login in found if login.name == name]
        return tuple(sorted(mine, key=lambda login: login.login_time or _LONG_AGO, reverse=True))

    def see(self, name: str, logins: tuple[OnlineUser, ...] | None, requested_at: float) -> None:
        """Where a user is online; None where that could not be found out, and what was known stays."""
        before = self._record(name)
        if not _outdated(self._seen, name, requested_at):
            self._known[name] = replace(before, seen=True, logins=before.logins if logins is None else logins)

    def learn(self, name: str, account: Row | None, requested_at: float) -> None:
        """The account of a user, as the AC tells it; None where there is none of that name."""
        found = None if account is None else Account.model_validate(account, context={"zone": self.zone})
        if not _outdated(self._asked, name, requested_at):
            self._known[name] = replace(self._record(name), account=found)

    def devices(self, *names: str) -> tuple[Device, ...]:
        """Those of these users that were heard of."""
        known = ((name, self._known[name]) for name in names if name in self._known)
        return tuple(self.shelf.device(name, record, USER, name=name) for name, record in known)

    def _record(self, name: str) -> UserRecord:
        return self._known.get(name) or UserRecord(name=name, logout=self.logout)


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


def _outdated(asked: dict[str, float], name: str, requested_at: float) -> bool:
    """Whether newer news is known; what was asked for now is the newest then."""
    if requested_at < asked.get(name, requested_at):
        return True
    asked[name] = requested_at
    return False


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
