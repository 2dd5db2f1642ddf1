"""The access token: both logins, token file, renewal, and refused credentials."""

from __future__ import annotations

import asyncio
import json
import logging
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from fleet2mqtt.config.loader import parse
from fleet2mqtt.errors import (
    Ambiguous,
    AuthenticationError,
    ConfigError,
    InvalidResponse,
    RateLimited,
    Rejected,
    Unreachable,
)
from fleet2mqtt.platforms import thingscloud
from fleet2mqtt.sdk.http_client import HttpClient
from tests.platforms.context import Shared
from tests.platforms.thingscloud.connected import (
    ADMIN,
    DEVICE,
    LOGIN,
    NAME,
    SERVER,
    calls,
    connected,
    restartable,
    scripted,
    simulated,
)

if TYPE_CHECKING:
    from pathlib import Path

WRONG = SERVER | {"secret_key": "a-wrong-secret"}


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return Shared(folder=tmp_path)


def token_file(shared: Shared) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shared.folder / f"{NAME}.token.json").read_text())
    return found


def change_token_file(shared: Shared, **fields: Any) -> None:
    file = shared.folder / f"{NAME}.token.json"
    file.write_text(json.dumps(token_file(shared) | fields))


EITHER = "access_key and secret_key, or account and password"
ANOTHER = f"there is another login; expected either {EITHER}"


@pytest.mark.parametrize(
    ("login", "faults"),
    [
        ([], [f"2: backends.t: missing; expected {EITHER}"]),
        (["access_key: k"], ["6: backends.t.access_key: needs secret_key beside it"]),
        (["access_key:", "secret_key: s"], ["7: backends.t.secret_key: needs access_key beside it"]),
        (["account: a"], ["6: backends.t.account: needs password beside it"]),
        (["secret_key: s", "access_key: k", "account: a", "password: p"], [f"8: backends.t.account: {ANOTHER}"]),
        (
            ["password: p", "access_key: k", "timeout: 0"],
            [
                "6: backends.t.password: needs account beside it",
                f"6: backends.t.password: {ANOTHER}",
                "7: backends.t.access_key: needs secret_key beside it",
                "8: backends.t.timeout: expected a number from 0.5 to 120",
            ],
        ),
        (
            ['access_key: ""', "secret_key: !env_var NOT_SET_AT_ALL"],
            [
                "6: backends.t.access_key: expected a text in one line that is not empty",
                "7: backends.t.secret_key: the environment variable NOT_SET_AT_ALL is not set, and no default is given",
            ],
        ),
    ],
)
def test_options_without_exactly_one_login_are_problems(login: list[str], faults: list[str], tmp_path: Path) -> None:
    text = "backends:\n  t:\n    platform: thingscloud\n    url: http://a\n    app_id: x\n"
    file = tmp_path / "f.yaml"
    with pytest.raises(ConfigError) as raised:
        parse(text + "".join(f"    {line}\n" for line in login), file)
    assert [fault.removeprefix(f"{file}:") for fault in raised.value.problems] == faults


@pytest.mark.parametrize("login", [SERVER, ADMIN, SERVER | {"account": None, "password": None}])
def test_one_login_is_no_problem(login: dict[str, str]) -> None:
    assert list(thingscloud.check(login)) == []


async def test_connect_makes_no_call() -> None:
    async with simulated() as (simulator, run):
        assert not simulator.fault_injector.calls
        assert run.backend.quota == {"concurrency": 1, "requests_per_second": 1000}


@pytest.mark.parametrize(
    ("options", "path", "life"), [(SERVER, "access_token", 86_400), (ADMIN, "admin_login", 604_800)]
)
async def test_concurrent_sources_log_in_once(options: Any, path: str, life: float, shared: Shared) -> None:
    async with simulated(shared=shared, **options) as (simulator, run):
        await asyncio.gather(*(run.poll(name) for name in ("devices", "stat", "alarms", "meta")))
        assert [call.body for call in calls(simulator, path)] == [options]
        assert simulator.logins == 1
        token = token_file(shared)["token"]
        assert {call.headers["Authorization"] for call in calls(simulator, "devices")} == {f"Bearer {token}"}
        assert token_file(shared)["expires_at"] == pytest.approx(time.time() + life, abs=60)
        assert token_file(shared)["renew_at"] == pytest.approx(time.time() + 0.9 * life, abs=60)


async def test_token_is_reused_after_a_restart_by_the_same_account(shared: Shared) -> None:
    async with restartable(shared) as (simulator, start):
        for _ in range(3):
            async with start() as run:
                await run.poll("devices")
        assert simulator.logins == 1
        file = shared.folder / f"{NAME}.token.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "secret-key" not in file.read_text()
        assert [path.name for path in shared.folder.iterdir()] == [file.name]
        async with start(**ADMIN) as run:
            await run.poll("devices")
        assert simulator.logins == 2


async def test_token_of_another_url_or_app_is_not_used(shared: Shared) -> None:
    async with restartable(shared) as (first, start), restartable(shared) as (second, elsewhere):
        async with start() as run:
            await run.poll("devices")
        async with elsewhere() as run:
            await run.poll("devices")
        assert (first.logins, second.logins) == (1, 1)
        async with elsewhere(**SERVER | {"app_id": "another"}) as run:
            with pytest.raises(AuthenticationError):
                await run.poll("devices")
        assert second.logins == 2


EARLIER_TOKEN = (
    b'{"whose":"676057fdccbd5869","salt":"c616eb0d5713aff1","token":"earlier-token","renew_at":4495906242.862425,'
    b'"expires_at":4795906242.862427,"tried":"","refused_at":0.0,"refusals":0,"words":""}'
)
EARLIER_REFUSAL = (
    b'{"whose":"676057fdccbd5869","salt":"74f5cd9dc359b86b","token":"","renew_at":0.0,"expires_at":0.0,'
    b'"tried":"b211d578a36622c1","refused_at":4102444800.0,"refusals":1,"words":"the login was refused: wrong key"}'
)
"""Files as 0.1.0 wrote them for EARLIER_URL and SERVER; the refusal is of the year 2100."""
EARLIER_URL = "https://things.example"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Calls to EARLIER_URL: endpoint and headers; every call is answered with an empty page, a login with a token."""
    found: list[tuple[str, Any]] = []

    async def call(_: Any, __: str, path: str, *, headers: Any = None, **___: Any) -> dict[str, Any]:
        found.append((path, headers))
        return {"result": True, "info": {"access_token": "new-token"} if path == LOGIN else {}}

    monkeypatch.setattr(HttpClient, "call", call)
    return found


async def first_calls(shared: Shared, **own: Any) -> None:
    """Poll a device list of EARLIER_URL, which may fail after its calls."""
    async with connected(EARLIER_URL, shared, **own) as run:
        with suppress(InvalidResponse):
            await run.poll("devices")


async def test_token_file_of_0_1_0_costs_no_login(
    shared: Shared, sent: list[tuple[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    (shared.folder / f"{NAME}.token.json").write_bytes(EARLIER_TOKEN)
    await first_calls(shared)
    assert sent
    assert LOGIN not in [path for path, _ in sent]
    assert "earlier-token" in str(sent[0])
    assert not caplog.records


async def test_token_file_of_0_1_0_for_another_app_is_not_used(
    shared: Shared, sent: list[tuple[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    (shared.folder / f"{NAME}.token.json").write_bytes(EARLIER_TOKEN)
    await first_calls(shared, **SERVER | {"app_id": "another"})
    assert sent[0][0] == LOGIN
    assert "earlier-token" not in str(sent)
    assert not caplog.records


async def test_refusal_in_a_file_of_0_1_0_holds_for_the_same_secret(
    shared: Shared, sent: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 4102444801.0)
    (shared.folder / f"{NAME}.token.json").write_bytes(EARLIER_REFUSAL)
    async with connected(EARLIER_URL, shared) as run:
        with pytest.raises(AuthenticationError, match=r"wrong key; not tried again before 2100-01-01T00:05:00\+00:00"):
            await run.poll("devices")
    assert not sent
    await first_calls(shared, **WRONG)
    assert sent[0][0] == LOGIN


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"whose": 1}', '{"whose": 1, "salt": 2}', "\x00"])
async def test_invalid_token_file_is_replaced(torn: str, shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    (shared.folder / f"{NAME}.token.json").write_text(torn)
    async with simulated(shared=shared) as (simulator, run):
        await run.poll("devices", "stat")
        assert simulator.logins == 1
    assert token_file(shared)["token"]
    assert len(caplog.records) <= 1


async def test_unwritable_token_file_is_a_warning(shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    shared.folder /= "missing"
    async with simulated(shared=shared) as (simulator, run):
        await run.poll("devices", "stat")
        assert simulator.logins == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the next start logs in again" in caplog.text


async def test_token_is_renewed_before_it_expires(shared: Shared) -> None:
    async with restartable(shared) as (simulator, start):
        async with start() as run:
            await run.poll("devices")
        change_token_file(shared, renew_at=time.time() - 1)
        async with start() as run:
            await run.poll("devices", "stat")
        assert simulator.logins == 2
        change_token_file(shared, expires_at=time.time() - 1)
        async with start() as run:
            await run.poll("devices", "stat")
        assert simulator.logins == 3


async def test_token_is_used_until_it_expires_when_renewal_fails(shared: Shared) -> None:
    async with restartable(shared) as (simulator, start):
        async with start() as run:
            await run.poll("devices")
        change_token_file(shared, renew_at=time.time() - 1)
        simulator.fault_injector.inject("status", LOGIN, status=500)
        async with start() as run:
            await run.poll("devices", "stat")
            assert DEVICE in run.devices
        assert len(calls(simulator, "access_token")) == 2
        change_token_file(shared, expires_at=time.time() - 1)
        async with start() as run:
            with pytest.raises(InvalidResponse, match="HTTP 500"):
                await run.poll("devices")


@pytest.mark.parametrize("status", [200, 401])
async def test_refused_token_is_renewed_and_the_call_repeated(status: int) -> None:
    async with simulated() as (simulator, run):
        simulator.quirks.token_401 = status == 401
        await run.poll("devices", "attributes")
        simulator.expire_tokens()
        await run.write(DEVICE, "relay1", value=False)
        assert [call.body for call in calls(simulator, f"control/device/{DEVICE[7:]}/attributes")] == [
            {"relay1": False}
        ] * 2
        assert (await run.read(DEVICE)).state["relay1"] == "OFF"
        assert simulator.logins == 2
        simulator.expire_tokens()
        await asyncio.gather(*(run.poll(name) for name in ("devices", "stat", "alarms")))
        assert simulator.logins == 3


async def test_endpoint_that_refuses_every_token_is_not_a_login_loop() -> None:
    def answer(request: web.Request, _: Any) -> Any:
        if request.path.endswith("alarm_logs"):
            return web.json_response({"result": False, "errcode": 7, "message": "Not authorized"})
        return {"device_total": 1} if "stat" in request.path else None

    async with scripted(answer) as run:
        for _ in range(5):
            with pytest.raises(AuthenticationError, match="Not authorized"):
                await run.poll("alarms")
            await run.poll("stat")
        assert run.backend.calls["server_login"].calls == 2
        assert run.backend.calls["alarm_logs"].calls == 6


async def test_token_that_expires_at_once_is_not_a_login_loop() -> None:
    async with simulated() as (simulator, run):
        simulator.token_seconds = 0
        for _ in range(4):
            with pytest.raises(AuthenticationError, match="token"):
                await run.poll("devices")
        assert simulator.logins == 2


async def test_restarts_with_a_wrong_secret_log_in_once(shared: Shared) -> None:
    async with restartable(shared) as (simulator, start):
        for _ in range(50):
            async with start(**WRONG) as run:
                for name in ("devices", "attributes", "stat"):
                    with pytest.raises(AuthenticationError, match="the login was refused") as refused:
                        await run.poll(name)
                    assert "a-wrong-secret" not in str(refused.value)
        assert simulator.logins == 1
        assert "a-wrong-secret" not in (shared.folder / f"{NAME}.token.json").read_text()
        async with start() as run:  # other credentials are tried at once
            await run.poll("devices")
        assert simulator.logins == 2


async def test_refused_login_is_retried_with_growing_pauses(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    at = time.time()
    monkeypatch.setattr(time, "time", lambda: at)
    async with restartable(shared) as (simulator, start):
        logins = []
        for wait in (0, 299, 301, 599, 601, 1199, 1201, 3599, 3601):
            if wait:
                change_token_file(shared, refused_at=time.time() - wait)
            async with start(**WRONG) as run:
                with pytest.raises(AuthenticationError):
                    await run.poll("devices")
            logins.append(simulator.logins)
        assert logins == [1, 1, 2, 2, 3, 3, 4, 5, 6]
        async with start(**WRONG) as run:
            with pytest.raises(AuthenticationError, match=r"not tried again before 20.*with other credentials"):
                await run.poll("devices")
        change_token_file(shared, refused_at=time.time() + 9999)  # the clock was wrong then
        async with start(**WRONG) as run:
            with pytest.raises(AuthenticationError):
                await run.poll("devices")
        assert simulator.logins == 7


async def test_credentials_that_become_wrong_log_in_once_more(shared: Shared) -> None:
    async with simulated(shared=shared) as (simulator, run):
        await run.poll("devices")
        simulator.secret_key = "changed"
        await run.poll("devices")
        simulator.expire_tokens()
        for _ in range(3):
            with pytest.raises(AuthenticationError, match="refused"):
                await run.poll("devices")
        assert simulator.logins == 2
        assert not token_file(shared)["token"]


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (404, Rejected, "HTTP 404"),
        (429, RateLimited, "HTTP 429"),
        (401, AuthenticationError, "HTTP 401"),
        (b"<html>", InvalidResponse, "not JSON"),
        (b"[]", InvalidResponse, "not an object"),
        (b'{"result": true}', InvalidResponse, "no access_token"),
        (b'{"result": true, "info": {"access_token": ""}}', InvalidResponse, "no access_token"),
        (b'{"result": false}', AuthenticationError, "no reason given"),
        (
            b'{"result": false, "errcode": 9, "message": "bad demo-secret-key of demo-access-key"}',
            AuthenticationError,
            r"\*\*\* of",
        ),
    ],
)
async def test_login_response_is_classified(said: Any, error: type[Exception], words: str) -> None:
    async with scripted(lambda *_: web.Response(status=said) if isinstance(said, int) else said) as run:
        with pytest.raises(error, match=words) as raised:
            await run.poll("devices")
        assert "demo-" not in str(raised.value)
        with pytest.raises(error):
            await run.poll("devices")
        assert run.backend.calls["server_login"].calls == (1 if error is AuthenticationError else 2)


@pytest.mark.parametrize("expires_in", [None, 0, -5, "soon"])
async def test_login_without_lifetime_gets_the_documents(expires_in: Any, shared: Shared) -> None:
    def answer(request: web.Request, _: Any) -> Any:
        return {"access_token": "t", "expires_in": expires_in} if request.path == LOGIN else {"device_total": 1}

    async with scripted(answer, shared) as run:
        await run.poll("stat")
        assert token_file(shared)["expires_at"] == pytest.approx(time.time() + 86_400, abs=60)


async def test_unreachable_vendor_raises(unused_tcp_port: int) -> None:
    async with connected(f"http://127.0.0.1:{unused_tcp_port}") as run:
        with pytest.raises(Unreachable):
            await run.poll("devices")


async def test_secrets_are_in_no_output(shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    issued: list[str] = []

    def answer(request: web.Request, _: Any) -> Any:
        if request.path == LOGIN:
            issued.append(f"canary-{len(issued)}")
            return {"access_token": issued[-1], "expires_in": 60}
        words = f"bad token {request.headers['Authorization']} demo-secret-key"
        return web.json_response({"result": False, "message": words})

    async with scripted(answer, shared) as run:
        with pytest.raises(AuthenticationError, match="bad token") as refused:
            await run.poll("devices")
        told = repr((run.devices, run.updates, run.backend, refused.value)) + caplog.text
    assert issued == ["canary-0", "canary-1"]
    for secret in (*issued, "demo-secret-key"):
        assert secret not in told


async def test_lost_login_response_is_not_a_refusal(shared: Shared) -> None:
    async with simulated(shared=shared) as (simulator, run):
        simulator.fault_injector.inject("lost_answer", LOGIN, times=1)
        with pytest.raises(Ambiguous):
            await run.poll("devices")
        await run.poll("devices")
        assert DEVICE in run.devices
