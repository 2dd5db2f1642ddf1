"""The simulated omstation against its pages: authorisations, listed in pages and changed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.platforms.omstation.simulated import (
    COLLECTION,
    COLLECTIONS,
    DAY,
    DONE,
    PAGE,
    PERSON,
    TRANSFER,
    TRANSFERS,
    UPDATE_COLLECTION,
    UPDATE_TRANSFER,
    Omstation,
)

LISTED = {
    *("id", "type", "startTime", "endTime", "deviceTypes", "status"),
    *("createTime", "creatorId", "userName", "orgName", "authCode", "orgId"),
}
MISSING = object()


async def listed(omstation: Omstation, call: str = COLLECTIONS, **changes: Any) -> list[Any]:
    return list((await omstation.data(call, PAGE | changes))["data"])


async def test_simulator_collections_have_the_pages_fields(omstation: Omstation) -> None:
    data = await omstation.data(COLLECTIONS, PAGE)
    assert (list(data), data["total"], data["size"]) == (["total", "size", "data"], 9, 1)
    items = data["data"]
    assert all(set(item) >= LISTED for item in items)
    assert {item["deviceTypes"] for item in items} == {"701", "701,705", "701,705,709"}
    assert [item["createTime"] for item in items] == sorted((item["createTime"] for item in items), reverse=True)
    assert all(len(item["authCode"]) == 6 for item in items)


@pytest.mark.parametrize(("call", "statuses"), [(COLLECTIONS, (-1, 0, 1, 2, 3, 4)), (TRANSFERS, (-1, 0, 1))])
async def test_simulator_filters_lists_by_status(omstation: Omstation, call: str, statuses: tuple[int, ...]) -> None:
    everything = await listed(omstation, call)
    found = {status: await listed(omstation, call, status=status) for status in statuses}
    assert all(found.values())
    assert all(item["status"] == status for status, items in found.items() for item in items)
    assert sum(len(items) for items in found.values()) == len(everything)


async def test_simulator_filters_lists_by_text_and_date(omstation: Omstation) -> None:
    assert [item["toUser"] for item in await listed(omstation, key="DRIVER3@")] == ["Driver 3"]
    assert await listed(omstation, key="nobody") == []
    assert await listed(omstation, orgId="other") == []
    days = [item["createTime"][:10] for item in await listed(omstation)]
    found = await listed(omstation, startTime=days[3], endTime=days[1])
    assert [item["createTime"][:10] for item in found] == [day for day in days if days[3] <= day <= days[1]]


async def test_simulator_accepts_page_numbers_as_numbers_and_texts(omstation: Omstation) -> None:
    ids = [item["id"] for item in await listed(omstation)]
    pages = [await omstation.data(COLLECTIONS, PAGE | {"pageNum": page, "pageSize": "4"}) for page in (1, "2", 3, 4)]
    assert [[item["id"] for item in page["data"]] for page in pages] == [ids[:4], ids[4:8], ids[8:], []]
    assert [(page["total"], page["size"]) for page in pages] == [(9, 1), (9, 2), (9, 3), (9, 4)]
    omstation.simulator.size_is_page_size = True
    assert (await omstation.data(COLLECTIONS, PAGE | {"pageNum": 2, "pageSize": 4}))["size"] == 4


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
        {"startTime": ""},
        {"startTime": "2024-02-28T00:00:00Z"},
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


async def test_simulator_creates_a_collection_from_the_pages_sample(omstation: Omstation) -> None:
    """Faults 4.2: the sample has an empty id, null times and the types as an object in a text."""
    before = {item["id"] for item in await listed(omstation)}
    assert await omstation.call(UPDATE_COLLECTION, COLLECTION) == DONE
    (created,) = [item for item in await listed(omstation) if item["id"] not in before]
    assert (created["type"], created["deviceTypes"], created["status"]) == (0, "701,705", 0)
    assert (created["startTime"], created["endTime"], created["toUser"]) == (None, None, "Li Wei")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", created["createTime"])


async def test_simulator_changes_a_collection(omstation: Omstation) -> None:
    item = (await listed(omstation, status=0))[0]
    period = {"startTime": "2024-02-28 08:00:00", "endTime": "2099-02-28"}
    body = COLLECTION | {"id": item["id"], "type": "1", "deviceTypes": '{"709": "JT709A"}', **period}
    assert await omstation.call(UPDATE_COLLECTION, body) == DONE
    changed = next(other for other in await listed(omstation) if other["id"] == item["id"])
    assert changed == item | {"type": 1, "deviceTypes": "709"} | period | PERSON
    assert await omstation.call(UPDATE_COLLECTION, body | {"endTime": "2024-02-29"}) == DONE
    assert next(other for other in await listed(omstation) if other["id"] == item["id"])["status"] == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "none"},
        {"orgId": "other"},
        {"type": 3},
        {"type": True},
        {"deviceTypes": "701,705"},
        {"deviceTypes": {"701": "JT701"}},
        {"deviceTypes": "[701]"},
        {"deviceTypes": "{}"},
        {"deviceTypes": '{"702": "JT702"}'},
        {"startTime": None},
        {"startTime": "2024-03-28"},
        {"startTime": "yesterday"},
        {"phoneNum": 139},
        {"phoneNum": MISSING},
        {"endTime": MISSING},
        {"status": 0},
    ],
)
async def test_simulator_refuses_invalid_collections(omstation: Omstation, changes: dict[str, Any]) -> None:
    before = await listed(omstation)
    body = COLLECTION | {"id": before[0]["id"], "type": 1} | DAY | changes
    body = {name: value for name, value in body.items() if value is not MISSING}
    assert (await omstation.call(UPDATE_COLLECTION, body))["code"] == 102
    assert await listed(omstation) == before


async def test_simulator_changes_a_transfer(omstation: Omstation) -> None:
    item = (await listed(omstation, TRANSFERS))[0]
    shares = json.dumps([{"deviceType": 701, "count": 2}, {"deviceType": "705", "count": "1"}])
    assert await omstation.call(UPDATE_TRANSFER, TRANSFER | {"id": item["id"], "authInfo": shares}) == DONE
    assert (await listed(omstation, TRANSFERS))[0] == item | {"authInfo": shares} | PERSON
    assert await omstation.call(UPDATE_TRANSFER, TRANSFER) == DONE
    assert len(await listed(omstation, TRANSFERS)) == 6


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
    body = TRANSFER | {"id": before[0]["id"]} | changes
    assert (await omstation.call(UPDATE_TRANSFER, body))["code"] == 102
    assert await listed(omstation, TRANSFERS) == before
