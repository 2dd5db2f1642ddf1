"""The vendor calls that are no plain entity, as actions. Arguments carry the vendor's own field names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fleet2mqtt.errors import CommandError, Rejected
from fleet2mqtt.platforms.smart_gateway import schemas
from fleet2mqtt.platforms.smart_gateway.client import ARGS
from fleet2mqtt.platforms.smart_gateway.coordinator import Site, count_of
from fleet2mqtt.platforms.smart_gateway.writes import send
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Action, ActionDescription, actions_of

Arguments = dict[str, Any]

_CHART_CHANNELS = ("0", "1", "2", "3", "4")
_EDITED = ("uuid", "name", "ip", "port", "protocol", "devName", "sn", "devType", "mark")


def _chart(channels: list[str]) -> dict[str, Any]:
    return {"total": ["rateUp", "rateDown"], "channel": channels}


async def _register(site: Site, arguments: Arguments) -> Any:
    return _said(await site.client.register_device(arguments["sn"], arguments["alias"]))


async def _delete(site: Site, arguments: Arguments) -> Any:
    return _said(await site.client.delete_device(arguments["sn"]))


async def _list(site: Site, arguments: Arguments) -> Any:
    reply = await site.client.list_devices(**arguments)
    return {"count": count_of(reply), "devices": vendor_json.scrub(reply["devices"])}


async def _query(site: Site, arguments: Arguments) -> Any:
    args = {**ARGS, "chart": _chart(list(_CHART_CHANNELS))} if arguments["chart"] else ARGS
    return {"devices": vendor_json.scrub(await site.client.query_devices(arguments["sns"], args))}


async def _device_chart(site: Site, arguments: Arguments) -> Any:
    sn = arguments["sn"]
    channels = arguments.get("channel") or list(site.gateways.raw(sn)["channel"]) or list(_CHART_CHANNELS)
    row = (await site.client.query_devices([sn], {"base": ["sn"], "chart": _chart(channels)})).get(sn, {})
    if vendor_json.number(row.get("state", 0)) == 0:
        raise Rejected(f"the vendor finds no device {sn}", endpoint="devices/query", code="not_found")
    return {"sn": sn, "chart": row.get("chart") or {}}


async def _set(site: Site, arguments: Arguments) -> Any:
    change = {branch: leaves for branch, leaves in arguments.items() if branch != "sn"}
    if not change:
        raise CommandError("nothing_to_set", "name at least one setting under base, network, channel or parameters")
    return _said(await send(site, arguments["sn"], change))


async def _mapping_list(site: Site, _: Arguments) -> Any:
    return {"list": await site.list_mappings()}


async def _mapping_add(site: Site, arguments: Arguments) -> Any:
    before = {row.get("uuid") for row in await site.client.list_mappings()}
    await site.client.add_mapping(arguments)
    named = [row for row in await site.list_mappings() if row.get("name") == arguments["name"]]
    added = [row for row in named if row.get("uuid") not in before] or named
    return {"uuid": added[-1].get("uuid") if added else None}


async def _mapping_edit(site: Site, arguments: Arguments) -> Any:
    uuid = arguments["uuid"]
    known = next((row for row in await site.list_mappings() if row.get("uuid") == uuid), None)
    if known is None:
        raise CommandError("unknown_rule", f"there is no rule {uuid!r}")
    whole = {name: known.get(name, "") for name in _EDITED} | arguments
    return _said(await site.client.edit_mapping(whole))


async def _mapping_delete(site: Site, arguments: Arguments) -> Any:
    return _said(await site.client.delete_mappings(arguments["rules"]))


async def _mapping_assign(site: Site, arguments: Arguments) -> Any:
    return await _addressed(site, site.client.assign_mapping, arguments)


async def _mapping_reassign(site: Site, arguments: Arguments) -> Any:
    return await _addressed(site, site.client.reassign_mapping, arguments)


async def _addressed(site: Site, call: Callable[[str, str, str], Awaitable[Any]], arguments: Arguments) -> Any:
    reply = await call(arguments["rule"], arguments["sn"], arguments["ip"])
    await site.remember(arguments["rule"], arguments["ip"])
    return _said(reply)


async def _mapping_unassign(site: Site, arguments: Arguments) -> Any:
    for uuid in arguments["rules"]:
        address = site.rules.address(uuid)
        if address is not None:
            await site.remember(uuid, address)
    return _said(await site.client.unassign_mappings(arguments["sn"], arguments["rules"]))


def _said(reply: Mapping[str, Any]) -> Any:
    """What the vendor answered, without secrets."""
    return vendor_json.scrub(dict(reply))


_GATEWAYS = ("devices", "details")
_ALL = ("mappings", "details")
ACTIONS = (
    ActionDescription("device_register", "Register a gateway", schemas.REGISTER, _register, _GATEWAYS),
    ActionDescription("device_delete", "Delete a gateway", schemas.DEVICE, _delete, _GATEWAYS, destructive=True),
    ActionDescription("device_list", "One page of gateways, filtered by the vendor", schemas.LIST, _list),
    ActionDescription("device_query", "Gateways by serial number, with the charts if asked", schemas.QUERY, _query),
    ActionDescription("device_chart", "The rate and delay charts of a gateway", schemas.CHART, _device_chart),
    ActionDescription("device_set", "Change any settings of a gateway in one call", schemas.SET, _set, ("details",)),
    ActionDescription("mapping_list", "All port mapping rules", schemas.NONE, _mapping_list),
    ActionDescription(
        "mapping_add", "Add a port mapping rule; answers its uuid", schemas.ADD, _mapping_add, ("mappings",)
    ),
    ActionDescription("mapping_edit", "Change a port mapping rule", schemas.EDIT, _mapping_edit, ("mappings",)),
    ActionDescription(
        "mapping_delete", "Delete port mapping rules", schemas.RULES, _mapping_delete, _ALL, destructive=True
    ),
    ActionDescription("mapping_assign", "Give a rule to a gateway", schemas.ASSIGN, _mapping_assign, _ALL),
    ActionDescription(
        "mapping_reassign", "Change the sub-net address of a gateway's rule", schemas.ASSIGN, _mapping_reassign, _ALL
    ),
    ActionDescription("mapping_unassign", "Take rules from a gateway", schemas.UNASSIGN, _mapping_unassign, _ALL),
)


def site_actions(site: Site) -> tuple[Action, ...]:
    """Every action of this backend."""
    return actions_of(site, ACTIONS)
