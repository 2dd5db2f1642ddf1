"""The simulated omstation against its document: logging in, tokens, and what is taken at all."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest

from tests.platforms.omstation.simulated import (
    ADD_DEVICES,
    ADD_STATION,
    COLLECTIONS,
    LATTICES,
    LOGIN,
    ORG,
    SIGN_IN,
    STATIONS,
    TRANSFERS,
    UPDATE_COLLECTION,
    UPDATE_STATION,
    UPDATE_TRANSFER,
    Omstation,
    path,
    running,
)

SAMPLE = {
    "tokenId": "A334853698EF49DC98A1C8BA65149351",
    "userId": "620FF63E384345F4935BF6A1B9095A7B",
    "orgId": "520FF63E384345F4935BF6A1B9095A7B",
    "orgName": "Jiutong IoT",
    "timeDiff": 28800,
    "loginTime": "2024-02-28T01:10:56.979Z",
    "loginTimestamp": 1709082656979,
    "logoUrl": None,
    "defaultMenu": None,
    "dateFormat": "yyyy-MM-dd",
    "defaultMap": 1,
    "webTheme": "rgba(132, 15, 48, 1)",
    "adminCode": "ru+IU7pmWpCzW33Wk+J8pKbz79Ml3wPEOX5YoA/7d7AEEujflAIWyA2xXm7lgJQN",
    "moduleStyle": 0,
}
DRAWN = ("tokenId", "loginTime", "loginTimestamp", "adminCode")
EVERY_CALL = (
    *(STATIONS, LATTICES, ADD_STATION, UPDATE_STATION, ADD_DEVICES),
    *(COLLECTIONS, TRANSFERS, UPDATE_COLLECTION, UPDATE_TRANSFER),
)
MISSING = object()


def without(body: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (body | changes).items() if value is not MISSING}


async def test_simulator_login_is_the_documents_sample(omstation: Omstation) -> None:
    answer = await omstation.log_in()
    assert (answer["code"], answer["message"]) == (200, "Operation succeeded")
    data = answer["data"]
    assert list(data) == list(SAMPLE)
    assert data == SAMPLE | {name: data[name] for name in DRAWN}
    assert re.fullmatch(r"[0-9A-F]{32}", data["tokenId"])
    assert len(data["adminCode"]) == 64
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", data["loginTime"])
    stamp = datetime.fromisoformat(data["loginTime"]).timestamp() * 1000
    assert round(stamp) == data["loginTimestamp"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"password": "123456"}, 103),
        ({"password": LOGIN["password"].upper()}, 103),
        ({"userName": "root"}, 103),
        ({"password": 123456}, 102),
        ({"password": MISSING}, 102),
        ({"userName": ""}, 102),
        ({"remember": True}, 102),
    ],
)
async def test_simulator_refuses_invalid_logins(omstation: Omstation, changes: dict[str, Any], code: int) -> None:
    answer = await omstation.call(SIGN_IN, without(dict(LOGIN), changes))
    assert (answer["code"], answer["data"]) == (code, None)


async def test_simulator_account_can_be_locked_and_expire() -> None:
    async with running(logged_in=False) as omstation:
        omstation.simulator.lock_after = 2
        wrong = {"password": "0" * 32}
        assert [(await omstation.log_in(**wrong))["code"] for _ in range(2)] == [103, 103]
        answer = await omstation.log_in()
        assert (answer["code"], answer["message"]) == (103, "Account is locked")
        assert omstation.simulator.bad_logins == {"admin": 2}
        await omstation.control("account", {"userName": "admin", "unlock": True, "expired": True})
        assert (await omstation.log_in())["code"] == 106
        await omstation.control("account", {"userName": "admin", "expired": False})
        assert (await omstation.log_in())["code"] == 200
        assert omstation.simulator.login_count == 5


async def test_simulator_second_login_ends_the_first_in_single_session_mode(omstation: Omstation) -> None:
    for single, code in ((False, 200), (True, 104)):
        omstation.simulator.single_session = single
        old = dict(omstation.headers)
        await omstation.log_in()
        assert (await omstation.call(STATIONS, {"orgId": ORG}, **old))["code"] == code
        assert (await omstation.call(STATIONS, {"orgId": ORG}))["code"] == 200


@pytest.mark.parametrize("call", EVERY_CALL)
async def test_simulator_calls_need_a_token(omstation: Omstation, call: str) -> None:
    omstation.simulator.expire_tokens()
    answer = await omstation.call(call, {})
    assert answer == {"code": 104, "message": "Token error or expired", "data": None}
    omstation.headers.clear()
    assert (await omstation.call(call, {}))["code"] == 104
    await omstation.log_in()
    assert (await omstation.call(call, {}))["code"] == 102


async def test_simulator_missing_token_can_be_answered_otherwise(omstation: Omstation) -> None:
    omstation.simulator.expire_tokens()
    for answer, status in (("401", 401), ("403", 403), ("message", 200)):
        omstation.simulator.token_answer = answer
        assert await omstation.status(STATIONS, {"orgId": ORG}) == status
    reply = await omstation.call(STATIONS, {"orgId": ORG})
    assert reply["code"] == 1
    assert "token" in reply["message"]


async def test_simulator_accepts_only_posted_json(omstation: Omstation) -> None:
    for call in (SIGN_IN, *EVERY_CALL):
        async with omstation.client.get(path(call), headers=omstation.headers) as response:
            assert response.status == 405
        async with omstation.client.post(path(call), data={"orgId": ORG}, headers=omstation.headers) as response:
            assert response.status == 415
    assert await omstation.status("station/deleteStationInfo", {}) == 404
    for raw in (b"{", b"[]", b"", b"\xff"):
        headers = omstation.headers | {"Content-Type": "application/json"}
        async with omstation.client.post(path(STATIONS), data=raw, headers=headers) as response:
            assert (await response.json())["code"] == 102
