"""The coordinator: polls the sources, reads single devices, writes, and turns responses into updates."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from fleet2mqtt.devices.model import Device, Inventory, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, CommandError, InvalidResponse, Rejected
from fleet2mqtt.platforms.sangfor_ac.call_selection import CallSelection
from fleet2mqtt.platforms.sangfor_ac.capabilities import Capabilities, ItemSweep, PollCycle
from fleet2mqtt.platforms.sangfor_ac.client import (
    FLUX_POLICIES,
    GROUP_POLICIES,
    IP_MAC_BINDING,
    NET_POLICIES,
    ONLINE,
    USER,
    USER_BINDINGS,
    Client,
    Online,
)
from fleet2mqtt.platforms.sangfor_ac.device_store import DeviceStore
from fleet2mqtt.platforms.sangfor_ac.entities import (
    LIBRARIES,
    ONLINE_COUNTS,
    ONLINE_USERS,
    PAIR_ENTITIES,
    STATUS,
    TERMINAL,
    USER_BINDING_ENTITIES,
    USER_ENTITIES,
    USERS,
)
from fleet2mqtt.platforms.sangfor_ac.matched_users import MatchedUsers, literal_part
from fleet2mqtt.platforms.sangfor_ac.models import AppRank, Item, OnlineUser, UserRank, normalize_mac
from fleet2mqtt.platforms.sangfor_ac.schemas import is_ip
from fleet2mqtt.platforms.sangfor_ac.transport import is_missing, is_not_found
from fleet2mqtt.platforms.sangfor_ac.watchlist import BINDING, GROUP, Kind, Watch, watch_inventory
from fleet2mqtt.platforms.sangfor_ac.watchlist import USER as WATCHED_USER
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.sweep import Sweep
from fleet2mqtt.sdk.updates import UpdateFactory

ResultT = TypeVar("ResultT")

RANK_LENGTH = 10
EVERYONE: Mapping[str, Any] = MappingProxyType({"status": "all", "terminal": "all"})
FROZEN: Mapping[str, Any] = MappingProxyType({"status": "frozen", "terminal": "all"})

FIGURES: Mapping[str, Callable[[Client], Awaitable[Any]]] = MappingProxyType(
    {
        "version": Client.version,
        "online_user": Client.online_user,
        "session_num": Client.session_num,
        "cpu_usage": Client.cpu_usage,
        "mem_usage": Client.mem_usage,
        "disk_usage": Client.disk_usage,
        "bandwidth_usage": Client.bandwidth_usage,
        "log": Client.log,
        "sys_time": Client.sys_time,
    }
)
"""Fields of the appliance's record, and the calls that answer them."""
ONLINE_COUNT = "status/online-user"
LIBRARY_LIST = "status/insidelib"
_NO_FIGURES = (InvalidResponse, Rejected)
"""Responses of a system to a call that it lacks, beside 404: with nothing, or with 未知错误,获取数据失败!"""


def by_name(names: Iterable[str]) -> dict[str, Any]:
    """Return the search for online users with these names; it also finds names that are alike."""
    return {**EVERYONE, "filter": {"type": "user", "value": list(names)}}


async def _none_if_not_found(call: Awaitable[ResultT]) -> ResultT | None:
    """Return the data of a call's response; None where the AC has no such object."""
    try:
        return await call
    except BackendError as error:
        if is_not_found(error):
            return None
        raise


@dataclass(slots=True, kw_only=True)
class Coordinator:
    """The `client` of a sangfor_ac Backend.

    `throughput` is the filter of the throughput call, `ip_range` how a range of addresses is written, `extends` tells
    whether the extension fields of local users are written under `extend`, `may_log_out` whether `allow` names the
    action. `primary_fails` is True if the status source fails (`Context.primary_fails`). `save_checkpoint(id, text)`
    puts the users on disk that patterns matched.
    """

    name: str
    client: Client
    store: DeviceStore
    update: UpdateFactory
    capabilities: Capabilities
    watch: Watch
    matched: MatchedUsers
    selection: CallSelection
    save_checkpoint: Callable[[str, str], Awaitable[None]]
    throughput: Mapping[str, str]
    ip_range: str
    extends: bool
    may_log_out: bool
    primary_fails: Callable[[], bool]
    _sweeps: dict[str, Sweep] = field(default_factory=dict)
    _item_sweeps: dict[str, ItemSweep] = field(default_factory=dict)

    # Sources

    async def poll_status(self) -> AsyncIterator[Update]:
        """Poll chapter 1. A system without it is asked for its net policies, which shows that it is there."""
        cycle = self._cycle(STATUS, lambda: True)
        appliance = self.store.appliance
        appliance.clock = None
        calls = self._status_calls()
        for name in cycle.order(calls):
            read, apply = calls[name]
            result = await cycle.call(name, read)
            if result is not None:
                apply(result)
        appliance.has_figures |= cycle.answered > 0
        if appliance.has_figures:
            appliance.apply(skipped=self.selection.disabled)
        if self._lacks_figures(cycle):
            requested_at = time.monotonic()
            applied = self.store.apply_net_policies(await self._probe())
            self.capabilities.mark_missing(cycle.missing | cycle.failed)
            yield self.update(requested_at, devices=applied.devices, inventories=applied.inventories)
        else:
            cycle.close()
        self._drop_unavailable(calls)
        if all(self._is_settled(name, cycle) for name in calls) and not self._awaits_online_count():
            appliance.answered |= {STATUS}
        yield self.update(devices=(appliance.device(),))

    async def poll_libraries(self) -> AsyncIterator[Update]:
        """Poll the rule libraries."""
        if not self.selection.wants_libraries():
            return
        cycle = self._cycle(LIBRARIES)
        try:
            items = await cycle.call(LIBRARY_LIST, self.client.insidelib)
            cycle.close()
        except BackendError:
            if self._is_missed(LIBRARY_LIST):
                self.store.appliance.apply_libraries_missed()
                yield self.update(devices=(self.store.appliance.device(),))
            raise
        if items is not None:
            self.store.appliance.apply_libraries(items)
        if items or self.capabilities.is_unavailable(LIBRARY_LIST):
            self.store.appliance.answered |= {LIBRARIES}
        yield self.update(devices=(self.store.appliance.device(),))

    async def poll_policies(self) -> AsyncIterator[Update]:
        """Poll the net policies, which are also switches of the watched groups, and the bandwidth channels."""
        cycle = self._cycle("policies")
        if self._wants_net_policies():
            requested_at = time.monotonic()
            items = await cycle.call(NET_POLICIES, self.client.net_policies)
            if items is not None:
                applied = self.store.apply_net_policies(items)
                yield self.update(requested_at, devices=applied.devices, inventories=applied.inventories)
                yield self.update(devices=self._group_devices())
        if self.selection.wants_channels():
            requested_at = time.monotonic()
            items = await cycle.call(FLUX_POLICIES, self.client.flux_policies)
            if items is not None:
                applied = self.store.apply_channels(items)
                yield self.update(requested_at, devices=applied.devices, inventories=applied.inventories)
        cycle.close()
        if NET_POLICIES in cycle.failed and self.capabilities.is_unavailable(NET_POLICIES):
            yield self.update(devices=(*self.store.net_policy_devices(available=False), *self._group_devices()))
        if FLUX_POLICIES in cycle.failed and self.capabilities.is_unavailable(FLUX_POLICIES):
            yield self.update(devices=self.store.channel_devices(available=False))

    async def poll_groups(self) -> AsyncIterator[Update]:
        """Sweep the net policies of the watched groups."""
        sweep, groups = self._item_sweep(GROUP_POLICIES), self._groups()
        wanted = groups if self.selection.wants_groups() else ()
        async for path, outcome in sweep.run(wanted, self._request_group):
            if not isinstance(outcome, BackendError):
                requested_at, policies = outcome
                self.store.groups.apply(path, policies, requested_at)
            elif sweep.is_missed(path):
                self.store.groups.apply_missed(path)
            yield self.update(devices=_with_vendor_id(self._group_devices(), path))
        if sweep.complete and (self.store.policy_names or not (groups and self._wants_net_policies())):
            yield self.update(inventories=self._watched(GROUP, groups))

    async def poll_online_users(self) -> AsyncIterator[Update]:
        """Poll how many users are online, and which of the watched ones."""
        cycle = self._cycle("online_users")
        requested_at = time.monotonic()
        everyone: Online | None = None
        try:
            if self._wants_online_list():
                everyone = await cycle.call(ONLINE, partial(self.client.online_users, EVERYONE))
            if everyone is not None and self._wants_presence():
                async for name in self._sweep_presence(everyone, requested_at):
                    yield self.update(devices=self.store.users.devices(name))
                yield self.update(inventories=self._watched(WATCHED_USER, self._users()))
            await self._count_online(cycle, everyone)
            cycle.close()
        except BackendError:
            if any(map(self._is_missed, cycle.failed)):
                yield self.update(devices=(self.store.appliance.device(), *self._missed_presence(cycle)))
            raise
        # `online_user` belongs to status/online-user; only an AC that does not answer that is counted here.
        if everyone is not None and self.capabilities.is_unavailable(ONLINE_COUNT):
            self.store.appliance.apply(online_user=everyone.count)
        if cycle.answered:
            yield self.update(devices=(self.store.appliance.device(),))
        yield self.update(devices=self._missed_presence(cycle))

    async def poll_users(self) -> AsyncIterator[Update]:
        """Sweep the accounts of the watched users."""
        sweep, users = self._item_sweep(USER), self._users()
        wanted = users if self.selection.wants(*USER_ENTITIES, source=USERS) else ()
        async for name, outcome in sweep.run(wanted, self._request_account):
            if not isinstance(outcome, BackendError):
                requested_at, account = outcome
                self.store.users.apply_account(name, account, requested_at)
            elif sweep.is_missed(name):
                self.store.users.apply_account_missed(name)
            yield self.update(devices=self.store.users.devices(name))
        if sweep.complete:
            yield self.update(inventories=self._watched(WATCHED_USER, users))

    async def poll_bindings(self) -> AsyncIterator[Update]:
        """Sweep what the watched searches find: user bindings, then the pairs of IPs and MACs."""
        bindings, searches = self.store.bindings, self._bindings()
        names = searches if self._wants_user_bindings() else ()
        addresses = tuple(filter(self._wants_pair, searches))
        users, pairs = self._item_sweep(USER_BINDINGS), self._item_sweep(IP_MAC_BINDING)
        error: BackendError | None = None
        try:
            read = partial(_timed, self.client.user_bindings)
            async for search, outcome in users.run(names, read):
                bindings.apply_users(search, outcome, missed=users.is_missed(search))
                yield self.update(devices=self._binding_devices(search))
        except BackendError as caught:
            if not addresses:
                raise
            error = caught  # the other call may work; it is raised if that fails as well
        async for search, outcome in pairs.run(addresses, partial(_timed, self.client.ip_mac_bindings)):
            bindings.apply_pair(search, outcome, missed=pairs.is_missed(search))
            yield self.update(devices=self._binding_devices(search))
        if error is not None:
            raise error
        if users.complete and pairs.complete:
            yield self.update(inventories=self._watched(BINDING, searches))

    # Reading single devices

    async def read_device(self, device: Device) -> Update:
        """Read a device now. Raises BackendError; Rejected if the AC does not list it."""
        requested_at = time.monotonic()
        readers: dict[str, Callable[[str], Awaitable[tuple[Device, ...]]]] = {
            "backend": self._read_appliance,
            "net_policies": self._read_net_policies,
            "flux_policies": self._read_channels,
            "groups": self._read_group,
            "users": self._read_user,
            "bindings": self._read_binding,
        }
        devices = await readers[device.scope](device.vendor_id)
        same = tuple(each for each in devices if each.id == device.id)
        if not same:
            raise Rejected(f"the AC does not list {device.vendor_id}", endpoint=device.scope, code="not_listed")
        # A device made of several responses is as of now, not as of the first request.
        several = device.scope in ("backend", "groups", "users", "bindings")
        return self.update(None if several else requested_at, devices=same, origin=UpdateOrigin.COMMAND)

    async def _read_appliance(self, _: str) -> tuple[Device, ...]:
        return tuple([device async for update in self.poll_status() for device in update.devices])

    async def _read_net_policies(self, _: str) -> tuple[Device, ...]:
        return self.store.apply_net_policies(await self.client.net_policies()).devices

    async def _read_channels(self, _: str) -> tuple[Device, ...]:
        return self.store.apply_channels(await self.client.flux_policies()).devices

    async def _read_group(self, path: str) -> tuple[Device, ...]:
        requested_at, policies = await self._request_group(path)
        self.store.groups.apply(path, policies, requested_at)
        return self._group_devices()

    async def _read_user(self, name: str) -> tuple[Device, ...]:
        """Read where a user is online, which a read-back is about, and its account; what of it this system has."""
        cycle = PollCycle(capabilities=self.capabilities, sweep=Sweep(primary_fails=lambda: True))
        requested_at = time.monotonic()
        logins = await cycle.call(ONLINE, partial(self.find_logins, name))
        if ONLINE in cycle.failed:
            raise cycle.failed[ONLINE]
        if cycle.answered:
            self.store.users.apply_presence(name, logins, requested_at)
        wants_account = self.selection.wants(*USER_ENTITIES, source=USERS)
        account = await cycle.call(USER, partial(self._request_account, name)) if wants_account else None
        if account is not None:
            self.store.users.apply_account(name, account[1], account[0])
        if not cycle.answered:
            cycle.close()
        return self.store.users.devices(name)

    async def _read_binding(self, search: str) -> tuple[Device, ...]:
        if self._wants_user_bindings():
            self.store.bindings.apply_users(search, await _timed(self.client.user_bindings, search))
        if self._wants_pair(search):
            try:
                pair = await _timed(self.client.ip_mac_bindings, search)
            except BackendError as error:
                if not is_missing(error):
                    raise
            else:
                self.store.bindings.apply_pair(search, pair)
        return self._binding_devices(search)

    async def find_logins(self, name: str) -> tuple[OnlineUser, ...] | None:
        """Return where a user is online now; None where so many names resemble it that it is not known."""
        found = await self.client.online_users(by_name([name]))
        logins = self.store.users.logins(name, found.users)
        return logins if logins or not found.truncated else None

    # Writing

    async def write_group_policies(self, group: Device, attached: Mapping[str, bool]) -> None:
        """Attach the net policies of these switches to a group, or detach them; one call for each of the two."""
        for opr, wanted in (("add", True), ("del", False)):
            policies = [self.store.groups.policy(key) for key, value in attached.items() if value is wanted]
            names = [policy for policy in policies if policy is not None]
            if names:
                await self.client.change_group_policies(opr, group.vendor_id, names)

    async def write_logout(self, user: Device) -> Update:
        """Log a user out at every address; return what the AC shows afterwards.

        Raises CommandError where that is not allowed, or the user is not online.
        """
        if not self.may_log_out:
            message = f"logging out is destructive: it works only when backends.{self.name}.allow names user_logout"
            raise CommandError("not_allowed", message)
        logins = await self.find_logins(user.vendor_id)
        addresses = [login.ip for login in logins or () if login.ip is not None]
        if not addresses:
            raise CommandError("not_online", f"{user.vendor_id} is not online")
        for ip in addresses:
            await self.client.log_out(ip)
        return await self.read_device(user)

    # The appliance

    def _status_calls(self) -> dict[str, tuple[Callable[[], Awaitable[Any]], Callable[[Any], None]]]:
        """Return the calls of chapter 1 that are wanted, by name: how each is read, and how its result is applied."""
        client, appliance = self.client, self.store.appliance
        calls: dict[str, tuple[Callable[[], Awaitable[Any]], Callable[[Any], None]]] = {
            _status_name(figure): (partial(read, client), partial(self._apply_figure, figure))
            for figure, read in FIGURES.items()
        }
        calls["status/throughput"] = (
            partial(client.throughput, dict(self.throughput)),
            partial(self._apply_figure, "throughput"),
        )
        for interface in appliance.interfaces:
            wanted = {**self.throughput, "interface": interface}
            calls[_interface_name(interface)] = (
                partial(client.throughput, wanted),
                partial(self._apply_interface, interface),
            )
        rank = {"top": RANK_LENGTH, "line": "0"}
        calls["status/user-rank"] = (partial(client.user_rank, rank), self._apply_user_rank)
        calls["status/app-rank"] = (partial(client.app_rank, rank), self._apply_app_rank)
        return {name: call for name, call in calls.items() if self.selection.wants_status(name)}

    def _apply_figure(self, figure: str, value: Any) -> None:
        appliance = self.store.appliance
        appliance.apply(**{figure: value})
        if figure == "sys_time":
            appliance.clock = value
            appliance.apply(system_time=vendor_json.timestamp(value, appliance.zone))

    def _apply_interface(self, interface: str, value: Any) -> None:
        appliance = self.store.appliance
        appliance.apply(interfaces=tuple({**dict(appliance.record.interfaces), interface: value}.items()))

    def _apply_user_rank(self, items: Iterable[Item]) -> None:
        self.store.appliance.apply(user_rank=tuple(map(UserRank.model_validate, items)))

    def _apply_app_rank(self, items: Iterable[Item]) -> None:
        self.store.appliance.apply(app_rank=tuple(map(AppRank.model_validate, items)))

    def _drop_unavailable(self, calls: Iterable[str]) -> None:
        """Make the values of calls unknown that several poll cycles in a row could not have."""
        for name in calls:
            if not self.capabilities.is_unavailable(name) or (name == ONLINE_COUNT and self._counts_online()):
                continue
            if name.startswith("status/throughput "):
                self._apply_interface(name.removeprefix("status/throughput "), None)
            else:
                figure = name.removeprefix("status/").replace("-", "_")
                more = {"system_time": None} if figure == "sys_time" else {}
                self.store.appliance.apply(**{figure: None}, **more)

    async def _count_online(self, cycle: PollCycle, everyone: Online | None) -> None:
        """Count the online users by status and terminal: a call each, unless the whole list is known and tells."""
        appliance = self.store.appliance
        counts = dict(appliance.record.online_counts)
        wanted = [entity.key for entity in ONLINE_COUNTS if self.selection.wants(entity)]
        fails = everyone is None and self._wants_online_list()  # so would a call with another filter
        names = {key: ONLINE if fails else f"{ONLINE} {key.removeprefix('online_user_')}" for key in wanted}
        for key, name in names.items():
            terminal = key.removeprefix("online_user_")
            count = _count_listed(everyone, TERMINAL.index(terminal)) if terminal in TERMINAL else None
            if count is None and not fails:
                search = {**EVERYONE, "terminal": terminal} if terminal in TERMINAL else FROZEN
                found = await cycle.call(name, partial(self.client.online_users, search))
                count = None if found is None else found.count
            if count is not None or (key in counts and self._is_missed(name)):
                counts[key] = count
        appliance.apply(online_counts=tuple(counts.items()))
        if all(self._is_settled(name, cycle) for name in names.values()):
            appliance.answered |= {ONLINE_USERS}

    def _is_missed(self, name: str) -> bool:
        """Return True if several polls in a row missed this call although the AC works."""
        return self.capabilities.is_unavailable(name) and not self.primary_fails()

    def _counts_online(self) -> bool:
        """Return True if online users are counted by the list of them, in place of the call that owns the key."""
        return not self.capabilities.is_unavailable(ONLINE)

    def _awaits_online_count(self) -> bool:
        """Return True if the number of online users is yet to come from the list of them."""
        missing = self.capabilities.is_unavailable(ONLINE_COUNT) and self._counts_online()
        return missing and self.store.appliance.record.online_user is None

    def _is_settled(self, name: str, cycle: PollCycle) -> bool:
        return name not in cycle.failed or self.capabilities.is_unavailable(name)

    def _lacks_figures(self, cycle: PollCycle) -> bool:
        """Return True if the system lacks chapter 1: every call is missing or has answered nothing since the start."""
        if cycle.answered:
            return False
        if not cycle.failed:
            return True
        return not self.store.appliance.has_figures and all(
            type(error) in _NO_FIGURES for error in cycle.failed.values()
        )

    async def _probe(self) -> tuple[Item, ...]:
        """Return the net policies of a system that has no figures. Raises BackendError if it has not these either."""
        try:
            items = await self.client.net_policies()
        except BackendError as error:
            if not is_missing(error):
                raise
            self.capabilities.reset()
            message = f"{error}; no call of the AC's interface is found there: check the option url"
            raise type(error)(message, endpoint=error.endpoint, code=error.code) from error
        self.capabilities.mark_supported(NET_POLICIES)
        return items

    # What is watched

    async def _request_group(self, path: str) -> tuple[float, tuple[str, ...] | None]:
        """Return the request time and the policies of a group, None where there is no such group."""
        requested_at = time.monotonic()
        return requested_at, await _none_if_not_found(self.client.group_policies(path))

    async def _request_account(self, name: str) -> tuple[float, Item | None]:
        """Return the request time and the account of a user, None where there is none."""
        requested_at = time.monotonic()
        return requested_at, await _none_if_not_found(self.client.user(name))

    async def _sweep_presence(self, everyone: Online, requested_at: float) -> AsyncIterator[str]:
        """Find out where each watched user is online; yield the names.

        The list of everyone tells where it is whole, else a search for all of them together, else one for each.
        """
        users, searched = self.store.users, [*self._users(), *self._searched_parts()]
        found: Online | None = everyone
        if everyone.truncated and searched:
            requested_at = time.monotonic()
            try:
                found = await self.client.online_users(by_name(searched))
            except BackendError:
                found = None  # each is asked for by itself, which shows whether the call works at all
        await self._match_users((*everyone.users, *(() if found is None else found.users)))
        unclear: list[str] = []
        for name in self._users():
            listed = () if found is None else users.logins(name, found.users)
            if listed or (found is not None and not found.truncated):
                users.apply_presence(name, listed, requested_at)
                yield name
            else:
                unclear.append(name)
        sweep = self._sweep("presence", self.primary_fails)
        for name in sweep.order(unclear):
            requested_at = time.monotonic()
            try:
                logins = await self.find_logins(name)
            except BackendError as error:
                sweep.record_failure(name, error)
                if sweep.is_missed(name):
                    users.apply_presence_missed(name)
            else:
                self._apply_found_logins(sweep, name, logins, requested_at)
            yield name

    def _apply_found_logins(
        self, sweep: Sweep, name: str, logins: tuple[OnlineUser, ...] | None, requested_at: float
    ) -> None:
        """Apply what a search for one user found; several in a row that cannot tell make it unknown."""
        users = self.store.users
        users.apply_presence(name, logins, requested_at)
        if logins is not None:
            sweep.record_success(name)
            return
        sweep.record_failure(name, Rejected(f"too many names are like {name}", endpoint=ONLINE, code="truncated"))
        if sweep.is_missed(name):
            users.apply_presence_missed(name)

    def _groups(self) -> tuple[str, ...]:
        """Return the watched groups that the rules select."""
        return self.selection.selected(GROUP, self.watch.groups)

    def _users(self) -> tuple[str, ...]:
        """Return the watched users that the rules select: those that are named, then those that patterns matched."""
        return self.selection.selected(WATCHED_USER, dict.fromkeys((*self.watch.users, *self.matched.names)))

    def _bindings(self) -> tuple[str, ...]:
        """Return the watched searches that the rules select."""
        return self.selection.selected(BINDING, self.watch.bindings)

    def _wants_net_policies(self) -> bool:
        return self.selection.wants_net_policies(self._groups())

    def _wants_online_list(self) -> bool:
        """Return True if the list of online users is needed, and not only numbers of them."""
        by_terminal = [entity for entity in ONLINE_COUNTS if entity.key.removeprefix("online_user_") in TERMINAL]
        counted = self.capabilities.is_unavailable(ONLINE_COUNT) and "online_user" not in self.selection.disabled
        return counted or self._wants_presence() or self.selection.wants(*by_terminal)

    def _wants_presence(self) -> bool:
        """Return True if there may be watched users, and entities that show where they are online."""
        patterns = self.matched.patterns and not self.selection.excludes_kind(WATCHED_USER.kind)
        return bool(patterns or self._users()) and self.selection.wants(*USER_ENTITIES, source=ONLINE_USERS)

    def _wants_user_bindings(self) -> bool:
        return self.selection.wants(*USER_BINDING_ENTITIES)

    def _wants_pair(self, search: str) -> bool:
        return _is_address(search) and self.selection.wants(*PAIR_ENTITIES)

    def _missed_presence(self, cycle: PollCycle) -> tuple[Device, ...]:
        """Make it unknown where users are online if several polls missed it; return their devices then."""
        if ONLINE not in cycle.failed or not self._is_missed(ONLINE):
            return ()
        names = self._users()
        for name in names:
            self.store.users.apply_presence_missed(name)
        return self.store.users.devices(*names)

    def _searched_parts(self) -> tuple[str, ...]:
        """Return what is searched for where not all online users are listed: parts of names that patterns contain."""
        return tuple(part for part in map(literal_part, self.matched.patterns) if part)

    async def _match_users(self, items: Iterable[Item]) -> None:
        """Watch the online users that patterns match, within the limit."""
        if not self.matched.patterns:
            return
        online = [name for item in items if (name := vendor_json.text(item.get("name"))) is not None]
        others = [name for name in online if name not in self.watch.users]
        selects = partial(self.selection.selects_watched, WATCHED_USER)
        dropped = self.matched.apply(others, datetime.now(UTC).date(), selects)
        if dropped is None:
            return
        for name in dropped:
            self.store.users.discard(name)
        await self.save_checkpoint(self.store.cache.id(), self.matched.dump())

    def _group_devices(self) -> tuple[Device, ...]:
        known = bool(self.store.policy_names) or self.capabilities.is_unavailable(NET_POLICIES)
        return self.store.group_devices(policies_known=known or not self._wants_net_policies())

    def _binding_devices(self, search: str) -> tuple[Device, ...]:
        record = self.store.bindings.record(search)
        users = record.users is not None or record.users_missed or self.capabilities.is_missing(USER_BINDINGS)
        pair = record.pair is not None or record.pair_missed or self.capabilities.is_missing(IP_MAC_BINDING)
        settled = (users or not self._wants_user_bindings()) and (pair or not self._wants_pair(search))
        return self.store.bindings.devices(search, settled=settled)

    def _watched(self, kind: Kind, vendor_ids: Iterable[str]) -> tuple[Inventory, ...]:
        """Return the inventory of a watchlist, once the AC is known to be there."""
        if not self.capabilities.is_reachable:
            return ()
        return (watch_inventory(self.store.cache, kind, vendor_ids),)

    def _cycle(self, source: str, primary_fails: Callable[[], bool] | None = None) -> PollCycle:
        sweep = self._sweep(source, primary_fails or self.primary_fails)
        return PollCycle(capabilities=self.capabilities, sweep=sweep)

    def _sweep(self, name: str, primary_fails: Callable[[], bool]) -> Sweep:
        return self._sweeps.setdefault(name, Sweep(primary_fails=primary_fails))

    def _item_sweep(self, call: str) -> ItemSweep:
        sweep = self._item_sweeps.get(call)
        if sweep is None:
            sweep = self._item_sweeps[call] = ItemSweep(
                name=call, capabilities=self.capabilities, sweep=Sweep(primary_fails=self.primary_fails)
            )
        return sweep


def _status_name(figure: str) -> str:
    return f"status/{figure.replace('_', '-')}"


def _count_listed(everyone: Online | None, terminal: int) -> int | None:
    """Return how many online users have a terminal of this number; None where the list does not tell."""
    if everyone is None or everyone.truncated:
        return None
    terminals = [vendor_json.number(item.get("terminal")) for item in everyone.users]
    return None if None in terminals else terminals.count(terminal)


def _interface_name(interface: str) -> str:
    return f"status/throughput {interface}"


async def _timed(read: Callable[[str], Awaitable[ResultT]], item: str) -> tuple[float, ResultT]:
    """Return the request time and what `read` returns."""
    requested_at = time.monotonic()
    return requested_at, await read(item)


def _is_address(search: str) -> bool:
    return is_ip(search) or normalize_mac(search) is not None


def _with_vendor_id(devices: Iterable[Device], vendor_id: str) -> tuple[Device, ...]:
    return tuple(device for device in devices if device.vendor_id == vendor_id)
