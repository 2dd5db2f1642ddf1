"""The simulated omstation against its pages: authorisations, listed in pages and changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.platforms.omstation.simulated import (
    COLLECTIONS,
    DAY,
    DONE,
    ORG,
    PAGE,
    TRANSFERS,
    UPDATE_COLLECTION,
    UPDATE_TRANSFER,
    Omstation,
)

LISTED = {
    *("id", "type", "startTime", "endTime", "deviceTypes", "status"),
    *("createTime", "creatorId", "userName", "orgName", "authCode", "orgId"),
}
PERSON = {"toUser": "Li Wei", "phoneNum": "139", "email": "li@example.com", "descInfo": "gate 3"}


async def listed(omstation: Omstation, call: str = COLLECTIONS, **changes: Any) -> list[Any]:
    return list((await omstation.data(call, PAGE | changes))["data"])


async def test_simulator_collections_have_the_pages_fields(omstation: Omstation) -> None:
    data = await omstation.data(COLLECTIONS, PAGE)
    assert (list(data), data["total"], data["size"]) == (["total", "size", "data"], 9, 1)
    rows = data["data"]
    assert all(set(row) >= LISTED for row in rows)
    assert {row["deviceTypes"] for row in rows} == {"701", "701,705", "701,705,709"}
    assert [row["createTime"] for row in rows] == sorted((row["createTime"] for row in rows), reverse=True)
    assert all(len(row["authCode"]) == 6 for row in rows)


@pytest.mark.parametrize(("call", "statuses"), [(COLLECTIONS, (-1, 0, 1, 2, 3, 4)), (TRANSFERS, (-1, 0, 1))])
async def test_simulator_filters_lists_by_status(omstation: Omstation, call: str, statuses: tuple[int, ...]) -> None:
    everything = await listed(omstation, call)
    found = {status: await listed(omstation, call, status=status) for status in statuses}
    assert all(found.values())
    assert all(row["status"] == status for status, rows in found.items() for row in rows)
    assert sum(len(rows) for rows in found.values()) == len(everything)


async def test_simulator_filters_lists_by_text_and_date(omstation: Omstation) -> None:
    assert [row["toUser"] for row in await listed(omstation, key="DRIVER3@")] == ["Driver 3"]
    assert await listed(omstation, key="nobody") == []
    assert await listed(omstation, orgId="other") == []
    times = [row["createTime"] for row in await listed(omstation)]
    found = await listed(omstation, startTime=times[3], endTime=times[1])
    assert [row["createTime"] for row in found] == times[1:4]


async def test_simulator_accepts_page_numbers_as_numbers_and_texts(omstation: Omstation) -> None:
    ids = [row["id"] for row in await listed(omstation)]
    pages = [await omstation.data(COLLECTIONS, PAGE | {"pageNum": page, "pageSize": "4"}) for page in (1, "2", 3, 4)]
    assert [[row["id"] for row in page["data"]] for page in pages] == [ids[:4], ids[4:8], ids[8:], []]
    assert [(page["total"], page["size"]) for page in pages] == [(9, 1), (9, 2), (9, 3), (9, 4)]
    omstation.simulator.size_is_page_size = True
    assert (await omstation.data(COLLECTIONS, PAGE | {"pageNum": 2, "pageSize": 4}))["size"] == 4
    assert len((await omstation.data(COLLECTIONS, {"orgId": ORG, "pageNum": 1, "pageSize": 20}))["data"]) == 9


@pytest.mark.parametrize(
    "changes",
    [
        {"pageNum": 0},
        {"pageNum": "0"},
        {"pageNum": True},
        {"pageSize": "ten"},
        {"pageSize": None},
        {"status": 9},
        {"status": "0"},
        {"startTime": "yesterday"},
        {"key": 7},
        {"orgId": ""},
        {"page": 1},
    ],
)
async def test_simulator_refuses_invalid_list_queries(omstation: Omstation, changes: dict[str, Any]) -> None:
    for call in (COLLECTIONS, TRANSFERS):
        assert (await omstation.call(call, PAGE | changes))["code"] == 102


async def test_simulator_transfers_have_fewer_statuses(omstation: Omstation) -> None:
    assert (await omstation.call(TRANSFERS, PAGE | {"status": 2}))["code"] == 102
    assert (await omstation.call(COLLECTIONS, PAGE | {"status": 2}))["code"] == 200


async def test_simulator_changes_a_collection(omstation: Omstation) -> None:
    row = (await listed(omstation, status=0))[0]
    body = {"id": row["id"], "type": 1, "deviceTypes": '[701, "709"]', "orgId": ORG} | DAY | PERSON
    assert await omstation.call(UPDATE_COLLECTION, body) == DONE
    changed = next(other for other in await listed(omstation) if other["id"] == row["id"])
    assert changed == row | {"type": 1, "deviceTypes": "701,709"} | DAY | PERSON
    body = {"id": row["id"], "type": 2, "deviceTypes": "[705]", "orgId": ORG}
    assert await omstation.call(UPDATE_COLLECTION, body) == DONE
    again = next(other for other in await listed(omstation) if other["id"] == row["id"])
    assert again == changed | {"type": 2, "deviceTypes": "705"}


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "none"},
        {"orgId": "other"},
        {"type": 3},
        {"type": "1"},
        {"type": True},
        {"deviceTypes": "701,705"},
        {"deviceTypes": [701]},
        {"deviceTypes": "[]"},
        {"deviceTypes": "[702]"},
        {"startTime": ""},
        {"startTime": "2024-03-28T00:00:00Z"},
        {"phoneNum": 139},
        {"status": 0},
    ],
)
async def test_simulator_refuses_invalid_collections(omstation: Omstation, changes: dict[str, Any]) -> None:
    before = await listed(omstation)
    body = {"id": before[0]["id"], "type": 1, "deviceTypes": "[701]", "orgId": ORG} | DAY | PERSON | changes
    assert (await omstation.call(UPDATE_COLLECTION, body))["code"] == 102
    assert await listed(omstation) == before


async def test_simulator_changes_a_transfer(omstation: Omstation) -> None:
    row = (await listed(omstation, TRANSFERS))[0]
    shares = json.dumps([{"deviceType": 701, "count": 2}, {"deviceType": "705", "count": "1"}])
    assert await omstation.call(UPDATE_TRANSFER, {"id": row["id"], "authInfo": shares, "orgId": ORG} | PERSON) == DONE
    assert (await listed(omstation, TRANSFERS))[0] == row | {"authInfo": shares} | PERSON


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "none"},
        {"authInfo": [{"deviceType": 701, "count": 2}]},
        {"authInfo": "[]"},
        {"authInfo": "{}"},
        {"authInfo": "[701]"},
        {"authInfo": '[{"deviceType": 701, "count": 0}]'},
        {"authInfo": '[{"deviceType": 1, "count": 1}]'},
        {"startTime": DAY["startTime"]},
    ],
)
async def test_simulator_refuses_invalid_transfers(omstation: Omstation, changes: dict[str, Any]) -> None:
    before = await listed(omstation, TRANSFERS)
    body = {"id": before[0]["id"], "authInfo": '[{"deviceType": 701, "count": 2}]', "orgId": ORG} | changes
    assert (await omstation.call(UPDATE_TRANSFER, body))["code"] == 102
    assert await listed(omstation, TRANSFERS) == before
