"""The calls of the document that are no entity, as actions. Arguments carry the vendor's own field names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fleet2mqtt.errors import CommandError
from fleet2mqtt.platforms.thingscloud import schemas
from fleet2mqtt.platforms.thingscloud.client import build_path, device_path
from fleet2mqtt.platforms.thingscloud.coordinator import Coordinator
from fleet2mqtt.redaction import SECRET_KEYS
from fleet2mqtt.sdk.api import Action, ActionDescription, actions_of

Arguments = dict[str, Any]
Run = Callable[[Coordinator, Arguments], Awaitable[Any]]

MAX_HISTORY = 30 * 86_400_000
"""Milliseconds."""


def _project_call(endpoint: str) -> Run:
    """Return the function of a GET that is about the whole project."""

    async def run(coordinator: Coordinator, _: Arguments) -> Any:
        return await coordinator.client.get(endpoint, endpoint)

    return run


def _device_call(method: str, part: str, endpoint: str, *, body: tuple[str, ...] = (), refresh: bool = True) -> Run:
    """Return the function of a call about one device.

    `body` are the arguments that go into the body. With `refresh` the device's values are read next.
    """

    async def run(coordinator: Coordinator, arguments: Arguments) -> Any:
        device = arguments["device_id"]
        path = device_path(device, *filter(None, (part,)))
        request: Any = {"json": {name: arguments[name] for name in body if name in arguments}} if body else {}
        response = await coordinator.client.call(method, path, endpoint, **request)
        if refresh:
            coordinator.store.request_values(device)
        return response

    return run


def _customer_call(method: str, part: str, endpoint: str, *, body: tuple[str, ...] = ()) -> Run:
    async def run(coordinator: Coordinator, arguments: Arguments) -> Any:
        path = build_path("customer", arguments["customer_id"], *filter(None, (part,)))
        request: Any = {"json": {name: arguments[name] for name in body if name in arguments}} if body else {}
        return await coordinator.client.call(method, path, endpoint, **request)

    return run


async def _device_list(coordinator: Coordinator, arguments: Arguments) -> Any:
    page = await coordinator.client.devices(
        arguments.get("page", 1), type_=arguments.get("type"), group=arguments.get("group")
    )
    return page.response


async def _device_get(coordinator: Coordinator, arguments: Arguments) -> Any:
    info = await coordinator.client.device(arguments["device_id"])
    coordinator.apply_groups(arguments["device_id"], info)
    return info


async def _certificate(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.certificate(arguments["device_id"])


async def _send(coordinator: Coordinator, arguments: Arguments) -> Any:
    response = await coordinator.client.send_attributes(arguments["device_id"], arguments["attributes"])
    coordinator.store.request_values(arguments["device_id"])
    return response


async def _put(coordinator: Coordinator, arguments: Arguments) -> Any:
    response = await coordinator.client.put_attributes(arguments["device_id"], arguments["attributes"])
    coordinator.store.request_values(arguments["device_id"])
    return response


async def _attributes_remove(coordinator: Coordinator, arguments: Arguments) -> Any:
    path = device_path(arguments["device_id"], "attributes_remove")
    try:
        return await coordinator.client.post(path, "attributes_remove", {"keys": arguments["keys"]})
    finally:  # a failure may have removed some of them
        coordinator.store.expire_definitions(arguments["device_id"])
        coordinator.store.request_values(arguments["device_id"])


async def _command(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.send_command(
        arguments["device_id"], arguments["method"], arguments["params"], arguments.get("id")
    )


async def _data(coordinator: Coordinator, arguments: Arguments) -> Any:
    type_, message = arguments["type"], arguments["msg"]
    if type_ == "json" and not isinstance(message, dict):
        raise CommandError("invalid_arguments", "msg: expected an object, as type is json")
    if type_ != "json" and not isinstance(message, str):
        raise CommandError("invalid_arguments", f"msg: expected a text, as type is {type_}")
    if type_ == "hex" and not schemas.HEX.fullmatch(message):
        raise CommandError("invalid_arguments", "msg: expected bytes such as 01 03 FF, as type is hex")
    path = build_path("control", "device", arguments["device_id"], "data", arguments["identifier"], "set")
    push_mode = {"push_mode": arguments["push_mode"]}
    return await coordinator.client.post(path, "device_data", {"type": type_, "msg": message}, push_mode)


async def _history(coordinator: Coordinator, arguments: Arguments) -> Any:
    """Return past values page by page, newest first, at most `pages` pages."""
    _check_history(arguments)
    records = arguments["page_records"]
    window: dict[str, str] = {name: str(arguments[name]) for name in ("start_time", "end_time") if name in arguments}
    items: list[Any] = []
    for page in range(arguments["page"], arguments["page"] + arguments["pages"]):
        query = {"page": str(page), "page_records": str(records), **window}
        values = await coordinator.client.series(arguments["device_id"], arguments["identifier"], query)
        items += values
        if not values:
            break
    return {"items": items}


def _check_history(arguments: Arguments) -> None:
    if arguments["identifier"].strip().lower() in SECRET_KEYS:
        raise CommandError("secret", f"{arguments['identifier']} is a secret and not returned")
    start, end = arguments.get("start_time"), arguments.get("end_time")
    if (start is None) is not (end is None):
        raise CommandError("bad_window", "start_time and end_time are needed both; one alone has no effect")
    if start is not None and end is not None and not 0 <= end - start <= MAX_HISTORY:
        raise CommandError("bad_window", "end_time has to be after start_time, by 30 days at most")


async def _device_info_set(coordinator: Coordinator, arguments: Arguments) -> Any:
    _require_change(arguments, "device_id")
    return await _DEVICE_INFO(coordinator, arguments)


async def _customer_info_set(coordinator: Coordinator, arguments: Arguments) -> Any:
    _require_change(arguments, "customer_id")
    return await _CUSTOMER_INFO(coordinator, arguments)


def _require_change(arguments: Arguments, id_: str) -> None:
    if arguments.keys() <= {id_}:
        raise CommandError("nothing_to_set", "name at least one field to change")


_DEVICE_INFO = _device_call("PUT", "info", "device_info_set", body=("name", "descr", "device_key"))
_CUSTOMER_INFO = _customer_call("PUT", "info", "customer_info_set", body=("name", "descr", "email", "mobile"))


async def _device_create(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.post("device", "device_create", arguments)


async def _device_delete(coordinator: Coordinator, arguments: Arguments) -> Any:
    response = await coordinator.client.call("DELETE", device_path(arguments["device_id"]), "device_delete")
    coordinator.mark_deleted(arguments["device_id"])
    return response


async def _type_infos(coordinator: Coordinator, arguments: Arguments) -> Any:
    path = build_path("device_type", arguments["device_type_id"], "extend_infos")
    return await coordinator.client.get(path, "device_type_extend_infos")


async def _alarm_logs(coordinator: Coordinator, arguments: Arguments) -> Any:
    return (await coordinator.client.alarm_logs(arguments.get("page", 1), arguments.get("device_id"))).response


async def _customer_devices(coordinator: Coordinator, arguments: Arguments) -> Any:
    query = {"page": str(arguments["page"])} if "page" in arguments else {}
    return await coordinator.client.get(
        build_path("customer", arguments["customer_id"], "devices"), "customer_devices", query
    )


async def _customer_create(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.post("customer", "customer_create", arguments)


async def _customer_auth(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await coordinator.client.customer_auth(arguments["account"], arguments["password"])


async def _admin(coordinator: Coordinator, _: Arguments) -> Any:
    if not coordinator.client.tokens.is_admin:
        message = "only an administrator's login has one: configure account and password instead of the keys"
        raise CommandError("no_admin", message)
    return await coordinator.client.get("admin", "admin")


_ATTRIBUTES, _DEVICES, _DEVICES_META = ("attributes",), ("devices",), ("devices", "meta")
ACTIONS: tuple[ActionDescription[Coordinator], ...] = (
    ActionDescription("device_command", "Send a command to a device", schemas.COMMAND, _command),
    ActionDescription("device_data", "Send a custom data stream message to a device", schemas.DATA, _data),
    ActionDescription("device_attributes_set", "Send attributes to a device", schemas.SET, _send, _ATTRIBUTES),
    ActionDescription("cloud_attributes_set", "Change attributes in the cloud only", schemas.SET, _put, _ATTRIBUTES),
    ActionDescription(
        *("attributes_remove", "Remove attributes of a device", schemas.KEYS),
        *(_attributes_remove, ("schema", *_ATTRIBUTES), True),
    ),
    ActionDescription("attribute_history", "Past values of an attribute (30 days at most)", schemas.HISTORY, _history),
    ActionDescription(
        *("device_tags_set", "Change or add tags of a device", schemas.DEVICE_TAGS),
        *(_device_call("PUT", "tags", "device_tags_set", body=("tags",)), _DEVICES),
    ),
    ActionDescription(
        *("device_tags_remove", "Remove tags of a device", schemas.KEYS),
        *(_device_call("POST", "tags_remove", "device_tags_remove", body=("keys",)), _DEVICES),
    ),
    ActionDescription(
        *("device_groups_set", "Set the groups of a device", schemas.GROUPS),
        *(_device_call("PUT", "groups", "device_groups_set", body=("groups",)), _DEVICES_META),
    ),
    ActionDescription(
        "device_info_set", "Change a device's name, remark or key", schemas.DEVICE_INFO, _device_info_set, _DEVICES
    ),
    ActionDescription("device_create", "Create a device", schemas.CREATE, _device_create, _DEVICES_META),
    ActionDescription(
        *("device_delete", "Delete a device (refused within a day of its last message)", schemas.DEVICE),
        *(_device_delete, _DEVICES_META, True),
    ),
    ActionDescription(
        *("extend_infos_get", "Extended information of a device", schemas.DEVICE),
        _device_call("GET", "extend_infos", "extend_infos", refresh=False),
    ),
    ActionDescription(
        *("extend_infos_set", "Change extended information of a device, by id", schemas.EXTENDED),
        *(_device_call("POST", "extend_infos", "extend_infos_set", body=("infos",)), ("schema",)),
    ),
    ActionDescription(
        *("standard_infos_set", "Change standard extended information of a device", schemas.STANDARD),
        *(_device_call("POST", "standard_infos", "standard_infos_set", body=("info_type", "value")), ("schema",)),
    ),
    ActionDescription("device_get", "A device with its groups", schemas.DEVICE, _device_get),
    ActionDescription("device_list", "One page of devices", schemas.LIST, _device_list),
    ActionDescription("device_types", "Device types", schemas.NONE, _project_call("device_types")),
    ActionDescription(
        "device_type_extend_infos", "Extended information that a type defines", schemas.TYPE, _type_infos
    ),
    ActionDescription("device_groups", "The tree of device groups", schemas.NONE, _project_call("device_groups_tree")),
    ActionDescription("alarm_logs", "The alarm log of the project or of a device", schemas.LOGS, _alarm_logs),
    ActionDescription("project", "The project", schemas.NONE, _project_call("project")),
    ActionDescription("customer_roles", "Roles of users", schemas.NONE, _project_call("customer_roles")),
    ActionDescription("customer_devices", "Devices of a user", schemas.CUSTOMER_DEVICES, _customer_devices),
    ActionDescription(
        *("customer_tags_set", "Change or add tags of a user", schemas.CUSTOMER_TAGS),
        _customer_call("PUT", "tags", "customer_tags_set", body=("tags",)),
    ),
    # The following return or accept personal data or secrets.
    ActionDescription("customers", "Users of the project", schemas.NONE, _project_call("customers"), (), True),
    ActionDescription("customer_get", "A user", schemas.CUSTOMER, _customer_call("GET", "", "customer"), (), True),
    ActionDescription("customer_create", "Create a user", schemas.CUSTOMER_CREATE, _customer_create, (), True),
    ActionDescription("customer_info_set", "Change a user", schemas.CUSTOMER_INFO, _customer_info_set, (), True),
    ActionDescription(
        *("customer_password_set", "Change a user's password", schemas.CUSTOMER_PASSWORD),
        *(_customer_call("PUT", "pwd", "customer_password_set", body=("password",)), (), True),
    ),
    ActionDescription(
        "customer_delete", "Delete a user", schemas.CUSTOMER, _customer_call("DELETE", "", "customer_delete"), (), True
    ),
    ActionDescription("customer_auth", "Check a user's account and password", schemas.AUTH, _customer_auth, (), True),
    ActionDescription(
        *("device_customers", "Users of a device", schemas.DEVICE),
        *(_device_call("GET", "customers", "device_customers", refresh=False), (), True),
    ),
    ActionDescription(
        "device_certificate", "A device's certificate, its secret included", schemas.DEVICE, _certificate, (), True
    ),
    ActionDescription("admin", "The administrator who is logged in", schemas.NONE, _admin, (), True),
)


def build_actions(coordinator: Coordinator) -> tuple[Action, ...]:
    """Build the actions of this backend."""
    return actions_of(coordinator, ACTIONS)
