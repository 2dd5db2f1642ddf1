"""The calls of the document that are no plain entity, as actions. Arguments carry the vendor's own field names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fleet2mqtt.errors import CommandError
from fleet2mqtt.platforms.thingscloud import schemas
from fleet2mqtt.platforms.thingscloud.client import device_path, path_of
from fleet2mqtt.platforms.thingscloud.coordinator import System
from fleet2mqtt.redaction import SECRET_KEYS
from fleet2mqtt.sdk.api import Action, ActionDescription, actions_of

Arguments = dict[str, Any]
Run = Callable[["System", Arguments], Awaitable[Any]]

LONGEST_HISTORY = 30 * 86_400_000
"""Milliseconds."""


def _reading(endpoint: str) -> Run:
    """A GET of the whole project."""

    async def run(system: System, _: Arguments) -> Any:
        return await system.client.get(endpoint, endpoint)

    return run


def _of_device(method: str, part: str, endpoint: str, *, body: tuple[str, ...] = (), hurry: bool = True) -> Run:
    """A call about one device; `body` are the arguments that go into it. `hurry`: its values are read next."""

    async def run(system: System, arguments: Arguments) -> Any:
        device = arguments["device_id"]
        path = device_path(device, *filter(None, (part,)))
        request: Any = {"json": {name: arguments[name] for name in body if name in arguments}} if body else {}
        answer = await system.client.ask(method, path, endpoint, **request)
        if hurry:
            system.fleet.hurry(device)
        return answer

    return run


def _of_customer(method: str, part: str, endpoint: str, *, body: tuple[str, ...] = ()) -> Run:
    async def run(system: System, arguments: Arguments) -> Any:
        path = path_of("customer", arguments["customer_id"], *filter(None, (part,)))
        request: Any = {"json": {name: arguments[name] for name in body if name in arguments}} if body else {}
        return await system.client.ask(method, path, endpoint, **request)

    return run


async def _device_list(system: System, arguments: Arguments) -> Any:
    page = await system.client.devices(
        arguments.get("page", 1), type_=arguments.get("type"), group=arguments.get("group")
    )
    return page.info


async def _device_get(system: System, arguments: Arguments) -> Any:
    info = await system.client.device(arguments["device_id"])
    system.learn_groups(arguments["device_id"], info)
    return info


async def _certificate(system: System, arguments: Arguments) -> Any:
    return await system.client.certificate(arguments["device_id"])


async def _send(system: System, arguments: Arguments) -> Any:
    answer = await system.client.send_attributes(arguments["device_id"], arguments["attributes"])
    system.fleet.hurry(arguments["device_id"])
    return answer


async def _put(system: System, arguments: Arguments) -> Any:
    answer = await system.client.put_attributes(arguments["device_id"], arguments["attributes"])
    system.fleet.hurry(arguments["device_id"])
    return answer


async def _attributes_remove(system: System, arguments: Arguments) -> Any:
    path = device_path(arguments["device_id"], "attributes_remove")
    try:
        return await system.client.post(path, "attributes_remove", {"keys": arguments["keys"]})
    finally:  # who knows how far it went
        system.fleet.outdate(arguments["device_id"])
        system.fleet.hurry(arguments["device_id"])


async def _command(system: System, arguments: Arguments) -> Any:
    return await system.send_command(
        arguments["device_id"], arguments["method"], arguments["params"], arguments.get("id")
    )


async def _data(system: System, arguments: Arguments) -> Any:
    kind, message = arguments["type"], arguments["msg"]
    if kind == "json" and not isinstance(message, dict):
        raise CommandError("invalid_arguments", "msg: expected an object, as type is json")
    if kind != "json" and not isinstance(message, str):
        raise CommandError("invalid_arguments", f"msg: expected a text, as type is {kind}")
    if kind == "hex" and not schemas.HEX.fullmatch(message):
        raise CommandError("invalid_arguments", "msg: expected bytes such as 01 03 FF, as type is hex")
    path = path_of("control", "device", arguments["device_id"], "data", arguments["identifier"], "set")
    push_mode = {"push_mode": arguments["push_mode"]}
    return await system.client.post(path, "device_data", {"type": kind, "msg": message}, push_mode)


async def _history(system: System, arguments: Arguments) -> Any:
    """Page after page, newest first, at most `pages` of them."""
    _check_history(arguments)
    records = arguments["page_records"]
    window: dict[str, str] = {name: str(arguments[name]) for name in ("start_time", "end_time") if name in arguments}
    found: list[Any] = []
    for page in range(arguments["page"], arguments["page"] + arguments["pages"]):
        query = {"page": str(page), "page_records": str(records), **window}
        rows = await system.client.series(arguments["device_id"], arguments["identifier"], query)
        found += rows
        if not rows:
            break
    return {"items": found}


def _check_history(arguments: Arguments) -> None:
    if arguments["identifier"].strip().lower() in SECRET_KEYS:
        raise CommandError("secret", f"{arguments['identifier']} is kept back as a secret")
    start, end = arguments.get("start_time"), arguments.get("end_time")
    if (start is None) is not (end is None):
        raise CommandError("bad_window", "start_time and end_time are needed both; one alone has no effect")
    if start is not None and end is not None and not 0 <= end - start <= LONGEST_HISTORY:
        raise CommandError("bad_window", "end_time has to be after start_time, by 30 days at most")


async def _device_info_set(system: System, arguments: Arguments) -> Any:
    _something(arguments, "device_id")
    return await _DEVICE_INFO(system, arguments)


async def _customer_info_set(system: System, arguments: Arguments) -> Any:
    _something(arguments, "customer_id")
    return await _CUSTOMER_INFO(system, arguments)


def _something(arguments: Arguments, id_: str) -> None:
    if arguments.keys() <= {id_}:
        raise CommandError("nothing_to_set", "name at least one field to change")


_DEVICE_INFO = _of_device("PUT", "info", "device_info_set", body=("name", "descr", "device_key"))
_CUSTOMER_INFO = _of_customer("PUT", "info", "customer_info_set", body=("name", "descr", "email", "mobile"))


async def _device_create(system: System, arguments: Arguments) -> Any:
    return await system.client.post("device", "device_create", arguments)


async def _type_infos(system: System, arguments: Arguments) -> Any:
    path = path_of("device_type", arguments["device_type_id"], "extend_infos")
    return await system.client.get(path, "device_type_extend_infos")


async def _alarm_logs(system: System, arguments: Arguments) -> Any:
    return (await system.client.alarm_logs(arguments.get("page", 1), arguments.get("device_id"))).info


async def _customer_devices(system: System, arguments: Arguments) -> Any:
    query = {"page": str(arguments["page"])} if "page" in arguments else {}
    return await system.client.get(path_of("customer", arguments["customer_id"], "devices"), "customer_devices", query)


async def _customer_create(system: System, arguments: Arguments) -> Any:
    return await system.client.post("customer", "customer_create", arguments)


async def _customer_auth(system: System, arguments: Arguments) -> Any:
    return await system.client.customer_auth(arguments["account"], arguments["password"])


async def _admin(system: System, _: Arguments) -> Any:
    if not system.client.tokens.is_admin:
        message = "only an administrator's login has one: configure account and password instead of the keys"
        raise CommandError("no_admin", message)
    return await system.client.get("admin", "admin")


_VALUES, _META = ("attributes",), ("devices", "meta")
ACTIONS = (
    ActionDescription("device_command", "Send a command to a device", schemas.COMMAND, _command),
    ActionDescription("device_data", "Send a custom data stream message to a device", schemas.DATA, _data),
    ActionDescription("device_attributes_set", "Send attributes to a device", schemas.SET, _send, _VALUES),
    ActionDescription("cloud_attributes_set", "Change attributes in the cloud only", schemas.SET, _put, _VALUES),
    ActionDescription(
        *("attributes_remove", "Remove attributes of a device", schemas.KEYS),
        *(_attributes_remove, ("schema", *_VALUES), True),
    ),
    ActionDescription("attribute_history", "Past values of an attribute (30 days at most)", schemas.HISTORY, _history),
    ActionDescription(
        *("device_tags_set", "Change or add tags of a device", schemas.DEVICE_TAGS),
        *(_of_device("PUT", "tags", "device_tags_set", body=("tags",)), ("devices",)),
    ),
    ActionDescription(
        *("device_tags_remove", "Remove tags of a device", schemas.KEYS),
        *(_of_device("POST", "tags_remove", "device_tags_remove", body=("keys",)), ("devices",)),
    ),
    ActionDescription(
        *("device_groups_set", "Say which groups a device is in", schemas.GROUPS),
        *(_of_device("PUT", "groups", "device_groups_set", body=("groups",)), _META),
    ),
    ActionDescription(
        "device_info_set", "Change a device's name, remark or key", schemas.DEVICE_INFO, _device_info_set, _META[:1]
    ),
    ActionDescription("device_create", "Create a device", schemas.CREATE, _device_create, _META),
    ActionDescription(
        *("device_delete", "Delete a device (refused within a day of its last message)", schemas.DEVICE),
        *(_of_device("DELETE", "", "device_delete"), _META, True),
    ),
    ActionDescription(
        *("extend_infos_get", "Extended information of a device", schemas.DEVICE),
        _of_device("GET", "extend_infos", "extend_infos", hurry=False),
    ),
    ActionDescription(
        *("extend_infos_set", "Change extended information of a device, by id", schemas.EXTENDED),
        *(_of_device("POST", "extend_infos", "extend_infos_set", body=("infos",)), ("schema",)),
    ),
    ActionDescription(
        *("standard_infos_set", "Change standard extended information of a device", schemas.STANDARD),
        *(_of_device("POST", "standard_infos", "standard_infos_set", body=("info_type", "value")), ("schema",)),
    ),
    ActionDescription("device_get", "A device with its groups", schemas.DEVICE, _device_get),
    ActionDescription("device_list", "One page of devices", schemas.LIST, _device_list),
    ActionDescription("device_types", "Device types", schemas.NONE, _reading("device_types")),
    ActionDescription(
        "device_type_extend_infos", "Extended information that a type defines", schemas.TYPE, _type_infos
    ),
    ActionDescription("device_groups", "The tree of device groups", schemas.NONE, _reading("device_groups_tree")),
    ActionDescription("alarm_logs", "The alarm log of the project or of a device", schemas.LOGS, _alarm_logs),
    ActionDescription("project", "The project", schemas.NONE, _reading("project")),
    ActionDescription("customer_roles", "Roles of users", schemas.NONE, _reading("customer_roles")),
    ActionDescription("customer_devices", "Devices of a user", schemas.CUSTOMER_DEVICES, _customer_devices),
    ActionDescription(
        *("customer_tags_set", "Change or add tags of a user", schemas.CUSTOMER_TAGS),
        _of_customer("PUT", "tags", "customer_tags_set", body=("tags",)),
    ),
    # What follows tells personal data or secrets, or takes them.
    ActionDescription("customers", "Users of the project", schemas.NONE, _reading("customers"), (), True),
    ActionDescription("customer_get", "A user", schemas.CUSTOMER, _of_customer("GET", "", "customer"), (), True),
    ActionDescription("customer_create", "Create a user", schemas.CUSTOMER_CREATE, _customer_create, (), True),
    ActionDescription("customer_info_set", "Change a user", schemas.CUSTOMER_INFO, _customer_info_set, (), True),
    ActionDescription(
        *("customer_password_set", "Change a user's password", schemas.CUSTOMER_PASSWORD),
        *(_of_customer("PUT", "pwd", "customer_password_set", body=("password",)), (), True),
    ),
    ActionDescription(
        "customer_delete", "Delete a user", schemas.CUSTOMER, _of_customer("DELETE", "", "customer_delete"), (), True
    ),
    ActionDescription("customer_auth", "Check a user's account and password", schemas.AUTH, _customer_auth, (), True),
    ActionDescription(
        *("device_customers", "Users of a device", schemas.DEVICE),
        *(_of_device("GET", "customers", "device_customers", hurry=False), (), True),
    ),
    ActionDescription(
        "device_certificate", "A device's certificate, its secret included", schemas.DEVICE, _certificate, (), True
    ),
    ActionDescription("admin", "The administrator who is logged in", schemas.NONE, _admin, (), True),
)


def actions(system: System) -> tuple[Action, ...]:
    """Every action of this backend."""
    return actions_of(system, ACTIONS)
