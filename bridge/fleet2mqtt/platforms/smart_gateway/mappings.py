"""Port mapping rules: their rows, and giving them to gateways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleet2mqtt.devices.model import Component, Device, EntityDescription, Name, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError, CommandError
from fleet2mqtt.platforms.smart_gateway.models import UNASSIGNED
from fleet2mqtt.platforms.smart_gateway.writes import choice, unknown

if TYPE_CHECKING:
    from fleet2mqtt.platforms.smart_gateway.coordinator import Site

IPV4 = r"^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)$"
PROTOCOL = ("tcp", "udp", "tcp_udp")


async def set_subnet_ip(site: Site, device: Device, value: Any) -> Update | None:
    """The rule's address in its gateway's sub-net; of a rule that none has, kept for its next assignment."""
    rule = device.vendor_id
    sn = site.rules.holder(rule)
    if sn is not None:
        await site.client.reassign_mapping(rule, sn, str(value))
    await site.remember(rule, str(value))
    return None if sn is not None else site.update(None, site.rules.devices(), origin=UpdateOrigin.COMMAND)


async def set_gateway(site: Site, device: Device, value: Any) -> None:
    """Give the rule to a gateway, take it from one, or move it: then it is taken first and given after."""
    rule = device.vendor_id
    option = str(value).lower()
    target = site.rules.options().get(option)
    if target is None and option != UNASSIGNED:
        raise CommandError("unknown_gateway", f"there is no gateway {value!r}")
    holder = site.rules.holder(rule)
    if target == holder:
        return
    address = site.rules.address(rule)
    if target is not None and not address:
        message = (
            "the vendor needs the rule's address in the gateway's sub-net: set subnet_ip first, send both as "
            '{"subnet_ip": …, "gateway": …}, or use the action mapping_assign'
        )
        raise CommandError("subnet_ip_required", message)
    if holder is not None:
        await site.client.unassign_mappings(holder, [rule])
    if address:
        await site.remember(rule, address)
    if target is not None:
        await _assign(site, rule, target, str(address), holder)


async def _assign(site: Site, rule: str, sn: str, ip: str, former: str | None) -> None:
    try:
        await site.client.assign_mapping(rule, sn, ip)
    except BackendError as error:
        if former is None:
            raise
        message = f"{error}; the rule was already taken from {former} and may now be with no gateway"
        raise type(error)(message, endpoint=error.endpoint, code=error.code) from error


def rows(options: tuple[str, ...]) -> tuple[EntityDescription, ...]:
    """A rule's rows, for the gateways it can be given to. `subnet_ip` comes before `gateway`, which needs it."""
    return (
        EntityDescription(
            key="subnet_ip",
            name=Name("Sub-net IP", "子网 IP"),
            component=Component.TEXT,
            value=lambda r: r.subnet_ip,
            exists=lambda _: True,
            write=set_subnet_ip,
            pattern=IPV4,
            icon="mdi:ip-network",
        ),
        EntityDescription(
            key="gateway",
            name=Name("Gateway", "网关"),
            component=Component.SELECT,
            options=(UNASSIGNED, *options),
            value=lambda r: r.gateway,
            write=set_gateway,
            icon="mdi:router-network",
        ),
        EntityDescription(
            key="ip", name=Name("External IP", "外网 IP"), value=lambda r: r.rule.ip, icon="mdi:ip-outline"
        ),
        EntityDescription(key="port", name=Name("Ports", "端口"), value=lambda r: r.rule.port, icon="mdi:ethernet"),
        EntityDescription(
            key="protocol",
            name=Name("Protocol", "协议"),
            device_class="enum",
            options=PROTOCOL,
            value=lambda r: choice(PROTOCOL, r.rule.protocol),
            exists=lambda r: r.rule.protocol is not None,
            attributes=unknown(PROTOCOL, lambda r: r.rule.protocol),
        ),
        EntityDescription(
            key="mark", name=Name("Remark", "备注"), value=lambda r: r.rule.mark, icon="mdi:note-text-outline"
        ),
    )
