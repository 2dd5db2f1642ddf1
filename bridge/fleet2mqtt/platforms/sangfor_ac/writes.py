"""What the rows write: policies of a group, and the button that logs a user out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleet2mqtt.devices.model import Device, Update, Write
from fleet2mqtt.errors import CommandError

if TYPE_CHECKING:
    from fleet2mqtt.platforms.sangfor_ac.coordinator import Site


def set_policy(policy: str) -> Write:
    """A switch's write: attach this net policy to the group, or take it off; the group's others stay."""

    async def write(site: Site, group: Device, value: Any) -> None:
        await site.client.change_group_policies("add" if value else "del", group.vendor_id, [policy])

    return write


async def log_out(site: Site, user: Device, _: Any) -> Update:
    """Log the user out wherever it is online now; gives what is true afterwards."""
    if not site.may_log_out:
        message = f"logging out is destructive: it works only when backends.{site.name}.allow names user_logout"
        raise CommandError("not_allowed", message)
    logins = await site.ask_user(user.vendor_id)
    addresses = [login.ip for login in logins or () if login.ip is not None]
    if not addresses:
        raise CommandError("not_online", f"{user.vendor_id} is not online")
    for ip in addresses:
        await site.client.log_out(ip)
    return await site.read(user)
