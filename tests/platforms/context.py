"""The context of a platform under test, and its updates as a hub would accept them."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import voluptuous as vol

from fleet2mqtt.devices.ids import Ids
from fleet2mqtt.devices.model import Device, Inventory, Update
from fleet2mqtt.sdk.api import Backend, Context, Source
from fleet2mqtt.sdk.validators import zone
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping


def options(
    schema: Mapping[Any, Any], url: str, given: Mapping[str, Any], *, timeout: float = PATIENCE
) -> dict[str, Any]:
    """The common options, and the platform's own through its SCHEMA."""
    common = {"url": url.rstrip("/"), "timeout": timeout, "headers": {}, "verify_tls": True, "ca": None}
    own: dict[str, Any] = vol.Schema(dict(schema))(dict(given))
    return common | {"time_zone": zone("Asia/Shanghai")} | own


def lent(name: str, chosen: Mapping[str, Any], assignments: dict[str, str], folder: Path) -> Context:
    """Return the argument of connect(), for a platform that must not save a checkpoint."""

    async def save_checkpoint(device: str, text: str) -> None:
        raise AssertionError((device, text))

    return Context(
        name=name,
        options=chosen,
        ids=Ids(assignments),
        data_dir=folder,
        checkpoint=lambda _: None,
        save_checkpoint=save_checkpoint,
    )


@dataclass(slots=True)
class Shared:
    """Id assignments, checkpoints and the data directory, which survive a restart."""

    folder: Path = field(default_factory=Path)
    assignments: dict[str, str] = field(default_factory=dict)
    checkpoints: dict[str, str] = field(default_factory=dict)
    primary_fails: bool = False
    selects: Callable[[Device], bool] = lambda _: True
    has_rules: bool = False

    async def save_checkpoint(self, device: str, text: str) -> None:
        self.checkpoints[device] = text

    def context(self, name: str, chosen: Mapping[str, Any]) -> Context:
        return replace(
            lent(name, chosen, self.assignments, self.folder),
            checkpoint=self.checkpoints.get,
            save_checkpoint=self.save_checkpoint,
            primary_fails=lambda: self.primary_fails,
            selects=self.selects,
            has_rules=self.has_rules,
        )


def source_of(backend: Backend, name: str) -> Source:
    return next(source for source in backend.sources if source.name == name)


def once(backend: Backend, name: str) -> aclosing[AsyncGenerator[Update, None]]:
    """One poll of a source."""
    return aclosing(cast("AsyncGenerator[Update, None]", source_of(backend, name).poll()))


async def act(backend: Backend, name: str, arguments: Mapping[str, Any]) -> Any:
    """An action, its arguments through its schema."""
    action = next(action for action in backend.actions if action.name == name)
    return await action.run(vol.Schema(dict(action.schema))(dict(arguments)))


@dataclass(slots=True, repr=False)  # asyncio writes out what a fixture gave, whether or not anybody reads it
class Run:
    """A connected backend and all that came out of it, as a hub would take it in."""

    backend: Backend
    devices: dict[str, Device] = field(default_factory=dict)
    inventories: list[Inventory] = field(default_factory=list)

    def take(self, update: Update) -> Update:
        self.devices.update((device.id, device) for device in update.devices)
        self.inventories += update.inventories
        return update

    def source(self, name: str) -> Source:
        return source_of(self.backend, name)

    async def poll(self, *names: str) -> list[Update]:
        """Poll these sources once, in this order, or all."""
        found = []
        for name in names or tuple(source.name for source in self.backend.sources):
            async with once(self.backend, name) as updates:
                found += [self.take(update) async for update in updates]
        return found

    async def act(self, name: str, /, **arguments: Any) -> Any:
        return await act(self.backend, name, arguments)

    async def write(self, device: str, key: str, value: Any) -> Update | None:
        """A row's write; what its answer shows is taken in."""
        row = self.devices[device].entity(key)
        assert row is not None
        assert row.write is not None
        update = await row.write(self.backend.client, self.devices[device], value)
        return update if update is None else self.take(update)

    async def write_group(self, device: str, values: Mapping[str, Any]) -> Update | None:
        """Write several keys of one group in one call; what the response shows is accepted."""
        entity = self.devices[device].entity(next(iter(values)))
        assert entity is not None
        assert entity.write_group is not None
        update = await entity.write_group(self.backend.client, self.devices[device], values)
        return update if update is None else self.take(update)

    async def read(self, device: str) -> Device:
        """The device as a read-back shows it."""
        self.take(await self.backend.read(self.devices[device]))
        return self.devices[device]

    def state(self, device: str) -> dict[str, Any]:
        return dict(self.devices[device].state)

    def ids(self, scope: str) -> set[str] | None:
        """The newest inventory of a scope."""
        return next((set(one.ids) for one in reversed(self.inventories) if one.scope == scope), None)

    def named(self, scope: str, vendor_id: str) -> str:
        """The id of a device."""
        return next(one.id for one in self.devices.values() if (one.scope, one.vendor_id) == (scope, vendor_id))

    def of(self, scope: str) -> list[Device]:
        """The devices of a scope, whatever follows its colon."""
        return [device for device in self.devices.values() if device.scope.partition(":")[0] == scope]
