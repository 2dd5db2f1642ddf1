"""The table of a simulated AC's operations: S1 to S25 by path, transport method and `_method`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet2mqtt.simulators.sangfor_ac import bindings, groups, online, status, users
from fleet2mqtt.simulators.sangfor_ac.protocol import Chapter
from fleet2mqtt.simulators.sangfor_ac.state import Call

_GET, _CREATE = ("GET", ""), ("POST", "")
_QUERY, _MODIFY, _DELETE = (("POST", method) for method in ("GET", "PUT", "DELETE"))
_PATH, _NAME, _IP, _ADDR = (((name, str),) for name in ("path", "name", "ip", "addr"))
_OPR = (("opr", str), ("policy", list))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation: the fields it requires in the body and in the query, and its `message` of success.

    `done` is the `data` of a write that was not carried out.
    """

    run: Callable[[Call], Any]
    chapter: Chapter
    message: str = "Successfully"
    fields: tuple[tuple[str, type], ...] = ()
    query: tuple[str, ...] = ()
    writes: bool = False
    done: str | None = None


def _status(run: Callable[[Call], Any]) -> Operation:
    return Operation(run=run, chapter=Chapter.STATUS)


def _write(run: Callable[[Call], Any], done: str, *fields: tuple[str, type]) -> Operation:
    return Operation(run=run, chapter=Chapter.USERS, fields=fields, writes=True, done=done)


def _late(run: Callable[[Call], Any], chapter: Chapter, *fields: tuple[str, type], writes: bool = True) -> Operation:
    return Operation(run=run, chapter=chapter, message="Success", fields=fields, writes=writes)


def _user_policies(kind: str) -> dict[tuple[str, str], Operation]:
    change = users.set_policies_of_user(kind)
    return {
        _GET: Operation(run=users.policies_of_user(kind), chapter=Chapter.USERS, query=("user",)),
        _CREATE: _write(change, "Modify user policy success!", ("user", str), *_OPR),
    }


_READINGS = ("version", "session-num", "log", "cpu-usage", "mem-usage", "disk-usage", "bandwidth-usage")
_BINDING = (("enable", bool), ("name", str), ("addr_type", str), *_ADDR, ("limitlogon", bool), ("noauth", dict))
_SEARCH = (("search_type", str),)

OPERATIONS: Mapping[str, Mapping[tuple[str, str], Operation]] = {
    **{f"status/{name}": {_GET: _status(status.reading(name))} for name in _READINGS},
    "status/online-user": {_GET: _status(status.count_online)},
    "status/insidelib": {_GET: _status(status.libraries)},
    "status/sys-time": {_GET: _status(status.system_time)},
    "status/throughput": {_QUERY: _status(status.throughput)},
    "status/user-rank": {_QUERY: _status(status.rank_users)},
    "status/app-rank": {_QUERY: _status(status.rank_apps)},
    "user": {
        _GET: Operation(run=users.get_user, chapter=Chapter.USERS, query=("name",)),
        _QUERY: Operation(run=users.search_users, chapter=Chapter.USERS, fields=_SEARCH),
        _CREATE: _write(users.add_user, "Add user success!", *_NAME),
        _MODIFY: _write(users.modify_user, "Modify user success!", *_NAME, ("data", dict)),
        _DELETE: _write(users.delete_user, "Delete user success!", *_NAME),
    },
    "user/netpolicy": _user_policies("net"),
    "user/fluxpolicy": _user_policies("flux"),
    "group": {
        _CREATE: _write(groups.add_group, "Add group success!", *_PATH),
        _MODIFY: _write(groups.modify_group, "Modify group success!", *_PATH, ("desc", str)),
        _DELETE: _write(groups.delete_group, "Delete group success!", *_PATH),
    },
    "group/netpolicy": {
        _GET: Operation(run=groups.get_group_policies, chapter=Chapter.USERS, query=("path",)),
        _CREATE: _write(groups.set_group_policies, "Modify group policy success!", ("group", str), *_OPR),
    },
    "policy/netpolicy": {_GET: Operation(run=groups.list_net_policies, chapter=Chapter.POLICIES)},
    "policy/fluxpolicy": {_GET: Operation(run=groups.list_flux_policies, chapter=Chapter.POLICIES, message="")},
    "bindinfo/user-bindinfo": {
        _GET: _late(bindings.find_user_bindings, Chapter.BINDINGS, writes=False),
        _CREATE: _late(bindings.add_user_binding, Chapter.BINDINGS, *_BINDING),
        _DELETE: _late(bindings.delete_user_binding, Chapter.BINDINGS, *_ADDR),
    },
    "ipmac-bindinfo": {
        _GET: Operation(
            run=bindings.find_ipmac_binding, chapter=Chapter.BINDINGS, message="Success", query=("search",)
        ),
    },
    "bindinfo/ipmac-bindinfo": {
        _CREATE: _late(bindings.add_ipmac_binding, Chapter.BINDINGS, *_IP, ("mac", str)),
        _DELETE: _late(bindings.delete_ipmac_binding, Chapter.BINDINGS, *_IP),
    },
    "online-users": {
        _QUERY: _late(online.list_online, Chapter.ONLINE, writes=False),
        _CREATE: _late(online.log_in, Chapter.ONLINE, *_IP, *_NAME),
        _DELETE: _late(online.kick, Chapter.ONLINE, *_IP),
    },
}
