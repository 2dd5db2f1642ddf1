"""Logins, tokens and rate limit of the simulated ThingsCloud, and its responses to invalid calls."""

from __future__ import annotations

from typing import Any

import pytest

from fleet2mqtt.simulators.thingscloud import OPERATIONS
from tests.platforms.thingscloud.simulated import API, FIRST, TOKEN, Cloud

SERVER = {"app_id": "app-demo", "access_key": "demo-access-key", "secret_key": "demo-secret-key"}
ADMIN = {"app_id": "app-demo", "account": "admin", "password": "demo-password"}


async def test_server_login_returns_a_token(cloud: Cloud) -> None:
    cloud.token = ""
    info = await cloud.post("access_token", SERVER)
    assert list(info) == ["access_token", "expires_in"]
    assert info["expires_in"] == 86_400
    cloud.token = info["access_token"]
    assert (await cloud.get("devices"))["total"] == 2
    assert await cloud.refused("GET", "admin") == 403
    cloud.simulator.quirks.no_expires_in = True
    assert list(await cloud.post("access_token", SERVER)) == ["access_token"]
    assert cloud.simulator.logins == 2


async def test_admin_login_returns_a_token(cloud: Cloud) -> None:
    info = await cloud.post("admin_login", ADMIN)
    assert list(info) == ["access_token"]
    cloud.token = info["access_token"]
    admin = await cloud.get("admin")
    assert set(admin) == {"id", "account", "name", "email", "tags"}
    assert admin["account"] == "admin"


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("access_token", SERVER | {"secret_key": "x"}, 403),
        ("access_token", SERVER | {"app_id": "x"}, 403),
        ("access_token", ADMIN, 400),
        ("admin_login", ADMIN | {"password": "x"}, 403),
        ("admin_login", ADMIN | {"account": 1}, 400),
        ("admin_login", {}, 400),
    ],
)
async def test_wrong_login_is_refused(cloud: Cloud, path: str, body: Any, code: int) -> None:
    assert await cloud.refused("POST", path, body) == code


async def test_account_is_locked_after_failed_logins(cloud: Cloud) -> None:
    cloud.simulator.lock_after = 2
    wrong = ADMIN | {"password": "x"}
    await cloud.refused("POST", "admin_login", wrong)
    await cloud.post("admin_login", ADMIN)
    for body in (wrong, wrong, ADMIN, ADMIN):
        assert await cloud.refused("POST", "admin_login", body) == 403
    assert cloud.simulator.logins == 6
    await cloud.post("access_token", SERVER)
    cloud.simulator.unlock()
    await cloud.post("admin_login", ADMIN)


@pytest.mark.parametrize("status", [200, 401])
async def test_call_without_valid_token_is_refused(cloud: Cloud, status: int) -> None:
    cloud.simulator.quirks.token_401 = status == 401
    for header in ("", TOKEN, f"Basic {TOKEN}", "Bearer nonsense"):
        received, answer = await cloud.call("GET", "devices", headers={"Authorization": header})
        assert (received, answer["result"], answer["errcode"]) == (status, False, 401)
    assert (await cloud.get("devices"))["total"] == 2
    cloud.simulator.expire_tokens()
    received, answer = await cloud.call("GET", "devices")
    assert (received, answer["result"]) == (status, False)
    assert "token" in answer["message"]
    cloud.token = (await cloud.post("access_token", SERVER))["access_token"]
    assert (await cloud.get("devices"))["total"] == 2


async def test_token_expires_after_expires_in(cloud: Cloud) -> None:
    cloud.simulator.token_seconds = 0
    info = await cloud.post("access_token", SERVER)
    assert info["expires_in"] == 0
    cloud.token = info["access_token"]
    assert await cloud.refused("GET", "devices") == 401
    cloud.token = TOKEN
    assert (await cloud.get("devices"))["total"] == 2


def test_every_call_of_the_document_is_implemented() -> None:
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == len(OPERATIONS) == 42


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}")
async def test_each_call_refuses_invalid_requests(cloud: Cloud, operation: Any) -> None:
    values = {"device_id": FIRST, "identifier": "relay1", "customer_id": "c", "type_id": "t"}
    path = operation.path.format(**values).removeprefix(API)
    if not operation.is_open:
        cloud.token = ""
        assert await cloud.refused(operation.method, path) == 401
        cloud.token = TOKEN
    if operation.method in ("POST", "PUT"):
        invalid = {"result": False, "message": "Invalid JSON message", "errcode": 400}
        header = {"Content-Type": "application/json"}
        for raw in (b"", b'{"a": ', b'{"a": NaN}', b"\xff"):
            assert await cloud.call(operation.method, path, data=raw, headers=header) == (404, invalid)
        plain = {"Content-Type": "text/plain"}
        assert await cloud.call(operation.method, path, data=b"{}", headers=plain) == (404, invalid)
        assert await cloud.refused(operation.method, path, []) == 400
        assert await cloud.refused(operation.method, path, {}) in (400, 404)
    assert await cloud.call("PATCH", path) == (404, {"message": "Request invalid"})
    assert await cloud.call(operation.method, f"{path}/") == (404, {"message": "Request invalid"})


async def test_unknown_path_is_404(cloud: Cloud) -> None:
    assert await cloud.call("GET", "nothing") == (404, {"message": "Request invalid"})
    assert await cloud.call("POST", "../../nothing") == (404, {"message": "Request invalid"})


async def test_calls_beyond_the_rate_are_429(cloud: Cloud) -> None:
    cloud.simulator.max_rate = 0.01
    assert (await cloud.call("GET", "project"))[0] == 200
    async with cloud.client.get(f"{API}project") as response:
        assert response.status == 429
        assert 0 < int(response.headers["Retry-After"]) <= 100
    assert len(cloud.simulator.arrivals) == 2
    cloud.simulator.max_rate = None
    assert (await cloud.call("GET", "project"))[0] == 200
    assert list(cloud.simulator.arrivals) == sorted(cloud.simulator.arrivals)
    cloud.simulator.max_rate = 3
    statuses = [(await cloud.call("GET", "project"))[0] for _ in range(4)]
    assert statuses[:3] == [200] * 3
