"""Search and order of devices: several words, MAC addresses in any notation, natural sort order."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fleet2mqtt.devices.builtin_entities import is_backend
from fleet2mqtt.devices.model import STATELESS, Device
from fleet2mqtt.devices.registry import Registry

_NUMBER = re.compile(r"(\d+)")
_MAC = re.compile(
    r"(?<![0-9a-f])(?:[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4})(?![0-9a-f])"
)
_MAC_PART = re.compile(r"[0-9a-f]{2}(?:[:-][0-9a-f]{2}){2,5}[:-]?|[0-9a-f]{4}(?:\.[0-9a-f]{4}){1,2}")
_SEPARATORS = str.maketrans("", "", ":-.")
_MAX_KEY = 200
"""Characters of a name that its order is decided by."""
_BATCH = 1_000
"""Devices that are searched before others have a turn on the event loop."""

SortKey = tuple[str | int, ...]


def natural_key(text: str) -> SortKey:
    """Return the key that sorts texts with the numbers in them as numbers: A2 before A10."""
    parts = _NUMBER.split(text[:_MAX_KEY].casefold())
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts))


def searchable(parts: Iterable[str]) -> str:
    """Return the text in which `Query` looks for words: folded, with each MAC address also without separators."""
    text = "\n".join(parts).casefold()
    addresses = [match[0].translate(_SEPARATORS) for match in _MAC.finditer(text)]
    return "\n".join((text, *addresses)) if addresses else text


class Query:
    """The words of a search, all of which a text must contain; a MAC address, or part of one, in any notation."""

    def __init__(self, text: str) -> None:
        words = text.casefold().split()
        self._words = [
            (word, word.translate(_SEPARATORS) if _MAC_PART.fullmatch(word) else "") for word in dict.fromkeys(words)
        ]

    def __eq__(self, other: object) -> bool:
        """Return True for a search for the same words."""
        return isinstance(other, Query) and self._words == other._words

    def __hash__(self) -> int:
        return hash(tuple(self._words))

    def __bool__(self) -> bool:
        """Return False for a search without words, which every text matches."""
        return bool(self._words)

    def matches(self, text: str) -> bool:
        """Return True if a searchable text contains all words."""
        return all(word in text or (address and address in text) for word, address in self._words)


@dataclass(slots=True)
class _Entry:
    device: Device
    key: SortKey
    text: str | None = None


class DeviceIndex:
    """The devices of vendors in natural order of their names, searchable by names, ids, model, addresses and values."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._entries: dict[str, _Entry] = {}
        self._order: list[str] = []

    def ids(self) -> list[str]:
        """Return the ids of all devices, in natural order."""
        entries, present, reorder = self._entries, 0, False
        for id_, device in self._registry.devices.items():
            if not device.backend or is_backend(device):
                continue
            present += 1
            entry = entries.get(id_)
            if entry is None:
                entries[id_] = _Entry(device, natural_key(device.name))
                reorder = True
            elif entry.device is not device:
                if entry.device.name != device.name:
                    entry.key, reorder = natural_key(device.name), True
                entry.device, entry.text = device, None
        if present != len(entries):
            for id_ in entries.keys() - self._registry.devices.keys():
                del entries[id_]
            reorder = True
        if reorder:
            self._order = sorted(entries, key=lambda id_: (entries[id_].key, id_))
        return self._order

    async def find(self, query: Query, status: Callable[[Device], str]) -> list[str]:
        """Return the ids of the devices that match, in natural order; `status` returns words for a device's state."""
        ids = self.ids()
        if not query:
            return ids
        found = []
        for number, id_ in enumerate(ids, 1):
            entry = self._entries.get(id_)
            if entry is None:
                continue  # removed meanwhile
            if entry.text is None:
                entry.text = _text(entry.device)
            if query.matches(f"{entry.text}\n{status(entry.device)}"):
                found.append(id_)
            if not number % _BATCH:
                await asyncio.sleep(0)
        return [id_ for id_ in found if id_ in self._registry.devices]


def _text(device: Device) -> str:
    values = (
        str(device.state[entity.key])
        for entity in device.entities
        if not entity.secret and entity.component not in STATELESS and device.state.get(entity.key) is not None
    )
    facts = (device.id, device.name, device.model, device.backend, device.serial_number, device.location)
    groups = (device.groups or {}).values()
    connections = (value for _, value in device.connections)
    return searchable((*filter(None, facts), *groups, *device.tags, *connections, *values))
