"""The calls of the AC, one method each: the Sangfor document 2.12 to 5.3, before that public sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet2mqtt.errors import BackendError
from fleet2mqtt.platforms.sangfor_ac.models import LogCounters, Throughput
from fleet2mqtt.platforms.sangfor_ac.session import Row, Session, no_data, rows_of
from fleet2mqtt.platforms.sangfor_ac.transport import Verb, is_missing
from fleet2mqtt.sdk import vendor_json

Filter = dict[str, Any]

USER = "user"
ONLINE = "online-users"
USER_BINDINGS = "bindinfo/user-bindinfo"
IP_MAC_BINDINGS = "bindinfo/ipmac-bindinfo"
IP_MAC_BINDING = "ipmac-bindinfo"
"""Where the Sangfor document 4.2 reads what 4.4 and 4.6 change at IP_MAC_BINDINGS."""
GROUP_POLICIES = "group/netpolicy"
NET_POLICIES = "policy/netpolicy"
FLUX_POLICIES = "policy/fluxpolicy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Online:
    """An answer about online users: at most 100 of the `count` that match."""

    count: int
    users: tuple[Row, ...]

    @property
    def truncated(self) -> bool:
        """Whether some that match are not listed."""
        return self.count > len(self.users)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One AC. Every method raises BackendError; a write whose answer tells nothing is Ambiguous."""

    session: Session

    # Chapter 1, status

    async def version(self) -> str:
        """The firmware, `AC13.0.18.046 Build20210909`."""
        return await self.session.text("status/version")

    async def online_user(self) -> float:
        """How many users are online."""
        return await self.session.number("status/online-user")

    async def session_num(self) -> float:
        """How many sessions there are."""
        return await self.session.number("status/session-num")

    async def cpu_usage(self) -> float:
        """CPU load, %."""
        return await self.session.number("status/cpu-usage")

    async def mem_usage(self) -> float:
        """Memory in use, %."""
        return await self.session.number("status/mem-usage")

    async def disk_usage(self) -> float:
        """Disk in use, %."""
        return await self.session.number("status/disk-usage")

    async def bandwidth_usage(self) -> float:
        """Bandwidth in use, %."""
        return await self.session.number("status/bandwidth-usage")

    async def sys_time(self) -> str:
        """The AC's clock, `2017-12-13 17:52:11`, without a zone."""
        return await self.session.text("status/sys-time")

    async def log(self) -> LogCounters:
        """How many were blocked and recorded."""
        return LogCounters.model_validate(await self.session.object(Verb.GET, "status/log"))

    async def throughput(self, wanted: Filter) -> Throughput:
        """What all WAN ports, or the `interface`, send and receive, in the `unit` the answer says."""
        reply = await self.session.object(Verb.QUERY, "status/throughput", {"filter": wanted})
        return Throughput.model_validate(reply)

    async def insidelib(self) -> tuple[Row, ...]:
        """The rule libraries."""
        return await self.session.rows(Verb.GET, "status/insidelib")

    async def user_rank(self, wanted: Filter) -> tuple[Row, ...]:
        """The users with most traffic; `top`, `line`, and one of `groups`, `users`, `ips`."""
        return await self.session.rows(Verb.QUERY, "status/user-rank", {"filter": wanted})

    async def app_rank(self, wanted: Filter) -> tuple[Row, ...]:
        """The applications with most traffic; `top`, `line`, `groups`."""
        return await self.session.rows(Verb.QUERY, "status/app-rank", {"filter": wanted})

    # Chapter 2, users and groups

    async def user(self, name: str) -> Row:
        """One local user. Raises Rejected where there is none."""
        rows = await self.session.rows(Verb.GET, USER, {"name": name})
        mine = [row for row in rows if vendor_json.text(row.get("name")) in (name, None)]
        if not mine:
            raise no_data(USER)
        return mine[0]

    async def users(self, search: Mapping[str, Any]) -> tuple[Row, ...]:
        """At most 100 local users: `search_type`, `search_value`, `extend`."""
        return await self.session.rows(Verb.QUERY, USER, search)

    async def add_user(self, user: Mapping[str, Any]) -> Row:
        """Add a local user: `name`, `desc`, `show_name`, `father_path`, `expire_time`, and the extension fields."""
        return await self.session.write(Verb.CREATE, USER, user)

    async def modify_user(self, name: str, data: Mapping[str, Any]) -> Row:
        """Change these fields of a local user; the others stay."""
        return await self.session.write(Verb.MODIFY, USER, {"name": name, "data": data})

    async def delete_user(self, name: str) -> Row:
        """Delete a local user."""
        return await self.session.write(Verb.DELETE, USER, {"name": name})

    async def user_policies(self, kind: str, user: Mapping[str, str]) -> list[Any]:
        """The `netpolicy` or `fluxpolicy` of a `user`, who may be of the domain `dn`."""
        return await self.session.items(f"{USER}/{kind}", user)

    async def change_user_policies(self, kind: str, opr: str, change: Mapping[str, Any]) -> Row:
        """`add` or `del` each `policy` of a `user`, or `modify` to have these alone."""
        return await self.session.write(Verb.CREATE, f"{USER}/{kind}", {"opr": opr, **change})

    async def add_group(self, path: str, desc: str) -> Row:
        """Add a group."""
        return await self.session.write(Verb.CREATE, "group", {"path": path, "desc": desc})

    async def delete_group(self, path: str) -> Row:
        """Delete a group, the Sangfor document 2.12."""
        return await self.session.write(Verb.DELETE, "group", {"path": path})

    async def modify_group(self, path: str, desc: str) -> Row:
        """Change a group's description, the Sangfor document 2.13."""
        return await self.session.write(Verb.MODIFY, "group", {"path": path, "desc": desc})

    async def change_group_policies(self, opr: str, group: str, policies: list[str]) -> Row:
        """`add` or `del` net policies of a group, or `modify` to have these alone, the Sangfor document 2.14."""
        return await self.session.write(Verb.CREATE, GROUP_POLICIES, {"opr": opr, "group": group, "policy": policies})

    async def group_policies(self, path: str) -> tuple[str, ...]:
        """The net policies of a group, the Sangfor document 2.15."""
        items = await self.session.items(GROUP_POLICIES, {"path": path})
        return tuple(name for item in items if (name := vendor_json.text(item)) is not None)

    # Chapter 3, policies

    async def net_policies(self) -> tuple[Row, ...]:
        """All net policies, the Sangfor document 3.1."""
        return await self.session.rows(Verb.GET, NET_POLICIES)

    async def flux_policies(self) -> tuple[Row, ...]:
        """All bandwidth channels, the Sangfor document 3.2."""
        return await self.session.rows(Verb.GET, FLUX_POLICIES)

    # Chapter 4, bindings

    async def user_bindings(self, search: str | None) -> tuple[Row, ...]:
        """Bindings of a user, IP or MAC, the Sangfor document 4.1; without a search all, where the AC takes that."""
        return await self.session.found(USER_BINDINGS, {} if search is None else {"search": search})

    async def ip_mac_bindings(self, search: str) -> tuple[Row, ...]:
        """The binding of an IP or MAC, the Sangfor document 4.2, whose path is tried before that of its siblings."""
        try:
            return await self.session.found(IP_MAC_BINDING, {"search": search})
        except BackendError as error:
            if not is_missing(error):
                raise
            try:
                return await self.session.found(IP_MAC_BINDINGS, {"search": search})
            except BackendError as again:
                raise (error if is_missing(again) else again) from again

    async def delete_user_binding(self, addr: str) -> Row:
        """Remove the bindings of an address, the Sangfor document 4.3."""
        return await self.session.write(Verb.DELETE, USER_BINDINGS, {"addr": addr})

    async def delete_ip_mac_binding(self, ip: str) -> Row:
        """Remove the binding of an IP with a MAC, the Sangfor document 4.4."""
        return await self.session.write(Verb.DELETE, IP_MAC_BINDINGS, {"ip": ip})

    async def add_user_binding(self, binding: Mapping[str, Any]) -> Row:
        """Bind a user to addresses, the Sangfor document 4.5."""
        return await self.session.write(Verb.CREATE, USER_BINDINGS, binding)

    async def add_ip_mac_binding(self, binding: Mapping[str, Any]) -> Row:
        """Bind an IP to a MAC, the Sangfor document 4.6."""
        return await self.session.write(Verb.CREATE, IP_MAC_BINDINGS, binding)

    # Chapter 5, online users

    async def online_users(self, search: Mapping[str, Any]) -> Online:
        """At most 100 online users: `status`, `terminal`, `filter`, the Sangfor document 5.1."""
        data = await self.session.object(Verb.QUERY, ONLINE, search)
        count = vendor_json.number(data.get("count"))
        if count is None:
            raise no_data(ONLINE)
        return Online(count=int(count), users=rows_of(data.get("users")) or ())

    async def log_out(self, ip: str) -> Row:
        """Log the user at this address out, the Sangfor document 5.2."""
        return await self.session.write(Verb.DELETE, ONLINE, {"ip": ip})

    async def log_in(self, user: Mapping[str, Any]) -> Row:
        """Log a user in by single sign-on: `ip, name`, `show_name, group, mac`, the Sangfor document 5.3."""
        return await self.session.write(Verb.CREATE, ONLINE, user)
