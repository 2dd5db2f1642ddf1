"""Device groups: the group tree as a flat mapping, and the members of each group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext

from fleet2mqtt.errors import BackendError
from fleet2mqtt.platforms.thingscloud.client import Client
from fleet2mqtt.platforms.thingscloud.models import JsonObject, json_objects
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.pagination import Listing, Page, Position
from fleet2mqtt.sdk.rate_limiter import deferred
from fleet2mqtt.sdk.sweep import Sweep

MAX_DEPTH = 32


def device_listing(
    client: Client,
    *,
    type_: str | None = None,
    group: str | None = None,
    is_deferred: Callable[[], bool] = lambda: False,
) -> Listing:
    """Return the paginated list of all devices, or of those of one type or group, in the largest pages accepted.

    Other polls overtake the call for a page while `is_deferred` is True.
    """
    records: int | None = None

    async def read_first(size: int | None) -> Page:
        return await client.devices(1, type_=type_, group=group, records=size)

    async def fetch(position: Position) -> Page:
        nonlocal records
        with deferred() if is_deferred() else nullcontext():
            if position.number == 1:
                records, page = await client.page_size.read_first(read_first)
                return page
            return await client.devices(position.number, type_=type_, group=group, records=records)

    return Listing(fetch=fetch, key=lambda item: vendor_json.text(item.get("id")))


def flatten_tree(tree: Iterable[JsonObject]) -> dict[str, str]:
    """Return the names of all groups by id, innermost first: a device's innermost group is its place."""
    groups: list[tuple[int, str, str]] = []

    def walk(children: Iterable[JsonObject], depth: int) -> None:
        for group in children:
            id_ = vendor_json.text(group.get("id"))
            if id_ is not None:
                groups.append((-depth, id_, vendor_json.text(group.get("name")) or id_))
            if depth < MAX_DEPTH:
                walk(json_objects(group.get("children")), depth + 1)

    walk(tree, 0)
    return {id_: name for _, id_, name in sorted(groups, key=lambda group: group[0])}


async def read_members(
    client: Client, groups: Iterable[str], previous: Mapping[str, frozenset[str]]
) -> dict[str, frozenset[str]]:
    """Return the groups of each device by vendor id. One list per group costs fewer calls than one per device.

    Where a group's list fails, or was not read completely, its `previous` members stay in it. Raises BackendError if
    every list fails.
    """
    members: defaultdict[str, set[str]] = defaultdict(set)
    sweep = Sweep()

    async def read_group(group: str) -> Listing:
        listing = device_listing(client, group=group)
        async for page in listing.pages():
            for vendor_id in page.keys:
                members[vendor_id].add(group)
        return listing

    async for group, result in sweep.run(groups, read_group):
        if isinstance(result, BackendError) or not (result.complete or result.empty):
            for vendor_id, before in previous.items():
                if group in before:
                    members[vendor_id].add(group)
    return {vendor_id: frozenset(ids) for vendor_id, ids in members.items()}
