"""The actions: vendor calls that are not entities. Arguments carry the vendor's own field names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fleet2mqtt.errors import CommandError
from fleet2mqtt.platforms.sangfor_ac import schemas
from fleet2mqtt.platforms.sangfor_ac.coordinator import Coordinator
from fleet2mqtt.platforms.sangfor_ac.models import normalize_mac
from fleet2mqtt.sdk.api import Action, ActionDescription, actions_of

Arguments = dict[str, Any]

MAX_USERS = 100
"""Largest number of users in a response."""


async def _group_add(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.add_group(arguments["path"], arguments["desc"])


async def _group_delete(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.delete_group(arguments["path"])


async def _group_modify(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.modify_group(arguments["path"], arguments["desc"])


async def _group_policy_list(coordinator: Coordinator, arguments: Arguments) -> Any:
    return {"policy": list(await coordinator.client.group_policies(arguments["path"]))}


async def _change_policies(opr: str, coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.change_group_policies(opr, arguments["group"], arguments["policy"])


async def _net_policy_list(coordinator: Coordinator, _: Arguments) -> Any:
    return {"policies": list(await coordinator.client.net_policies())}


async def _flux_policy_list(coordinator: Coordinator, _: Arguments) -> Any:
    return {"policies": list(await coordinator.client.flux_policies())}


async def _user_binding_search(coordinator: Coordinator, arguments: Arguments) -> Any:
    return {"bindings": [_writable(item) for item in await coordinator.client.user_bindings(arguments.get("search"))]}


def _writable(item: dict[str, Any]) -> dict[str, Any]:
    """Return a binding as it was read, with its expiry also by the name that is written."""
    noauth = item.get("noauth")
    if not isinstance(noauth, dict) or "indate" not in noauth:
        return item
    return {**item, "noauth": {"expire_time": noauth["indate"], **noauth}}


async def _user_binding_add(coordinator: Coordinator, arguments: Arguments) -> Any:
    noauth = arguments["noauth"]
    expire = noauth.get("expire_time", noauth.get("indate", 0))
    binding = {name: value for name, value in arguments.items() if name != "time"}
    return await coordinator.client.add_user_binding(
        binding | {"noauth": {"enable": noauth["enable"], "expire_time": expire}}
    )


async def _user_binding_delete(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.delete_user_binding(arguments["addr"])


async def _ip_mac_binding_search(coordinator: Coordinator, arguments: Arguments) -> Any:
    return {"bindings": list(await coordinator.client.ip_mac_bindings(arguments["search"]))}


async def _ip_mac_binding_add(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.add_ip_mac_binding(arguments)


async def _ip_mac_binding_delete(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.delete_ip_mac_binding(arguments["ip"])


async def _online_users(coordinator: Coordinator, arguments: Arguments) -> Any:
    wanted = dict(arguments)
    if "filter" in wanted:
        kind, values = wanted["filter"]["type"], wanted["filter"]["value"]
        wanted["filter"] = {"type": kind, "value": [_filter_value(coordinator, kind, value) for value in values]}
    found = await coordinator.client.online_users(wanted)
    return {"count": found.count, "truncated": found.truncated, "users": list(found.users)}


def _filter_value(coordinator: Coordinator, kind: str, value: Any) -> str:
    """Return a value to filter by, as the AC writes it."""
    if isinstance(value, dict):
        if kind != "ip":
            raise CommandError("invalid_arguments", "filter.value: a range from first to last is one of type ip")
        return coordinator.ip_range.format(**value)
    return normalize_mac(value) or value if kind == "mac" else str(value)


async def _user_logout(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.log_out(arguments["ip"])


async def _user_login(coordinator: Coordinator, arguments: Arguments) -> Any:
    renamed = {"group" if name == "father_path" else name: value for name, value in arguments.items()}
    return await coordinator.client.log_in(renamed)


async def _user_get(coordinator: Coordinator, arguments: Arguments) -> Any:
    return {"user": await coordinator.client.user(arguments["name"])}


async def _user_search(coordinator: Coordinator, arguments: Arguments) -> Any:
    if (arguments["search_type"] == "ip") is not isinstance(arguments["search_value"], dict):
        message = "search_value: a range {start, end} for search_type ip, a text for the others"
        raise CommandError("invalid_arguments", message)
    if arguments["search_type"] == "mac":
        value = arguments["search_value"]
        arguments = arguments | {"search_value": normalize_mac(value) or value}
    users = await coordinator.client.users(arguments)
    return {"truncated": len(users) >= MAX_USERS, "users": list(users)}


async def _user_add(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.add_user(
        _fields(arguments, schemas.EXTENSIONS if coordinator.extends else frozenset())
    )


async def _user_modify(coordinator: Coordinator, arguments: Arguments) -> Any:
    changes = {name: value for name, value in arguments.items() if name != "name"}
    if not changes:
        raise CommandError("invalid_arguments", "nothing to change: name one of the user's fields")
    # No source has a group to move to anywhere else than under `extend`.
    under = schemas.EXTENSIONS | {"father_path"} if coordinator.extends else frozenset(("father_path",))
    return await coordinator.client.modify_user(arguments["name"], _fields(changes, under))


def _fields(fields: Arguments, under: frozenset[str]) -> Arguments:
    """Return fields of a user as they are written, some of them under `extend`."""
    extend = {name: value for name, value in fields.items() if name in under}
    plain = {name: value for name, value in fields.items() if name not in under}
    return plain | {"extend": extend} if extend else plain


async def _user_delete(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.delete_user(arguments["name"])


async def _user_policies(kind: str, coordinator: Coordinator, arguments: Arguments) -> Any:
    return {"policy": await coordinator.client.user_policies(kind, arguments)}


async def _change_user_policies(kind: str, opr: str, coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.change_user_policies(kind, opr, arguments)


async def _throughput(coordinator: Coordinator, arguments: Arguments) -> Any:
    found = await coordinator.client.throughput(arguments)
    return {**found.model_dump(), "bits_per_second": {"send": found.bits("send"), "recv": found.bits("recv")}}


async def _user_rank(coordinator: Coordinator, arguments: Arguments) -> Any:
    return {"rank": list(await coordinator.client.user_rank(arguments))}


async def _app_rank(coordinator: Coordinator, arguments: Arguments) -> Any:
    return {"rank": list(await coordinator.client.app_rank(arguments))}


_GROUPS = ("groups",)
_BINDINGS = ("bindings",)
_ONLINE = ("online_users", "status")
_USERS = ("users",)


def _user_policy_actions(noun: str, kind: str, what: str) -> tuple[ActionDescription[Coordinator], ...]:
    """Return the four actions for the net policies of single users, or for their bandwidth channels."""

    def change(opr: str) -> Callable[[Coordinator, Arguments], Awaitable[Any]]:
        return partial(_change_user_policies, kind, opr)

    return (
        ActionDescription(
            f"{noun}_list", f"List the {what} of a user", schemas.USER_POLICIES, partial(_user_policies, kind)
        ),
        ActionDescription(f"{noun}_add", f"Attach {what} to a user", schemas.USER_POLICY, change("add")),
        ActionDescription(f"{noun}_delete", f"Detach {what} from a user", schemas.USER_POLICY, change("del")),
        ActionDescription(
            f"{noun}_modify", f"Set the {what} of a user", schemas.USER_POLICY_MODIFY, change("modify"), ()
        ),
    )


ACTIONS: tuple[ActionDescription[Coordinator], ...] = (
    ActionDescription("group_add", "Add a group", schemas.GROUP_ADD, _group_add, _GROUPS),
    ActionDescription("group_delete", "Delete a group", schemas.GROUP, _group_delete, _GROUPS, destructive=True),
    ActionDescription("group_modify", "Change a group's description", schemas.GROUP_MODIFY, _group_modify),
    ActionDescription("group_policy_list", "List the net policies of a group", schemas.GROUP, _group_policy_list),
    ActionDescription(
        "group_policy_add",
        "Attach net policies to a group",
        schemas.GROUP_POLICY,
        partial(_change_policies, "add"),
        _GROUPS,
    ),
    ActionDescription(
        "group_policy_delete",
        "Detach net policies from a group",
        schemas.GROUP_POLICY,
        partial(_change_policies, "del"),
        _GROUPS,
    ),
    ActionDescription(
        "group_policy_modify",
        "Set the net policies of a group",
        schemas.GROUP_POLICY_MODIFY,
        partial(_change_policies, "modify"),
        _GROUPS,
    ),
    ActionDescription("net_policy_list", "List all net policies", schemas.NONE, _net_policy_list),
    ActionDescription("flux_policy_list", "List all bandwidth channels", schemas.NONE, _flux_policy_list),
    ActionDescription(
        "user_binding_search",
        "Search the bindings of a user, an IP or a MAC",
        schemas.USER_BINDING_SEARCH,
        _user_binding_search,
    ),
    ActionDescription(
        "user_binding_add", "Bind a user to an IP, a MAC or both", schemas.USER_BINDING, _user_binding_add, _BINDINGS
    ),
    ActionDescription(
        "user_binding_delete",
        "Delete the bindings of an address",
        schemas.ADDRESS,
        _user_binding_delete,
        _BINDINGS,
        destructive=True,
    ),
    ActionDescription(
        "ip_mac_binding_search", "Search the binding of an IP or a MAC", schemas.SEARCH, _ip_mac_binding_search
    ),
    ActionDescription("ip_mac_binding_add", "Bind an IP to a MAC", schemas.IP_MAC, _ip_mac_binding_add, _BINDINGS),
    ActionDescription(
        "ip_mac_binding_delete",
        "Delete the binding of an IP",
        schemas.IP,
        _ip_mac_binding_delete,
        _BINDINGS,
        destructive=True,
    ),
    ActionDescription("online_users", "Search online users, at most 100", schemas.ONLINE_USERS, _online_users),
    ActionDescription("user_logout", "Log out the user at an IP", schemas.IP, _user_logout, _ONLINE, destructive=True),
    ActionDescription("user_login", "Log a user in by single sign-on", schemas.LOGIN, _user_login, _ONLINE),
    ActionDescription("user_get", "Get a local user", schemas.USER, _user_get),
    ActionDescription("user_search", "Search local users, at most 100", schemas.USER_SEARCH, _user_search),
    ActionDescription("user_add", "Add a local user", schemas.USER_ADD, _user_add, _USERS, destructive=True),
    ActionDescription(
        "user_modify", "Change a local user", schemas.USER_MODIFY, _user_modify, _USERS, destructive=True
    ),
    ActionDescription("user_delete", "Delete a local user", schemas.USER, _user_delete, _USERS, destructive=True),
    *_user_policy_actions("user_net_policy", "netpolicy", "net policies"),
    *_user_policy_actions("user_flux_policy", "fluxpolicy", "bandwidth channels"),
    ActionDescription("throughput", "Get what the AC sends and receives now", schemas.THROUGHPUT, _throughput),
    ActionDescription("user_rank", "List the users with most traffic", schemas.USER_RANK, _user_rank),
    ActionDescription("app_rank", "List the applications with most traffic", schemas.APP_RANK, _app_rank),
)


def backend_actions(coordinator: Coordinator) -> tuple[Action, ...]:
    """Return the actions of a backend."""
    return actions_of(coordinator, ACTIONS)
