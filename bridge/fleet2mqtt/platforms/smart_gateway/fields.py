"""The fields that polls request: those that published entities show, and no others. Document 1.1 and 1.2, `args`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet2mqtt.devices.model import EntityDescription
from fleet2mqtt.platforms.smart_gateway.client import ARGS
from fleet2mqtt.platforms.smart_gateway.entities import BONDING, GATEWAY

IDENTITY = ("sn", "alias", "state", "type", "version", "runtime")
"""Fields of `base` that make a gateway's device; its uptime shows whether the vendor's data is alive."""
PLACEHOLDERS = frozenset(("runtime", "remark", "qos", "record", "gps"))
"""Fields of `base` for which the list may send a placeholder, by the comments of document 1.1: a query owns them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedFields:
    """The `args` of the calls that polls make: `listed` those of devices/list, `queried` those of devices/query."""

    listed: Mapping[str, Any] = field(default_factory=lambda: ARGS)
    queried: Mapping[str, Any] = field(default_factory=lambda: ARGS)


def requested_fields(
    publishes: Callable[[EntityDescription], bool], *, queries_all: bool, channels: bool, rules: bool
) -> RequestedFields:
    """Return the fields to request.

    `publishes` tells whether an entity is published, `channels` and `rules` whether those devices are. What a
    query owns is requested in the list only where not every gateway is queried (`queries_all`).
    """
    shown = [entity.key for entity in GATEWAY if publishes(entity)]
    base = {_base_field(key) for key in shown} | set(IDENTITY) | ({"mapping"} if rules else set())
    network = [part for part in ARGS["network"] if any(key.startswith(f"{part}_") for key in shown)]
    parameters = [name for name in ARGS["parameters"] if name in shown]
    bonding = any(map(publishes, BONDING))
    listed = _args(
        base=_in_order(base - PLACEHOLDERS | {"runtime"} if queries_all else base),
        network=() if queries_all else network,
        parameters=parameters,
    )
    queried = _args(base=_in_order(base & PLACEHOLDERS | set(IDENTITY)), network=network)
    return RequestedFields(
        listed=listed | ({"channel": []} if channels or bonding else {}),
        queried=queried | ({"channel": []} if channels else {}),
    )


def _base_field(key: str) -> str:
    return "record" if key.startswith("record_") else key


def _in_order(names: set[str]) -> list[str]:
    return [name for name in ARGS["base"] if name in names]


def _args(**branches: Iterable[str]) -> dict[str, Any]:
    """Return the branches of which fields are requested."""
    return {branch: list(names) for branch, names in branches.items() if names}
