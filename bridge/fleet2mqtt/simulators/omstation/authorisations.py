"""The simulated calls about authorisations: to take locks ("collection"), and to move them ("transfer")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fleet2mqtt.simulators.fault_injection import FaultKind
from fleet2mqtt.simulators.omstation.protocol import (
    ALL,
    AUTH_TYPES,
    COLLECTION_STATUSES,
    PERIOD,
    TRANSFER_STATUSES,
    Tree,
    device_type,
    is_filled,
    is_text,
    is_time,
    is_time_or_blank,
    is_whole,
    list_in_text,
    one_of,
    parse_time,
    refuse_unless,
)
from fleet2mqtt.simulators.omstation.state import Simulator

QUERY_FIELDS = {"orgId": is_filled, "pageNum": is_whole, "pageSize": is_whole}
_FILTERS = {"startTime": is_time_or_blank, "endTime": is_time_or_blank, "key": is_text}
COLLECTION_FILTERS = {**_FILTERS, "status": one_of((ALL, *COLLECTION_STATUSES))}
TRANSFER_FILTERS = {**_FILTERS, "status": one_of((ALL, *TRANSFER_STATUSES))}

PERSON_FIELDS = dict.fromkeys(("toUser", "phoneNum", "email", "descInfo"), is_text)
COLLECTION_FIELDS = {"id": is_filled, "type": one_of(AUTH_TYPES), "deviceTypes": is_text, "orgId": is_filled}
COLLECTION_OPTIONAL = {**PERSON_FIELDS, "startTime": is_time_or_blank, "endTime": is_time_or_blank}
TRANSFER_FIELDS = {"id": is_filled, "authInfo": is_text, "orgId": is_filled}

_SEARCHED = ("userName", "toUser", "phoneNum", "email", "descInfo")


def list_collections(simulator: Simulator, body: Tree, path: str) -> Tree:
    """`queryAuthCollectionList`, newest first."""
    return _page(simulator, simulator.collections.values(), body, path)


def list_transfers(simulator: Simulator, body: Tree, path: str) -> Tree:
    """`queryAuthTransferList`, newest first."""
    return _page(simulator, simulator.transfers.values(), body, path)


def update_collection(simulator: Simulator, body: Tree, _: str) -> None:
    """`updateAuthCollection`; a period needs both its times. What the body leaves out stays."""
    row = _row(simulator, simulator.collections, body)
    kinds = [device_type(kind) for kind in list_in_text(body, "deviceTypes")]
    start, end = body.get("startTime", ""), body.get("endTime", "")
    if body["type"] == PERIOD:
        refuse_unless(is_time(start) and is_time(end), "startTime, endTime")
    if start and end:
        refuse_unless(parse_time(start) <= parse_time(end), "startTime is after endTime")
    row |= _given(body, "type", "startTime", "endTime", *PERSON_FIELDS)
    row["deviceTypes"] = ",".join(str(kind) for kind in kinds)


def update_transfer(simulator: Simulator, body: Tree, _: str) -> None:
    """`updateAuthTransfer`. What the body leaves out stays."""
    row = _row(simulator, simulator.transfers, body)
    for share in list_in_text(body, "authInfo"):
        refuse_unless(isinstance(share, dict) and share.keys() == {"deviceType", "count"}, "authInfo")
        device_type(share["deviceType"])
        refuse_unless(is_whole(share["count"]), "count")
    row |= _given(body, "authInfo", *PERSON_FIELDS)


def _row(simulator: Simulator, rows: dict[str, Tree], body: Tree) -> Tree:
    refuse_unless(body["id"] in rows, "id")
    refuse_unless(body["orgId"] == simulator.org_id, "orgId")
    return rows[body["id"]]


def _given(body: Tree, *names: str) -> Tree:
    return {name: body[name] for name in names if name in body}


def _page(simulator: Simulator, rows: Iterable[Tree], body: Tree, path: str) -> Tree:
    number, size = int(body["pageNum"]), int(body["pageSize"])
    found = sorted((row for row in rows if _passes(row, body)), key=lambda row: str(row["createTime"]), reverse=True)
    if simulator.fault_injector.take(path, FaultKind.EMPTY):
        found = []
    offset = (number - 1) * size
    if 0 < offset < len(found) and simulator.fault_injector.take(path, FaultKind.DRIFT):
        found[offset - 1], found[offset] = found[offset], found[offset - 1]
    return {
        "total": len(found),
        "size": size if simulator.size_is_page_size else number,
        "data": [_shown(simulator, row) for row in found[offset : offset + size]],
    }


def _passes(row: Tree, body: Tree) -> bool:
    created = parse_time(row["createTime"])
    return (
        row["orgId"] == body["orgId"]
        and body.get("status", ALL) in (ALL, row["status"])
        and (not body.get("startTime") or parse_time(body["startTime"]) <= created)
        and (not body.get("endTime") or created <= parse_time(body["endTime"]))
        and any(body.get("key", "").lower() in str(row[name]).lower() for name in _SEARCHED)
    )


def _shown(simulator: Simulator, row: Tree) -> dict[str, Any]:
    shown = dict(row)
    if simulator.naive_create_time:
        shown["createTime"] = row["createTime"][:19]
    if simulator.null_strings:
        shown |= {name: row[name] or None for name in PERSON_FIELDS} | {"orgName": None}
    return shown
