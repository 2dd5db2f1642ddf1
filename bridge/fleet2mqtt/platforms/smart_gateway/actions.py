"""Actions: the vendor calls that are no entities. Arguments have the vendor's own field names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fleet2mqtt.errors import CommandError, Rejected
from fleet2mqtt.platforms.smart_gateway import schemas
from fleet2mqtt.platforms.smart_gateway.client import ARGS
from fleet2mqtt.platforms.smart_gateway.coordinator import Coordinator, total_of
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Action, ActionDescription, actions_of

Arguments = dict[str, Any]

_CHART_CHANNELS = ("0", "1", "2", "3", "4")
_EDITED = ("uuid", "name", "ip", "port", "protocol", "devName", "sn", "devType", "mark")


def _chart(channels: list[str]) -> dict[str, Any]:
    return {"total": ["rateUp", "rateDown"], "channel": channels}


async def _device_register(coordinator: Coordinator, arguments: Arguments) -> Any:
    return _scrubbed(await coordinator.client.register_device(arguments["sn"], arguments["alias"]))


async def _device_delete(coordinator: Coordinator, arguments: Arguments) -> Any:
    response = await coordinator.client.delete_device(arguments["sn"])
    coordinator.mark_gateway_deleted(arguments["sn"])
    return _scrubbed(response)


async def _device_list(coordinator: Coordinator, arguments: Arguments) -> Any:
    response = await coordinator.client.list_devices(**arguments)
    return {"count": total_of(response), "devices": vendor_json.drop_secrets(response["devices"])}


async def _device_query(coordinator: Coordinator, arguments: Arguments) -> Any:
    args = {**ARGS, "chart": _chart(list(_CHART_CHANNELS))} if arguments["chart"] else ARGS
    return {"devices": vendor_json.drop_secrets(await coordinator.client.query_devices(arguments["sns"], args))}


async def _device_chart(coordinator: Coordinator, arguments: Arguments) -> Any:
    sn = arguments["sn"]
    channels = arguments.get("channel") or list(coordinator.gateways.raw(sn)["channel"]) or list(_CHART_CHANNELS)
    item = (await coordinator.client.query_devices([sn], {"base": ["sn"], "chart": _chart(channels)})).get(sn, {})
    if vendor_json.number(item.get("state", 0)) == 0:
        raise Rejected(f"the vendor finds no device {sn}", endpoint="devices/query", code="not_found")
    return {"sn": sn, "chart": item.get("chart") or {}}


async def _device_set(coordinator: Coordinator, arguments: Arguments) -> Any:
    change = {branch: leaves for branch, leaves in arguments.items() if branch != "sn"}
    if not change:
        raise CommandError("nothing_to_set", "name at least one setting under base, network, channel or parameters")
    return _scrubbed(await coordinator.change_settings(arguments["sn"], change))


async def _mapping_list(coordinator: Coordinator, _: Arguments) -> Any:
    return {"list": await coordinator.list_mappings()}


async def _mapping_add(coordinator: Coordinator, arguments: Arguments) -> Any:
    before = {item.get("uuid") for item in await coordinator.client.list_mappings()}
    await coordinator.client.add_mapping(arguments)
    named = [item for item in await coordinator.list_mappings() if item.get("name") == arguments["name"]]
    added = [item for item in named if item.get("uuid") not in before] or named
    return {"uuid": added[-1].get("uuid") if added else None}


async def _mapping_edit(coordinator: Coordinator, arguments: Arguments) -> Any:
    uuid = arguments["uuid"]
    current = next((item for item in await coordinator.list_mappings() if item.get("uuid") == uuid), None)
    if current is None:
        raise CommandError("unknown_rule", f"there is no rule {uuid!r}")
    rule = {name: current.get(name, "") for name in _EDITED} | arguments
    return _scrubbed(await coordinator.client.edit_mapping(rule))


async def _mapping_delete(coordinator: Coordinator, arguments: Arguments) -> Any:
    rules = arguments["rules"]
    try:
        response = await coordinator.client.delete_mappings(rules)
    except Rejected as error:
        failed = error.data["failed"] if isinstance(error.data, dict) else rules
        coordinator.mark_rules_deleted(set(rules) - set(failed))
        raise
    coordinator.mark_rules_deleted(rules)
    return _scrubbed(response)


async def _mapping_assign(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await _assign(coordinator, coordinator.client.assign_mapping, arguments)


async def _mapping_reassign(coordinator: Coordinator, arguments: Arguments) -> Any:
    return await _assign(coordinator, coordinator.client.reassign_mapping, arguments)


async def _assign(
    coordinator: Coordinator, call: Callable[[str, str, str], Awaitable[Any]], arguments: Arguments
) -> Any:
    await coordinator.check_target(arguments["rule"], arguments["sn"], arguments["ip"])
    response = await call(arguments["rule"], arguments["sn"], arguments["ip"])
    await coordinator.remember_address(arguments["rule"], arguments["ip"])
    return _scrubbed(response)


async def _mapping_unassign(coordinator: Coordinator, arguments: Arguments) -> Any:
    for uuid in arguments["rules"]:
        address = coordinator.mappings.address(uuid)
        if address is not None:
            await coordinator.remember_address(uuid, address)
    return _scrubbed(await coordinator.client.unassign_mappings(arguments["sn"], arguments["rules"]))


def _scrubbed(response: Mapping[str, Any]) -> Any:
    """Return the vendor's response without secrets."""
    return vendor_json.drop_secrets(dict(response))


_GATEWAYS = ("devices", "details")
_ALL = ("mappings", "devices")
ACTIONS: tuple[ActionDescription[Coordinator], ...] = (
    ActionDescription("device_register", "Register a gateway", schemas.REGISTER, _device_register, _GATEWAYS),
    ActionDescription("device_delete", "Delete a gateway", schemas.DEVICE, _device_delete, _GATEWAYS, destructive=True),
    ActionDescription("device_list", "Return one page of gateways, filtered by the vendor", schemas.LIST, _device_list),
    ActionDescription(
        "device_query", "Return gateways by serial number, with charts on request", schemas.QUERY, _device_query
    ),
    ActionDescription("device_chart", "Return the rate and delay charts of a gateway", schemas.CHART, _device_chart),
    ActionDescription("device_set", "Change settings of a gateway in one call", schemas.SET, _device_set, _GATEWAYS),
    ActionDescription("mapping_list", "Return all port mapping rules", schemas.NONE, _mapping_list),
    ActionDescription(
        "mapping_add", "Add a port mapping rule; returns its uuid", schemas.ADD, _mapping_add, ("mappings",)
    ),
    ActionDescription("mapping_edit", "Change a port mapping rule", schemas.EDIT, _mapping_edit, ("mappings",)),
    ActionDescription(
        "mapping_delete", "Delete port mapping rules", schemas.RULES, _mapping_delete, _ALL, destructive=True
    ),
    ActionDescription("mapping_assign", "Assign a rule to a gateway", schemas.ASSIGN, _mapping_assign, _ALL),
    ActionDescription(
        "mapping_reassign", "Change the sub-net address of a gateway's rule", schemas.ASSIGN, _mapping_reassign, _ALL
    ),
    ActionDescription("mapping_unassign", "Unassign rules from a gateway", schemas.UNASSIGN, _mapping_unassign, _ALL),
)


def backend_actions(coordinator: Coordinator) -> tuple[Action, ...]:
    """Return all actions of a backend."""
    return actions_of(coordinator, ACTIONS)
