"""Assigning port mapping rules to gateways: check the target first, move in two steps, undo a move that fails.

The vendor has no call that moves a rule: document 2.6 unassigns it, 2.5 assigns it with an address in the LAN of the
other gateway, and neither looks at that LAN.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv4Interface

from fleet2mqtt.errors import Ambiguous, BackendError, CommandError, InvalidResponse
from fleet2mqtt.platforms.smart_gateway.client import Client
from fleet2mqtt.platforms.smart_gateway.mapping_store import MappingStore
from fleet2mqtt.platforms.smart_gateway.models import GatewayRecord, Rule

_UNCERTAIN = (Ambiguous, InvalidResponse)
_ALL_PROTOCOLS = "2"
_MAX_PREFIX_WITH_EDGES = 30


def check_target(record: GatewayRecord, address: str) -> None:
    """Check that a gateway runs and that its LAN contains an address. Raises CommandError."""
    name = record.base.alias or record.sn
    if record.running is False:
        message = f"gateway {name} is not running (its state is {record.base.state!r}); nothing was changed"
        raise CommandError("device_offline", message)
    lan = _lan(record)
    if lan is None:
        return
    ip = IPv4Address(address)
    if ip not in lan.network:
        message = (
            f"{address} is not in the LAN {lan.network} of gateway {name}; nothing was changed: send an address of "
            'that LAN with the gateway, as {"subnet_ip": …, "gateway": …}, or unassign the rule first'
        )
        raise CommandError("address_outside_lan", message)
    edges = {lan.network.network_address, lan.network.broadcast_address}
    if ip == lan.ip or (ip in edges and lan.network.prefixlen <= _MAX_PREFIX_WITH_EDGES):
        owner = "the gateway itself" if ip == lan.ip else "no host"
        raise CommandError("address_taken", f"{address} is {owner} in the LAN of gateway {name}; nothing was changed")


def check_free(mappings: MappingStore, uuid: str, sn: str, address: str) -> None:
    """Check that no other rule of a gateway forwards the same ports to an address. Raises CommandError."""
    rule = mappings.get(uuid)
    for other_uuid, other_address in mappings.gateways.assignments(sn).items():
        other = mappings.get(other_uuid)
        if other_uuid == uuid or other_address != address or rule is None or other is None:
            continue
        if _overlap(rule, other):
            message = (
                f"rule {other.name or other_uuid} of this gateway forwards the same ports to {address}; "
                "nothing was changed"
            )
            raise CommandError("address_taken", message)


async def unassign(client: Client, mappings: MappingStore, uuid: str, sn: str) -> None:
    """Unassign a rule; after an ambiguous failure the vendor's list decides. Raises BackendError."""
    try:
        await client.unassign_mappings(sn, [uuid])
    except _UNCERTAIN:
        mappings.apply_list(await client.list_mappings())
        if mappings.holder(uuid) is not None:
            raise


async def move(client: Client, mappings: MappingStore, uuid: str, target: str, address: str) -> None:
    """Assign a rule to a gateway; unassign it before, and return it to its former gateway where that fails.

    Raises BackendError with a text that says which gateway has the rule.
    """
    former, former_address = mappings.holder(uuid), mappings.assigned_address(uuid) or mappings.address(uuid)
    if former is not None:
        await unassign(client, mappings, uuid, former)
    try:
        await client.assign_mapping(uuid, target, address)
    except BackendError as error:
        if isinstance(error, _UNCERTAIN) and await _is_assigned(client, mappings, uuid, target, error):
            return
        if former is None:
            raise
        outcome = await _return(client, uuid, former, former_address)
        raise _extended(error, outcome) from error


async def _is_assigned(client: Client, mappings: MappingStore, uuid: str, sn: str, error: BackendError) -> bool:
    try:
        mappings.apply_list(await client.list_mappings())
    except BackendError as second:
        raise _extended(error, f"the rules cannot be read ({second}): which gateway has the rule is unknown") from error
    return mappings.holder(uuid) == sn


async def _return(client: Client, uuid: str, sn: str, address: str | None) -> str:
    if address is None:
        return f"the rule was unassigned from {sn}, whose address for it is unknown: no gateway has it now"
    try:
        await client.assign_mapping(uuid, sn, address)
    except BackendError as error:
        if isinstance(error, _UNCERTAIN):
            return f"the rule was unassigned from {sn}, returning it got no answer ({error}): perhaps no gateway has it"
        return f"the rule was unassigned from {sn} and could not be returned ({error}): no gateway has it now"
    return f"the rule was returned to {sn}"


def _extended(error: BackendError, outcome: str) -> BackendError:
    return type(error)(f"{error}; {outcome}", endpoint=error.endpoint, code=error.code, data=error.data)


def _lan(record: GatewayRecord) -> IPv4Interface | None:
    """Return a gateway's address and network, None where the vendor sends none or no valid one."""
    try:
        return IPv4Interface(f"{record.lan.ip}/{record.lan.mask}")
    except (AddressValueError, ValueError):
        return None


def _overlap(rule: Rule, other: Rule) -> bool:
    protocols = {str(rule.protocol), str(other.protocol)}
    if len(protocols) == 2 and _ALL_PROTOCOLS not in protocols:
        return False
    return any(one.start < two.stop and two.start < one.stop for one in _ports(rule.port) for two in _ports(other.port))


def _ports(text: str | None) -> list[range]:
    """Return the ports of "1935,22000-22010"; parts that are no ports are left out."""
    ports = []
    for part in (text or "").replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            ports.append(range(int(first), int(last or first) + 1))
    return ports
