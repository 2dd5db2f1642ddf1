"""Logins that fail or are refused: the error, and when the login is repeated."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.errors import Ambiguous, AuthenticationError, BackendError, InvalidResponse, Rejected, Unreachable
from tests.platforms.omstation.connected import ACCOUNT, NAME, Shared, calls, connected, logins, simulated, url_of
from tests.platforms.omstation.simulated import LOGIN, SIGN_IN, STATIONS, path


async def test_refused_login_keeps_the_data_of_the_last_one() -> None:
    async with simulated() as (simulator, run):
        await run.poll()
        before = run.state(NAME)
        simulator.set_password("admin", "changed")
        simulator.expire_tokens()
        with pytest.raises(AuthenticationError):
            await run.poll("lattices")
        assert run.state(NAME) == before


@pytest.mark.parametrize(("code", "expired"), [(103, False), (106, True)])
async def test_wrong_credentials_cause_one_login_across_restarts(
    code: int, expired: bool, shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "fleet2mqtt")
    async with simulated(shared=shared) as (simulator, run):
        if expired:
            simulator.expired_accounts.add("admin")
        else:
            simulator.accounts["admin"] = "other"
        for name in ("stations", "lattices", "authorisations"):
            with pytest.raises(AuthenticationError, match="not tried again before") as raised:
                await run.poll(name)
            assert raised.value.code == code
            assert raised.value.endpoint == "login/userLogin"
        for _ in range(50):
            async with connected(url_of(run), shared) as again:
                with pytest.raises(AuthenticationError):
                    await again.poll("stations")
        assert logins(simulator) == 1
        assert shared.file.stat().st_mode & 0o777 == 0o600
        assert not caplog.records


async def test_refused_login_is_repeated_with_growing_pauses(shared: Shared) -> None:
    async with simulated(shared=shared) as (simulator, run):
        url = url_of(run)
        simulator.accounts["admin"] = "other"
        with pytest.raises(AuthenticationError):
            await run.poll("stations")
        for count, wait in enumerate((300, 600, 1200, 2400, 3600, 3600), 1):
            assert shared.saved()["denial"]["count"] == count
            for back, tried in ((wait - 100, 0), (wait + 1, 1)):
                found = shared.saved()
                found["denial"]["at"] -= back
                shared.file.write_text(json.dumps(found))
                before = logins(simulator)
                async with connected(url, shared) as again:
                    with pytest.raises(AuthenticationError):
                        await again.poll("stations")
                assert logins(simulator) == before + tried
                if not tried:
                    found["denial"]["at"] += back
                    shared.file.write_text(json.dumps(found))
        simulator.accounts["admin"] = ACCOUNT["password"]
        found = shared.saved()
        found["denial"]["at"] += 86_400  # the clock went back
        shared.file.write_text(json.dumps(found))
        async with connected(url, shared) as again:
            await again.poll("stations")
        assert "denial" not in shared.saved()


async def test_corrected_password_is_tried_at_once(shared: Shared) -> None:
    async with simulated(shared=shared, password="wrong") as (_, run):
        with pytest.raises(AuthenticationError):
            await run.poll("stations")
        async with connected(url_of(run), shared) as again:
            await again.poll("stations")
            assert again.of("stations")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": "status", "status": 500}, InvalidResponse),
        ({"kind": "status", "status": 401}, AuthenticationError),
        ({"kind": "error", "code": 102}, Rejected),
        ({"kind": "error", "code": 105}, Ambiguous),
        ({"kind": "garbage"}, InvalidResponse),
        ({"kind": "malformed"}, InvalidResponse),
        ({"kind": "reset"}, Ambiguous),
    ],
)
async def test_failing_login_raises_the_narrowest_error(fault: dict[str, Any], kind: type[BackendError]) -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject(path=path(SIGN_IN), **fault)
        with pytest.raises(kind) as raised:
            await run.poll("stations")
        assert type(raised.value) is kind
        assert not calls(simulator, STATIONS)
        assert LOGIN["password"] not in str(raised.value)


async def test_unreachable_vendor_raises_unreachable(shared: Shared) -> None:
    async with simulated(shared=shared) as (_, run):
        url = url_of(run)
    async with connected(url, shared) as run:
        with pytest.raises(Unreachable):
            await run.poll("stations")


async def vendor(shared: Shared, answer: dict[str, Any], **own: Any) -> BackendError:
    """Return the error of a poll; the vendor responds to the login with `answer`, and to all else with its token."""

    async def handle(request: web.Request) -> web.Response:
        if request.path.endswith("userLogin"):
            return web.json_response(answer)
        return web.json_response({"code": 7, "message": f"cannot use {request.headers['token']}"})

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    async with TestServer(app) as server, connected(str(server.make_url("")), shared, **own) as run:
        with pytest.raises(BackendError) as raised:
            await run.poll("stations")
        return raised.value


async def test_login_without_token_or_organisation_is_an_invalid_response(shared: Shared) -> None:
    answers: tuple[Any, ...] = (None, [], {"tokenId": ""}, {"tokenId": None})
    for data in answers:
        error = await vendor(shared, {"code": 200, "message": "ok", "data": data})
        assert (type(error), error.code) == (InvalidResponse, "no_token")
    error = await vendor(shared, {"code": 200, "data": {" tokenID ": "secret-token"}})
    assert (type(error), error.code) == (InvalidResponse, "no_org_id")
    assert "org_id" in str(error)


async def test_errors_contain_no_secret(shared: Shared) -> None:
    data = {"tokenId": "secret-A33", "adminCode": "secret-code", "orgId": "O"}
    error = await vendor(shared, {"code": 200, "data": data})
    assert (type(error), str(error)) == (Rejected, "cannot use ***")
    assert error.__cause__ is None
    assert "secret-code" not in shared.file.read_text()
    error = await vendor(shared, {"code": 103, "message": f"not {LOGIN['password']}"}, username="else")
    assert LOGIN["password"] not in str(error)
    assert LOGIN["password"] not in shared.file.read_text()
