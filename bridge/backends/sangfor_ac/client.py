"""The calls of the AC, one method each: the Sangfor document 2.12 to 5.3, before that public sources."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bridge import wire
from bridge.api import Api
from bridge.backends.sangfor_ac.models import LogCounters, Throughput
from bridge.backends.sangfor_ac.protocol import (
    REDIRECTS,
    Call,
    Verb,
    is_missing,
    is_not_found,
    parse_reading,
    sign,
)
from bridge.errors import Ambiguous, BackendError, BadReply, Busy, Denied

if TYPE_CHECKING:
    from collections.abc import Mapping

Row = dict[str, Any]
Filter = dict[str, Any]

BUSY_WAITS = (1, 2, 4)
"""How long a reading waits after each 系统繁忙 before it asks again, in spacings."""

ONLINE = "online-users"
USER_BINDINGS = "bindinfo/user-bindinfo"
IP_MAC_BINDINGS = "bindinfo/ipmac-bindinfo"
GROUP_POLICIES = "group/netpolicy"


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

    api: Api
    key: str = field(repr=False)
    spacing: float
    headers: Mapping[str, str] = field(default_factory=dict)
    prefix: str = "/v1"

    # Chapter 1, status

    async def version(self) -> str:
        """The firmware, `AC13.0.18.046 Build20210909`."""
        return await self._text("status/version")

    async def online_user(self) -> float:
        """How many users are online."""
        return await self._number("status/online-user")

    async def session_num(self) -> float:
        """How many sessions there are."""
        return await self._number("status/session-num")

    async def cpu_usage(self) -> float:
        """CPU load, %."""
        return await self._number("status/cpu-usage")

    async def mem_usage(self) -> float:
        """Memory in use, %."""
        return await self._number("status/mem-usage")

    async def disk_usage(self) -> float:
        """Disk in use, %."""
        return await self._number("status/disk-usage")

    async def bandwidth_usage(self) -> float:
        """Bandwidth in use, %."""
        return await self._number("status/bandwidth-usage")

    async def sys_time(self) -> str:
        """The AC's clock, `2017-12-13 17:52:11`, without a zone."""
        return await self._text("status/sys-time")

    async def log(self) -> LogCounters:
        """How many were blocked and recorded."""
        return LogCounters.model_validate(await self._object(Verb.GET, "status/log"))

    async def throughput(self, wanted: Filter) -> Throughput:
        """What all WAN ports, or the `interface`, send and receive, in the `unit` the answer says."""
        reply = await self._object(Verb.QUERY, "status/throughput", {"filter": wanted})
        return Throughput.model_validate(reply)

    async def insidelib(self) -> tuple[Row, ...]:
        """The rule libraries."""
        return await self._rows(Verb.GET, "status/insidelib")

    async def user_rank(self, wanted: Filter) -> tuple[Row, ...]:
        """The users with most traffic; `top`, `line`, and one of `groups`, `users`, `ips`."""
        return await self._rows(Verb.QUERY, "status/user-rank", {"filter": wanted})

    async def app_rank(self, wanted: Filter) -> tuple[Row, ...]:
        """The applications with most traffic; `top`, `line`, `groups`."""
        return await self._rows(Verb.QUERY, "status/app-rank", {"filter": wanted})

    # Chapter 2, users and groups

    async def user(self, name: str) -> Row:
        """One local user."""
        return await self._object(Verb.GET, "user", {"name": name})

    async def users(self, search: Mapping[str, Any]) -> tuple[Row, ...]:
        """At most 100 local users: `search_type`, `search_value`, `extend`."""
        return await self._rows(Verb.QUERY, "user", search)

    async def add_group(self, path: str, desc: str) -> Row:
        """Add a group."""
        return await self._write(Verb.CREATE, "group", {"path": path, "desc": desc})

    async def delete_group(self, path: str) -> Row:
        """Delete a group, the Sangfor document 2.12."""
        return await self._write(Verb.DELETE, "group", {"path": path})

    async def modify_group(self, path: str, desc: str) -> Row:
        """Change a group's description, the Sangfor document 2.13."""
        return await self._write(Verb.MODIFY, "group", {"path": path, "desc": desc})

    async def change_group_policies(self, opr: str, group: str, policies: list[str]) -> Row:
        """`add` or `del` net policies of a group, or `modify` to have these alone, the Sangfor document 2.14."""
        return await self._write(Verb.CREATE, GROUP_POLICIES, {"opr": opr, "group": group, "policy": policies})

    async def group_policies(self, path: str) -> tuple[str, ...]:
        """The net policies of a group, the Sangfor document 2.15."""
        data = await self._data(Verb.GET, GROUP_POLICIES, {"path": path})
        if not isinstance(data, list) and data != {}:
            raise _no_data(GROUP_POLICIES)
        return tuple(name for item in data if (name := wire.text(item)) is not None)

    # Chapter 3, policies

    async def net_policies(self) -> tuple[Row, ...]:
        """All net policies, the Sangfor document 3.1."""
        return await self._rows(Verb.GET, "policy/netpolicy")

    async def flux_policies(self) -> tuple[Row, ...]:
        """All bandwidth channels, the Sangfor document 3.2."""
        return await self._rows(Verb.GET, "policy/fluxpolicy")

    # Chapter 4, bindings

    async def user_bindings(self, search: str) -> tuple[Row, ...]:
        """Bindings of a user, IP or MAC, the Sangfor document 4.1."""
        return await self._found(USER_BINDINGS, search)

    async def ip_mac_bindings(self, search: str) -> tuple[Row, ...]:
        """The binding of an IP or MAC, the Sangfor document 4.2, whose path is tried before that of its siblings."""
        try:
            return await self._found("ipmac-bindinfo", search)
        except BackendError as error:
            if not is_missing(error):
                raise
            try:
                return await self._found(IP_MAC_BINDINGS, search)
            except BackendError as again:
                raise (error if is_missing(again) else again) from again

    async def delete_user_binding(self, addr: str) -> Row:
        """Remove the bindings of an address, the Sangfor document 4.3."""
        return await self._write(Verb.DELETE, USER_BINDINGS, {"addr": addr})

    async def delete_ip_mac_binding(self, ip: str) -> Row:
        """Remove the binding of an IP with a MAC, the Sangfor document 4.4."""
        return await self._write(Verb.DELETE, IP_MAC_BINDINGS, {"ip": ip})

    async def add_user_binding(self, binding: Mapping[str, Any]) -> Row:
        """Bind a user to addresses, the Sangfor document 4.5."""
        return await self._write(Verb.CREATE, USER_BINDINGS, binding)

    async def add_ip_mac_binding(self, binding: Mapping[str, Any]) -> Row:
        """Bind an IP to a MAC, the Sangfor document 4.6."""
        return await self._write(Verb.CREATE, IP_MAC_BINDINGS, binding)

    # Chapter 5, online users

    async def online_users(self, search: Mapping[str, Any]) -> Online:
        """At most 100 online users: `status`, `terminal`, `filter`, the Sangfor document 5.1."""
        data = await self._object(Verb.QUERY, ONLINE, search)
        count = wire.number(data.get("count"))
        if count is None:
            raise _no_data(ONLINE)
        return Online(count=int(count), users=_rows_of(data.get("users")) or ())

    async def log_out(self, ip: str) -> Row:
        """Log the user at this address out, the Sangfor document 5.2."""
        return await self._write(Verb.DELETE, ONLINE, {"ip": ip})

    async def log_in(self, user: Mapping[str, Any]) -> Row:
        """Log a user in by single sign-on: `ip, name`, `show_name, group, mac`, the Sangfor document 5.3."""
        return await self._write(Verb.CREATE, ONLINE, user)

    # What they share

    async def _found(self, path: str, search: str) -> tuple[Row, ...]:
        try:
            return await self._rows(Verb.GET, path, {"search": search})
        except BackendError as error:
            if is_not_found(error):
                return ()
            raise

    async def _number(self, path: str) -> float:
        number = wire.number(await self._data(Verb.GET, path))
        if number is None:
            raise _no_data(path)
        return number

    async def _text(self, path: str) -> str:
        text = wire.text(await self._data(Verb.GET, path))
        if text is None:
            raise _no_data(path)
        return text

    async def _object(self, verb: Verb, path: str, fields: Mapping[str, Any] | None = None) -> Row:
        data = await self._data(verb, path, fields)
        if not isinstance(data, dict) or not data:
            raise _no_data(path)
        return data

    async def _rows(self, verb: Verb, path: str, fields: Mapping[str, Any] | None = None) -> tuple[Row, ...]:
        rows = _rows_of(await self._data(verb, path, fields))
        if rows is None:
            raise _no_data(path)
        return rows

    async def _data(self, verb: Verb, path: str, fields: Mapping[str, Any] | None = None) -> Any:
        """The data of an answer. A busy AC is asked again, with a signature of its own each time."""
        api, call = replace(self.api, parse=parse_reading), Call(verb=verb, path=path)
        for wait in BUSY_WAITS:
            try:
                return (await self._send(api, call, fields or {})).get("data")
            except Busy:
                await asyncio.sleep(wait * self.spacing)
        return (await self._send(api, call, fields or {})).get("data")

    async def _write(self, verb: Verb, path: str, fields: Mapping[str, Any]) -> Row:
        """The answer to a write, which is never sent twice."""
        try:
            return await self._send(self.api, Call(verb=verb, path=path), fields)
        except BadReply as error:
            message = f"{error}; whether it was carried out is not known"
            raise Ambiguous(message, endpoint=error.endpoint, code=error.code) from error

    async def _send(self, api: Api, call: Call, fields: Mapping[str, Any]) -> Row:
        request = sign(self.key, call, fields, self.prefix)
        try:
            return await api.call(
                request.method,
                request.path,
                endpoint=call.name,
                params=request.params,
                headers=self.headers,
                json=request.json,
            )
        except BadReply as error:
            if error.code not in REDIRECTS:
                raise
            message = f"{call.name}: HTTP {error.code}, a redirection: the url has the wrong port, or https for http"
            raise Denied(message, endpoint=call.name, code=error.code) from error


def _rows_of(data: Any) -> tuple[Row, ...] | None:
    """The objects of a list; one alone stands for a list of it, {} for an empty one. None where there is no data."""
    if isinstance(data, dict):
        return (data,) if data else ()
    return tuple(row for row in data if isinstance(row, dict)) if isinstance(data, list) else None


def _no_data(path: str) -> BadReply:
    return BadReply(f"{path}: the answer has no data", endpoint=path, code="no_data")
