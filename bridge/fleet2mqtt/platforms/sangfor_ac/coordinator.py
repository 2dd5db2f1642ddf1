"""One AC: its client and what is known of it. What rows, sources and actions share."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, TypeVar

from fleet2mqtt.devices.model import Device, Inventory, Update, UpdateOrigin
from fleet2mqtt.errors import BackendError
from fleet2mqtt.platforms.sangfor_ac.capabilities import Features, Round
from fleet2mqtt.platforms.sangfor_ac.transport import is_not_found

if TYPE_CHECKING:
    from fleet2mqtt.platforms.sangfor_ac.appliance import Box
    from fleet2mqtt.platforms.sangfor_ac.client import Client
    from fleet2mqtt.platforms.sangfor_ac.device_cache import Shelf
    from fleet2mqtt.platforms.sangfor_ac.models import OnlineUser
    from fleet2mqtt.platforms.sangfor_ac.policies import Policies
    from fleet2mqtt.platforms.sangfor_ac.session import Row
    from fleet2mqtt.platforms.sangfor_ac.watchlist import Bindings, Groups, Users

Answer = TypeVar("Answer")

EVERYONE: Mapping[str, Any] = {"status": "all", "terminal": "all"}


def by_name(names: Iterable[str]) -> dict[str, Any]:
    """The search for online users with these names; it also finds names that are alike."""
    return {**EVERYONE, "filter": {"type": "user", "value": list(names)}}


async def _unless_missing(call: Awaitable[Answer]) -> Answer | None:
    """What a call answers; None where the AC says that it has no such thing."""
    try:
        return await call
    except BackendError as error:
        if is_not_found(error):
            return None
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the option `watch` names."""

    groups: tuple[str, ...]
    users: tuple[str, ...]
    bindings: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Site:
    """The `client` of a sangfor_ac Backend.

    `throughput` is the filter that throughput is asked for with, `ip_range` how a range of addresses is written,
    `extends` whether the extension fields of local users are written under `extend`.
    """

    name: str
    client: Client
    zone: tzinfo
    watch: Watch
    throughput: Mapping[str, str]
    ip_range: str
    extends: bool
    may_log_out: bool
    reader: Callable[[Site, Device], Awaitable[Update]]
    features: Features
    box: Box
    policies: Policies
    groups: Groups
    users: Users
    bindings: Bindings

    def update(
        self,
        requested_at: float | None,
        devices: Iterable[Device],
        inventories: Iterable[Inventory] = (),
        origin: UpdateOrigin = UpdateOrigin.POLL,
    ) -> Update:
        """News of this backend; without `began` it is what is known now, whenever that was asked."""
        return Update(
            backend=self.name,
            origin=origin,
            requested_at=time.monotonic() if requested_at is None else requested_at,
            observed_at=datetime.now(UTC),
            devices=tuple(devices),
            inventories=tuple(inventories),
        )

    def round(self) -> Round:
        """A turn of a source."""
        return Round(self.features)

    def watched(self, shelf: Shelf, natives: Iterable[str]) -> tuple[Inventory, ...]:
        """What of a kind is watched, once the AC is known to be there."""
        return (shelf.watched(natives),) if self.features.heard else ()

    def group_devices(self) -> tuple[Device, ...]:
        """The watched groups, with the net policies known."""
        return self.groups.devices(self.policies.names)

    def take_policies(self, rows: Iterable[Row]) -> tuple[tuple[Device, ...], tuple[Inventory, ...]]:
        """All net policies; gives their devices and inventory."""
        return self.policies.take_net(rows)

    async def read(self, device: Device) -> Update:
        """Ask for a device now. Raises BackendError."""
        return await self.reader(self, device)

    async def ask_group(self, path: str) -> tuple[tuple[str, ...] | None]:
        """The policies of a group, None where there is no such group, in a tuple: that is an answer too."""
        return (await _unless_missing(self.client.group_policies(path)),)

    async def ask_account(self, name: str) -> tuple[Row | None]:
        """The account of a user, None where there is none, in a tuple."""
        return (await _unless_missing(self.client.user(name)),)

    async def ask_user(self, name: str) -> tuple[OnlineUser, ...] | None:
        """Where a user is online now; None where so many have a name like it that it cannot be told."""
        found = await self.client.online_users(by_name([name]))
        logins = self.users.logins(name, found.users)
        return logins if logins or not found.truncated else None
