"""Requests that the bridge responds to itself: `bridge/request/<name>`."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import voluptuous as vol

from fleet2mqtt.commands.requests import part_report
from fleet2mqtt.contract.payloads import stamp
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.builtin_entities import BRIDGE
from fleet2mqtt.devices.model import Device
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import BackendError, CommandError, OutboxError
from fleet2mqtt.hub import Hub
from fleet2mqtt.ops.alarm_requests import AlarmRequests
from fleet2mqtt.outbox import Outbox
from fleet2mqtt.polling.poller import Poller
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.push.receiver import PushReceiver
from fleet2mqtt.sdk.api import Action
from fleet2mqtt.sdk.validators import whole

MAX_PAGE = 1_000

_PAGE = {
    vol.Optional("limit", default=100): vol.All(whole, vol.Range(min=1, max=MAX_PAGE)),
}
_DEVICE_OR_BACKEND = {vol.Optional("backend"): str, vol.Optional("device"): str}
_DEAD_LETTERS = _PAGE | {
    vol.Optional("op", default="list"): vol.In(("list", "retry", "discard")),
    vol.Optional("id"): whole,
    vol.Optional("after", default=0): whole,
}
_LEVELS = ("debug", "info", "warning", "error")
_FORMER_LOGGER = re.compile(r"^bridge(?=\.|$)")
"""The package's name in release 0.1.0, which users' requests may still carry."""


@dataclass(frozen=True, slots=True)
class BridgeRequests:
    """The bridge's requests, and the components that they read and change."""

    hub: Hub
    registry: Registry
    outbox: Outbox
    publisher: Publisher
    topics: Topics
    health: Callable[[], Mapping[str, Any]]
    """Returns the content of `bridge/health`."""
    pollers: Mapping[str, Poller]
    push_receiver: PushReceiver
    reload: Callable[[], Awaitable[dict[str, Any]]]
    alarm_requests: AlarmRequests

    def actions(self) -> dict[str, Action]:
        """Return the requests by name."""
        listed = (
            Action(name="health", summary="The bridge's and every backend's health, now.", schema={}, run=self._health),
            Action(
                name="devices",
                summary="Known devices with their states, a page at a time.",
                schema=_PAGE | {vol.Optional("after", default=""): str, vol.Optional("backend"): str},
                run=self._devices,
            ),
            *self.alarm_requests.actions(),
            *self._operations(),
        )
        return {action.name: action for action in listed}

    def _operations(self) -> tuple[Action, ...]:
        """Return the requests that change something."""
        return (
            Action(
                name="refresh", summary="Poll a backend, or all, now.", schema=_DEVICE_OR_BACKEND, run=self._refresh
            ),
            Action(
                name="announce",
                summary="Publish discovery, availability and states again.",
                schema={},
                run=self._announce,
            ),
            Action(
                name="forget",
                summary="Remove devices (or all of a backend) from MQTT; what the vendor still lists comes back.",
                schema=_DEVICE_OR_BACKEND | {vol.Optional("devices"): [str]},
                run=self._forget,
            ),
            Action(
                name="reload",
                summary="Load the configuration file again and apply what changed.",
                schema={},
                run=lambda _: self.reload(),
            ),
            Action(
                name="log_level",
                summary="Change how much is logged, until the next start.",
                schema={vol.Required("level"): vol.In(_LEVELS), vol.Optional("logger", default="fleet2mqtt"): str},
                run=self._log_level,
            ),
            Action(
                name="dead_letters",
                summary="Pushes that could not be read: list them, retry one or all, or discard one.",
                schema=_DEAD_LETTERS,
                run=self._dead_letters,
            ),
        )

    async def _health(self, _: dict[str, Any]) -> dict[str, Any]:
        backends = {name: poller.health.json() for name, poller in self.pollers.items()}
        return {"bridge": self.health(), "backends": backends}

    async def _devices(self, arguments: dict[str, Any]) -> dict[str, Any]:
        registry = self.registry
        backend, after, limit = arguments.get("backend"), arguments["after"], arguments["limit"]
        if backend is not None and backend not in {device.backend for device in registry.devices.values()}:
            raise CommandError("unknown_backend", f"nothing is known of a backend {backend}")
        ids = sorted(
            id_ for id_, device in registry.devices.items() if id_ > after and backend in (None, device.backend)
        )
        page = [_device(registry.devices[id_]) for id_ in ids[:limit]]
        return {"devices": page, "more": len(ids) > limit, "after": ids[:limit][-1] if page else after}

    async def _refresh(self, arguments: dict[str, Any]) -> dict[str, Any]:
        backend = arguments.get("backend")
        if device := arguments.get("device"):
            known = self.registry.devices.get(device)
            if known is None:
                raise CommandError("unknown_device", f"there is no device {device}")
            backend = known.backend
            if backend not in self.pollers:
                raise CommandError("unknown_backend", f"{device} is of no backend that is configured")
        if backend is not None and backend not in self.pollers:
            raise CommandError("unknown_backend", f"there is no backend {backend}")
        report = {}
        for name, poller in self.pollers.items():
            if backend in (None, name):
                errors = await poller.refresh()
                report[name] = {source: part_report(error) for source, error in errors.items()}
        return {"backends": report}

    async def _announce(self, _: dict[str, Any]) -> dict[str, Any]:
        self.publisher.announce()
        return {"devices": len(self.registry.devices)}

    async def _forget(self, arguments: dict[str, Any]) -> dict[str, Any]:
        ids = list(arguments.get("devices", ()))
        if device := arguments.get("device"):
            ids.append(device)
        if backend := arguments.get("backend"):
            ids += self.registry.of_backend(backend)
        if BRIDGE in ids:
            raise CommandError("invalid_arguments", f"{BRIDGE} is the bridge itself, which nothing would bring back")
        unknown = [id_ for id_ in ids if id_ not in self.registry.devices]
        if unknown or not ids:
            what = ", ".join(unknown) or "name a device, devices, or a backend that has some"
            raise CommandError("unknown_device", f"nothing to forget: {what}")
        sources = self.registry.sources_of(ids)
        forgotten = sorted(await self.hub.forget(ids))
        if backend is not None and backend not in self.pollers:
            for name in ("availability", "health"):
                self.publisher.clear_retained(self.topics.backend(backend, name))
            for source in sources:
                self.publisher.clear_retained(self.topics.source(backend, source))
        return {"forgotten": forgotten}

    async def _log_level(self, arguments: dict[str, Any]) -> dict[str, Any]:
        name = _FORMER_LOGGER.sub("fleet2mqtt", arguments["logger"])
        logging.getLogger(name).setLevel(arguments["level"].upper())
        return arguments

    async def _dead_letters(self, arguments: dict[str, Any]) -> dict[str, Any]:
        op, number = arguments["op"], arguments.get("id")
        if op == "list":
            letters = await self.outbox.dead_letters(arguments["after"], arguments["limit"])
            return {"dead_letters": [_dead_letter(letter) for letter in letters], "total": self.outbox.dead}
        if op == "discard":
            if number is None or not await self.outbox.discard(number):
                raise CommandError("unknown_dead_letter", f"there is no dead letter {number}")
            return {"discarded": number}
        numbers = [number] if number is not None else await self._all_dead_letters(arguments["limit"])
        return {"retried": {str(each): await self._retry(each) for each in numbers}}

    async def _all_dead_letters(self, limit: int) -> list[int]:
        return [letter.id for letter in await self.outbox.dead_letters(0, limit)]

    async def _retry(self, number: int) -> dict[str, Any]:
        letter = await self.outbox.get_dead_letter(number)
        if letter is None:
            raise CommandError("unknown_dead_letter", f"there is no dead letter {number}")
        try:
            await self.push_receiver.retry(letter.backend, letter.kind, letter.body.encode())
        except (BackendError, OutboxError) as error:
            return part_report(error)
        await self.outbox.discard(number)
        return part_report(None)


def _device(device: Device) -> dict[str, Any]:
    return {
        "id": device.id,
        "backend": device.backend,
        "name": device.name,
        "via": device.via,
        "model": device.model,
        "available": device.available,
        "keys": {entity.key: entity.component for entity in device.entities},
        "state": device.state,
        "attributes": device.attributes,
    }


def _dead_letter(letter: Any) -> dict[str, Any]:
    return {
        "id": letter.id,
        "backend": letter.backend,
        "kind": letter.kind,
        "error": letter.error,
        "at": stamp(letter.at),
        "count": letter.count,
        "body": letter.body,
    }
