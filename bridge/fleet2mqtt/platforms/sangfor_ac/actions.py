"""The vendor calls that are no plain entity, as actions. Arguments carry the vendor's own field names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fleet2mqtt.errors import CommandError
from fleet2mqtt.platforms.sangfor_ac import schemas
from fleet2mqtt.platforms.sangfor_ac.models import mac_of
from fleet2mqtt.sdk.api import Action, ActionDescription, actions_of

if TYPE_CHECKING:
    from fleet2mqtt.platforms.sangfor_ac.coordinator import Site

Arguments = dict[str, Any]

MOST = 100
"""How many users an answer has at most."""


async def _group_add(site: Site, arguments: Arguments) -> Any:
    return await site.client.add_group(arguments["path"], arguments["desc"])


async def _group_delete(site: Site, arguments: Arguments) -> Any:
    return await site.client.delete_group(arguments["path"])


async def _group_modify(site: Site, arguments: Arguments) -> Any:
    return await site.client.modify_group(arguments["path"], arguments["desc"])


async def _group_policy_list(site: Site, arguments: Arguments) -> Any:
    return {"policy": list(await site.client.group_policies(arguments["path"]))}


async def _change_policies(opr: str, site: Site, arguments: Arguments) -> Any:
    return await site.client.change_group_policies(opr, arguments["group"], arguments["policy"])


async def _net_policy_list(site: Site, _: Arguments) -> Any:
    return {"policies": list(await site.client.net_policies())}


async def _flux_policy_list(site: Site, _: Arguments) -> Any:
    return {"policies": list(await site.client.flux_policies())}


async def _user_binding_search(site: Site, arguments: Arguments) -> Any:
    return {"bindings": [_writable(row) for row in await site.client.user_bindings(arguments.get("search"))]}


def _writable(row: dict[str, Any]) -> dict[str, Any]:
    """A binding as it was read, and its expiry also by the name that is written."""
    noauth = row.get("noauth")
    if not isinstance(noauth, dict) or "indate" not in noauth:
        return row
    return {**row, "noauth": {"expire_time": noauth["indate"], **noauth}}


async def _user_binding_add(site: Site, arguments: Arguments) -> Any:
    noauth = arguments["noauth"]
    expire = noauth.get("expire_time", noauth.get("indate", 0))
    binding = {name: value for name, value in arguments.items() if name != "time"}
    return await site.client.add_user_binding(binding | {"noauth": {"enable": noauth["enable"], "expire_time": expire}})


async def _user_binding_delete(site: Site, arguments: Arguments) -> Any:
    return await site.client.delete_user_binding(arguments["addr"])


async def _ip_mac_binding_search(site: Site, arguments: Arguments) -> Any:
    return {"bindings": list(await site.client.ip_mac_bindings(arguments["search"]))}


async def _ip_mac_binding_add(site: Site, arguments: Arguments) -> Any:
    return await site.client.add_ip_mac_binding(arguments)


async def _ip_mac_binding_delete(site: Site, arguments: Arguments) -> Any:
    return await site.client.delete_ip_mac_binding(arguments["ip"])


async def _online_users(site: Site, arguments: Arguments) -> Any:
    wanted = dict(arguments)
    if "filter" in wanted:
        kind, values = wanted["filter"]["type"], wanted["filter"]["value"]
        wanted["filter"] = {"type": kind, "value": [_wanted(site, kind, value) for value in values]}
    found = await site.client.online_users(wanted)
    return {"count": found.count, "truncated": found.truncated, "users": list(found.users)}


def _wanted(site: Site, kind: str, value: Any) -> str:
    """A value to filter by, as the AC writes it."""
    if isinstance(value, dict):
        if kind != "ip":
            raise CommandError("invalid_arguments", "filter.value: a range from first to last is one of type ip")
        return site.ip_range.format(**value)
    return mac_of(value) or value if kind == "mac" else str(value)


async def _user_logout(site: Site, arguments: Arguments) -> Any:
    return await site.client.log_out(arguments["ip"])


async def _user_login(site: Site, arguments: Arguments) -> Any:
    renamed = {"group" if name == "father_path" else name: value for name, value in arguments.items()}
    return await site.client.log_in(renamed)


async def _user_get(site: Site, arguments: Arguments) -> Any:
    return {"user": await site.client.user(arguments["name"])}


async def _user_search(site: Site, arguments: Arguments) -> Any:
    if (arguments["search_type"] == "ip") is not isinstance(arguments["search_value"], dict):
        words = "search_value: a range {start, end} for search_type ip, a text for the others"
        raise CommandError("invalid_arguments", words)
    users = await site.client.users(arguments)
    return {"truncated": len(users) >= MOST, "users": list(users)}


async def _user_add(site: Site, arguments: Arguments) -> Any:
    return await site.client.add_user(_fields(arguments, schemas.EXTENSIONS if site.extends else frozenset()))


async def _user_modify(site: Site, arguments: Arguments) -> Any:
    changes = {name: value for name, value in arguments.items() if name != "name"}
    if not changes:
        raise CommandError("invalid_arguments", "nothing to change: name one of the user's fields")
    # No source has a group to move to anywhere else than under `extend`.
    under = schemas.EXTENSIONS | {"father_path"} if site.extends else frozenset(("father_path",))
    return await site.client.modify_user(arguments["name"], _fields(changes, under))


def _fields(given: Arguments, under: frozenset[str]) -> Arguments:
    """Fields of a user as they are written, some of them under `extend`."""
    extend = {name: value for name, value in given.items() if name in under}
    plain = {name: value for name, value in given.items() if name not in under}
    return plain | {"extend": extend} if extend else plain


async def _user_delete(site: Site, arguments: Arguments) -> Any:
    return await site.client.delete_user(arguments["name"])


async def _user_policies(kind: str, site: Site, arguments: Arguments) -> Any:
    return {"policy": await site.client.user_policies(kind, arguments)}


async def _change_user_policies(kind: str, opr: str, site: Site, arguments: Arguments) -> Any:
    return await site.client.change_user_policies(kind, opr, arguments)


async def _throughput(site: Site, arguments: Arguments) -> Any:
    found = await site.client.throughput(arguments)
    return {**found.model_dump(), "bits_per_second": {"send": found.bits("send"), "recv": found.bits("recv")}}


async def _user_rank(site: Site, arguments: Arguments) -> Any:
    return {"rank": list(await site.client.user_rank(arguments))}


async def _app_rank(site: Site, arguments: Arguments) -> Any:
    return {"rank": list(await site.client.app_rank(arguments))}


_GROUPS = ("groups",)
_BINDINGS = ("bindings",)
_ONLINE = ("online_users",)
_USERS = ("users",)


def _of_a_user(noun: str, kind: str, what: str) -> tuple[ActionDescription, ...]:
    """The four actions for the net policies of single users, or for their bandwidth channels."""

    def change(opr: str) -> Callable[[Site, Arguments], Awaitable[Any]]:
        return partial(_change_user_policies, kind, opr)

    return (
        ActionDescription(
            f"{noun}_list", f"The {what} of a user", schemas.USER_POLICIES, partial(_user_policies, kind)
        ),
        ActionDescription(f"{noun}_add", f"Attach {what} to a user", schemas.USER_POLICY, change("add")),
        ActionDescription(f"{noun}_delete", f"Take {what} off a user", schemas.USER_POLICY, change("del")),
        ActionDescription(
            f"{noun}_modify", f"Give a user these {what} alone", schemas.USER_POLICY_MODIFY, change("modify"), ()
        ),
    )


ACTIONS: tuple[ActionDescription, ...] = (
    ActionDescription("group_add", "Add a group", schemas.GROUP_ADD, _group_add, _GROUPS),
    ActionDescription("group_delete", "Delete a group", schemas.GROUP, _group_delete, _GROUPS, destructive=True),
    ActionDescription("group_modify", "Change a group's description", schemas.GROUP_MODIFY, _group_modify),
    ActionDescription("group_policy_list", "The net policies of a group", schemas.GROUP, _group_policy_list),
    ActionDescription(
        "group_policy_add",
        "Attach net policies to a group",
        schemas.GROUP_POLICY,
        partial(_change_policies, "add"),
        _GROUPS,
    ),
    ActionDescription(
        "group_policy_delete",
        "Take net policies off a group",
        schemas.GROUP_POLICY,
        partial(_change_policies, "del"),
        _GROUPS,
    ),
    ActionDescription(
        "group_policy_modify",
        "Give a group these net policies and no others",
        schemas.GROUP_POLICY_MODIFY,
        partial(_change_policies, "modify"),
        _GROUPS,
    ),
    ActionDescription("net_policy_list", "All net policies, as the AC has them", schemas.NONE, _net_policy_list),
    ActionDescription(
        "flux_policy_list", "All bandwidth channels, as the AC has them", schemas.NONE, _flux_policy_list
    ),
    ActionDescription(
        "user_binding_search",
        "Bindings of a user, an IP or a MAC",
        schemas.USER_BINDING_SEARCH,
        _user_binding_search,
    ),
    ActionDescription(
        "user_binding_add", "Bind a user to an IP, a MAC or both", schemas.USER_BINDING, _user_binding_add, _BINDINGS
    ),
    ActionDescription(
        "user_binding_delete",
        "Remove the bindings of an address",
        schemas.ADDRESS,
        _user_binding_delete,
        _BINDINGS,
        destructive=True,
    ),
    ActionDescription("ip_mac_binding_search", "The binding of an IP or a MAC", schemas.SEARCH, _ip_mac_binding_search),
    ActionDescription("ip_mac_binding_add", "Bind an IP to a MAC", schemas.IP_MAC, _ip_mac_binding_add, _BINDINGS),
    ActionDescription(
        "ip_mac_binding_delete",
        "Remove the binding of an IP",
        schemas.IP,
        _ip_mac_binding_delete,
        _BINDINGS,
        destructive=True,
    ),
    ActionDescription(
        "online_users", "At most 100 online users, filtered by the AC", schemas.ONLINE_USERS, _online_users
    ),
    ActionDescription(
        "user_logout", "Log out who is online at an IP", schemas.IP, _user_logout, _ONLINE, destructive=True
    ),
    ActionDescription("user_login", "Log a user in by single sign-on", schemas.LOGIN, _user_login, _ONLINE),
    ActionDescription("user_get", "One local user", schemas.USER, _user_get),
    ActionDescription("user_search", "At most 100 local users", schemas.USER_SEARCH, _user_search),
    ActionDescription("user_add", "Add a local user", schemas.USER_ADD, _user_add, _USERS, destructive=True),
    ActionDescription(
        "user_modify", "Change a local user", schemas.USER_MODIFY, _user_modify, _USERS, destructive=True
    ),
    ActionDescription("user_delete", "Delete a local user", schemas.USER, _user_delete, _USERS, destructive=True),
    *_of_a_user("user_net_policy", "netpolicy", "net policies"),
    *_of_a_user("user_flux_policy", "fluxpolicy", "bandwidth channels"),
    ActionDescription("throughput", "What the AC sends and receives now", schemas.THROUGHPUT, _throughput),
    ActionDescription("user_rank", "The users with most traffic", schemas.USER_RANK, _user_rank),
    ActionDescription("app_rank", "The applications with most traffic", schemas.APP_RANK, _app_rank),
)


def site_actions(site: Site) -> tuple[Action, ...]:
    """Every action of this backend."""
    return actions_of(site, ACTIONS)
