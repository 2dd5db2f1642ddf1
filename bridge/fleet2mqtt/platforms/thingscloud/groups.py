"""Groups of devices: the tree laid flat, and who is in which group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial

from fleet2mqtt.platforms.thingscloud.client import Client
from fleet2mqtt.platforms.thingscloud.models import Row, rows
from fleet2mqtt.platforms.thingscloud.paging import Listing
from fleet2mqtt.sdk import vendor_json

DEEPEST = 32


def flattened(tree: Iterable[Row]) -> dict[str, str]:
    """Id → name of all groups, innermost first: of a device's groups the first tells most about where it is."""
    found: list[tuple[int, str, str]] = []

    def walk(groups: Iterable[Row], depth: int) -> None:
        for group in groups:
            id_ = vendor_json.text(group.get("id"))
            if id_ is not None:
                found.append((-depth, id_, vendor_json.text(group.get("name")) or id_))
            if depth < DEEPEST:
                walk(rows(group.get("children")), depth + 1)

    walk(tree, 0)
    return {id_: name for _, id_, name in sorted(found, key=lambda each: each[0])}


async def read_groups(
    client: Client, groups: Iterable[str], before: Mapping[str, frozenset[str]]
) -> dict[str, frozenset[str]]:
    """Who is in which of these groups: device → groups. Asking group by group costs less than device by device.

    Of a list that could not be read whole, who was in it `before` still is. Raises BackendError.
    """
    members: defaultdict[str, set[str]] = defaultdict(set)
    for group in groups:
        listing = Listing(fetch=partial(client.devices, group=group))
        async for page in listing.pages():
            for row in page.rows:
                members[vendor_json.text(row["id"]) or ""].add(group)
        known_now = listing.complete or listing.empty
        for vendor_id in () if known_now else (vendor_id for vendor_id, known in before.items() if group in known):
            members[vendor_id].add(group)
    return {vendor_id: frozenset(found) for vendor_id, found in members.items()}
