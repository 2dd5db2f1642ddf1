"""The calls of the AC, one method each: Sangfor document 2.12 to 5.3, before that public sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet2mqtt.errors import BackendError, InvalidResponse
from fleet2mqtt.platforms.sangfor_ac.models import Item, LogCounters, Throughput
from fleet2mqtt.platforms.sangfor_ac.transport import Transport, Verb, is_missing, no_data, object_items
from fleet2mqtt.sdk import vendor_json

Filter = dict[str, Any]

USER = "user"
ONLINE = "online-users"
USER_BINDINGS = "bindinfo/user-bindinfo"
IP_MAC_BINDINGS = "bindinfo/ipmac-bindinfo"
IP_MAC_BINDING = "ipmac-bindinfo"
"""Path of Sangfor document 4.2, which reads what 4.4 and 4.6 change at IP_MAC_BINDINGS."""
GROUP_POLICIES = "group/netpolicy"
NET_POLICIES = "policy/netpolicy"
FLUX_POLICIES = "policy/fluxpolicy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Online:
    """The online users that match a search: at most 100 of `count`."""

    count: int
    users: tuple[Item, ...]

    @property
    def truncated(self) -> bool:
        """True if some that match are not listed."""
        return self.count > len(self.users)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One AC. Every method raises BackendError; a write whose response says nothing is Ambiguous."""

    transport: Transport

    # Chapter 1, status

    async def version(self) -> str:
        """Return the firmware, `AC13.0.18.046 Build20210909`."""
        return await self.transport.text("status/version")

    async def online_user(self) -> float:
        """Return the number of users online."""
        return await self.transport.number("status/online-user")

    async def session_num(self) -> float:
        """Return the number of sessions."""
        return await self.transport.number("status/session-num")

    async def cpu_usage(self) -> float:
        """Return the CPU load in %."""
        return await self.transport.number("status/cpu-usage")

    async def mem_usage(self) -> float:
        """Return the memory in use in %."""
        return await self.transport.number("status/mem-usage")

    async def disk_usage(self) -> float:
        """Return the disk in use in %."""
        return await self.transport.number("status/disk-usage")

    async def bandwidth_usage(self) -> float:
        """Return the bandwidth in use in %."""
        return await self.transport.number("status/bandwidth-usage")

    async def sys_time(self) -> str:
        """Return the AC's clock, `2017-12-13 17:52:11`, without a zone."""
        return await self.transport.text("status/sys-time")

    async def log(self) -> LogCounters:
        """Return the numbers of blocked and recorded log entries."""
        return LogCounters.model_validate(await self.transport.object(Verb.GET, "status/log"))

    async def throughput(self, wanted: Filter) -> Throughput:
        """Return what all WAN ports, or the `interface`, send and receive, in the `unit` that the response names."""
        reply = await self.transport.object(Verb.QUERY, "status/throughput", {"filter": wanted})
        return Throughput.model_validate(reply)

    async def insidelib(self) -> tuple[Item, ...]:
        """List the rule libraries."""
        return await self.transport.items(Verb.GET, "status/insidelib")

    async def user_rank(self, wanted: Filter) -> tuple[Item, ...]:
        """List the users with most traffic; `top`, `line`, and one of `groups`, `users`, `ips`."""
        return await self.transport.items(Verb.QUERY, "status/user-rank", {"filter": wanted})

    async def app_rank(self, wanted: Filter) -> tuple[Item, ...]:
        """List the applications with most traffic; `top`, `line`, `groups`."""
        return await self.transport.items(Verb.QUERY, "status/app-rank", {"filter": wanted})

    # Chapter 2, users and groups

    async def user(self, name: str) -> Item:
        """Return a local user. Raises Rejected if there is none."""
        items = await self.transport.items(Verb.GET, USER, {"name": name})
        same = [item for item in items if vendor_json.text(item.get("name")) in (name, None)]
        if not same:
            raise no_data(USER)
        return same[0]

    async def users(self, search: Mapping[str, Any]) -> tuple[Item, ...]:
        """Search local users, at most 100: `search_type`, `search_value`, `extend`."""
        return await self.transport.items(Verb.QUERY, USER, search)

    async def add_user(self, user: Mapping[str, Any]) -> Item:
        """Add a local user: `name`, `desc`, `show_name`, `father_path`, `expire_time`, and the extension fields."""
        return await self.transport.write(Verb.CREATE, USER, user)

    async def modify_user(self, name: str, data: Mapping[str, Any]) -> Item:
        """Change these fields of a local user; the others stay."""
        return await self.transport.write(Verb.MODIFY, USER, {"name": name, "data": data})

    async def delete_user(self, name: str) -> Item:
        """Delete a local user."""
        return await self.transport.write(Verb.DELETE, USER, {"name": name})

    async def user_policies(self, kind: str, user: Mapping[str, str]) -> list[Any]:
        """List the `netpolicy` or `fluxpolicy` of a `user`, who may be of the domain `dn`."""
        return await self.transport.values(f"{USER}/{kind}", user)

    async def change_user_policies(self, kind: str, opr: str, change: Mapping[str, Any]) -> Item:
        """Change the policies of a `user`: `add` or `del` each `policy`, or `modify` to have these alone."""
        return await self.transport.write(Verb.CREATE, f"{USER}/{kind}", {"opr": opr, **change})

    async def add_group(self, path: str, desc: str) -> Item:
        """Add a group."""
        return await self.transport.write(Verb.CREATE, "group", {"path": path, "desc": desc})

    async def delete_group(self, path: str) -> Item:
        """Delete a group, Sangfor document 2.12."""
        return await self.transport.write(Verb.DELETE, "group", {"path": path})

    async def modify_group(self, path: str, desc: str) -> Item:
        """Change a group's description, Sangfor document 2.13."""
        return await self.transport.write(Verb.MODIFY, "group", {"path": path, "desc": desc})

    async def change_group_policies(self, opr: str, group: str, policies: list[str]) -> Item:
        """Change the net policies of a group: `add`, `del`, or `modify` to have these alone, Sangfor document 2.14."""
        return await self.transport.write(Verb.CREATE, GROUP_POLICIES, {"opr": opr, "group": group, "policy": policies})

    async def group_policies(self, path: str) -> tuple[str, ...]:
        """List the net policies of a group, Sangfor document 2.15: names or, on some firmware, objects with a name.

        Raises InvalidResponse for an item without a name: a policy that is left out would seem to be detached.
        """
        names = [policy_name(item) for item in await self.transport.values(GROUP_POLICIES, {"path": path})]
        if None in names:
            message = f"{GROUP_POLICIES}: a policy without a name"
            raise InvalidResponse(message, endpoint=GROUP_POLICIES, code="no_name")
        return tuple(name for name in names if name is not None)

    # Chapter 3, policies

    async def net_policies(self) -> tuple[Item, ...]:
        """List all net policies, Sangfor document 3.1."""
        return await self.transport.items(Verb.GET, NET_POLICIES)

    async def flux_policies(self) -> tuple[Item, ...]:
        """List all bandwidth channels, Sangfor document 3.2."""
        return await self.transport.items(Verb.GET, FLUX_POLICIES)

    # Chapter 4, bindings

    async def user_bindings(self, search: str | None) -> tuple[Item, ...]:
        """Search bindings of a user, IP or MAC, Sangfor document 4.1; without a search all."""
        return await self.transport.search(USER_BINDINGS, {} if search is None else {"search": search})

    async def ip_mac_bindings(self, search: str) -> tuple[Item, ...]:
        """Search the binding of an IP or MAC, Sangfor document 4.2, whose path is tried before that of its siblings."""
        try:
            return await self.transport.search(IP_MAC_BINDING, {"search": search})
        except BackendError as error:
            if not is_missing(error):
                raise
            try:
                return await self.transport.search(IP_MAC_BINDINGS, {"search": search})
            except BackendError as again:
                raise (error if is_missing(again) else again) from again

    async def delete_user_binding(self, addr: str) -> Item:
        """Delete the bindings of an address, Sangfor document 4.3."""
        return await self.transport.write(Verb.DELETE, USER_BINDINGS, {"addr": addr})

    async def delete_ip_mac_binding(self, ip: str) -> Item:
        """Delete the binding of an IP with a MAC, Sangfor document 4.4."""
        return await self.transport.write(Verb.DELETE, IP_MAC_BINDINGS, {"ip": ip})

    async def add_user_binding(self, binding: Mapping[str, Any]) -> Item:
        """Bind a user to addresses, Sangfor document 4.5."""
        return await self.transport.write(Verb.CREATE, USER_BINDINGS, binding)

    async def add_ip_mac_binding(self, binding: Mapping[str, Any]) -> Item:
        """Bind an IP to a MAC, Sangfor document 4.6."""
        return await self.transport.write(Verb.CREATE, IP_MAC_BINDINGS, binding)

    # Chapter 5, online users

    async def online_users(self, search: Mapping[str, Any]) -> Online:
        """Search online users, at most 100: `status`, `terminal`, `filter`, Sangfor document 5.1."""
        data = await self.transport.object(Verb.QUERY, ONLINE, search)
        count = vendor_json.number(data.get("count"))
        if count is None:
            raise no_data(ONLINE)
        return Online(count=int(count), users=object_items(data.get("users")) or ())

    async def log_out(self, ip: str) -> Item:
        """Log the user at this address out, Sangfor document 5.2."""
        return await self.transport.write(Verb.DELETE, ONLINE, {"ip": ip})

    async def log_in(self, user: Mapping[str, Any]) -> Item:
        """Log a user in by single sign-on: `ip, name`, `show_name, group, mac`, Sangfor document 5.3."""
        return await self.transport.write(Verb.CREATE, ONLINE, user)


def policy_name(item: Any) -> str | None:
    """Return the name of a policy: the item itself, or in an object, which may be that of Sangfor document 3.1."""
    if isinstance(item, dict):
        info = item.get("policy_info")
        return vendor_json.text((info if isinstance(info, dict) else item).get("name"))
    return vendor_json.text(item)
