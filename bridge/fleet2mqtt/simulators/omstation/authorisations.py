"""The simulated calls about authorisations: to take locks ("collection"), and to move them ("transfer").

All fields are required, as the pages say. An empty `id` creates: both samples have one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from fleet2mqtt.simulators.fault_injection import FaultKind
from fleet2mqtt.simulators.omstation.data import make_authorisation
from fleet2mqtt.simulators.omstation.protocol import (
    ALL,
    AUTH_TYPES,
    COLLECTION_STATUSES,
    DEVICE_TYPE_NAMES,
    EXPIRED,
    PERIOD,
    TRANSFER_STATUSES,
    UNUSED,
    Code,
    RefusalError,
    Tree,
    device_type,
    is_date,
    is_filled,
    is_text,
    is_text_or_null,
    is_whole,
    list_in_text,
    object_in_text,
    one_of,
    one_of_or_text,
    parse_date,
    parse_period,
    refuse_unless,
)
from fleet2mqtt.simulators.omstation.state import Simulator

_QUERY = {
    **dict.fromkeys(("startTime", "endTime"), is_date),
    **dict.fromkeys(("pageNum", "pageSize"), is_whole),
    "orgId": is_filled,
    "key": is_text,
}
COLLECTION_QUERY = {**_QUERY, "status": one_of((ALL, *COLLECTION_STATUSES))}
TRANSFER_QUERY = {**_QUERY, "status": one_of((ALL, *TRANSFER_STATUSES))}

_PERSON = dict.fromkeys(("toUser", "phoneNum", "email", "descInfo"), is_text)
COLLECTION_FIELDS = {
    **_PERSON,
    "id": is_text,
    "type": one_of_or_text(AUTH_TYPES),
    "startTime": is_text_or_null,
    "endTime": is_text_or_null,
    "deviceTypes": is_text,
    "orgId": is_filled,
}
TRANSFER_FIELDS = {**_PERSON, "id": is_text, "authInfo": is_text, "orgId": is_filled}

_SEARCHED = ("userName", "toUser", "phoneNum", "email", "descInfo")


def list_collections(simulator: Simulator, body: Tree, path: str) -> Tree:
    """Serve `queryAuthCollectionList`, newest first."""
    return _page(simulator, simulator.collections.values(), body, path)


def list_transfers(simulator: Simulator, body: Tree, path: str) -> Tree:
    """Serve `queryAuthTransferList`, newest first."""
    return _page(simulator, simulator.transfers.values(), body, path)


def update_collection(simulator: Simulator, body: Tree, _: str) -> None:
    """Serve `updateAuthCollection`. The times count for type 1 only, which needs both; one that is over is expired."""
    types = object_in_text(body, "deviceTypes")
    refuse_unless(types.items() <= DEVICE_TYPE_NAMES.items(), "deviceTypes")
    kind, start, end = int(body["type"]), body["startTime"], body["endTime"]
    over = False
    if kind == PERIOD:
        try:
            first, last = parse_period(start or "", end=False), parse_period(end or "", end=True)
        except ValueError as error:
            raise RefusalError(Code.PARAMETER, "startTime, endTime") from error
        refuse_unless(first <= last, "startTime is after endTime")
        over = last < datetime.now(UTC)
    item = _item(simulator, simulator.collections, body)
    item |= {"type": kind, "startTime": start, "endTime": end, "deviceTypes": ",".join(types)}
    item |= {name: body[name] for name in _PERSON}
    if over:
        item["status"] = EXPIRED


def update_transfer(simulator: Simulator, body: Tree, _: str) -> None:
    """Serve `updateAuthTransfer`."""
    for share in list_in_text(body, "authInfo"):
        refuse_unless(isinstance(share, dict) and share.keys() == {"deviceType", "count"}, "authInfo")
        device_type(share["deviceType"])
        refuse_unless(is_whole(share["count"]), "count")
    item = _item(simulator, simulator.transfers, body)
    item |= {name: body[name] for name in ("authInfo", *_PERSON)}


def _item(simulator: Simulator, items: dict[str, Tree], body: Tree) -> Tree:
    """Return the authorisation that a body names, a new one for an empty id."""
    refuse_unless(body["orgId"] == simulator.org_id, "orgId")
    if body["id"]:
        refuse_unless(body["id"] in items, "id")
        return items[body["id"]]
    item = make_authorisation(simulator.rng, datetime.now(UTC), UNUSED)
    items[item["id"]] = item
    return item


def _page(simulator: Simulator, items: Iterable[Tree], body: Tree, path: str) -> Tree:
    number, size = int(body["pageNum"]), int(body["pageSize"])
    found = sorted((item for item in items if _passes(item, body)), key=lambda item: item["createTime"], reverse=True)
    if simulator.fault_injector.take(path, FaultKind.EMPTY):
        found = []
    offset = (number - 1) * size
    if 0 < offset < len(found) and simulator.fault_injector.take(path, FaultKind.DRIFT):
        found[offset - 1], found[offset] = found[offset], found[offset - 1]
    return {
        "total": len(found),
        "size": size if simulator.size_is_page_size else number,
        "data": [_listed(simulator, item) for item in found[offset : offset + size]],
    }


def _passes(item: Tree, body: Tree) -> bool:
    created = parse_date(item["createTime"][:10])
    return (
        item["orgId"] == body["orgId"]
        and body["status"] in (ALL, item["status"])
        and parse_date(body["startTime"]) <= created <= parse_date(body["endTime"])
        and any(body["key"].lower() in str(item[name]).lower() for name in _SEARCHED)
    )


def _listed(simulator: Simulator, item: Tree) -> dict[str, Any]:
    listed = dict(item)
    if simulator.null_strings:
        listed |= {name: item[name] or None for name in _PERSON} | {"orgName": None}
    return listed
