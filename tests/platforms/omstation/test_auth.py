"""The login: when and how often it is made, and what is saved on disk."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.errors import Ambiguous, AuthenticationError
from fleet2mqtt.sdk.http_client import HttpClient
from tests.platforms.omstation.connected import ACCOUNT, NAME, Shared, calls, connected, logins, simulated, url_of
from tests.platforms.omstation.simulated import ADD_DEVICES, COLLECTIONS, LATTICES, LOGIN, SIGN_IN, STATIONS, path

if TYPE_CHECKING:
    from pathlib import Path


async def test_connect_sends_nothing_before_the_first_poll() -> None:
    async with simulated() as (simulator, run):
        assert not simulator.fault_injector.calls
        assert [(source.name, source.interval, source.primary) for source in run.backend.sources] == [
            ("stations", 60.0, True),
            ("lattices", 60.0, False),
            ("authorisations", 600.0, False),
        ]


async def test_login_sends_lower_case_md5_once_and_the_token_goes_in_a_header() -> None:
    async with simulated(language="zh") as (simulator, run):
        await run.poll()
        (login,) = calls(simulator, SIGN_IN)
        assert login.body == LOGIN
        assert "token" not in login.headers
        others = [call for call in simulator.fault_injector.calls if call is not login]
        assert {call.headers["token"] for call in others} == set(simulator.tokens)
        assert {call.headers["lang"] for call in simulator.fault_injector.calls} == {"zh"}


async def test_concurrent_calls_share_one_login() -> None:
    async with simulated() as (simulator, run):
        await asyncio.gather(*(run.poll(name) for name in ("stations", "lattices", "authorisations")))
        assert logins(simulator) == 1
        simulator.expire_tokens()
        await asyncio.gather(*(run.poll(name) for name in ("stations", "lattices", "authorisations")))
        assert logins(simulator) == 2


async def test_token_and_login_data_survive_a_restart(shared: Shared) -> None:
    async with simulated(shared=shared) as (simulator, run):
        await run.poll("stations")
        facts = run.state(NAME)
        assert shared.file.stat().st_mode & 0o777 == 0o600
        assert shared.saved()["login"]["token"] in simulator.tokens
        url = url_of(run)
        assert url is not None
        async with connected(url, shared) as again:
            await again.poll()
            assert logins(simulator) == 1
            assert {key: again.state(NAME)[key] for key in facts} == facts
        found = shared.saved()
        found["login"] |= {"org_name": None, "time_diff": None, "login_time": None}
        shared.file.write_text(json.dumps(found))
        async with connected(url, shared) as again:
            await again.poll()
            assert logins(simulator) == 1
            assert {again.state(NAME)[key] for key in ("org_name", "time_diff", "login_time")} == {None}


@pytest.mark.parametrize("own", [{"username": "other"}, {"password": "changed"}])
async def test_saved_token_of_another_account_is_not_used(shared: Shared, own: dict[str, str]) -> None:
    async with simulated(shared=shared) as (simulator, run):
        await run.poll("stations")
        async with connected(url_of(run), shared, **own) as other:
            with pytest.raises(AuthenticationError):
                await other.poll("stations")
        assert logins(simulator) == 2


async def test_token_file_contains_neither_password_nor_hash(shared: Shared) -> None:
    async with simulated(shared=shared) as (simulator, run):
        await run.poll("stations")
        text = shared.file.read_text()
        simulator.accounts["admin"] = "changed"
        simulator.expire_tokens()
        with pytest.raises(AuthenticationError):
            await run.poll("stations")
        text += shared.file.read_text()
        assert ACCOUNT["password"] not in text.replace(shared.saved()["account"], "")
        assert LOGIN["password"] not in text
        assert "login" not in shared.saved()


async def test_torn_token_file_is_set_aside(shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    async with simulated(shared=shared) as (simulator, run):
        await run.poll("stations")
        whole = shared.file.read_bytes()
        wrong = shared.saved()
        facts = {**wrong["login"], "login_time": "yesterday"}
        torn = [whole[:at] for at in range(0, len(whole), 40)]
        torn += [b"[]", json.dumps({**wrong, "login": {"token": 7}}).encode()]
        torn += [json.dumps({**wrong, "login": facts}).encode()]
        for number, content in enumerate(torn, 2):
            shared.file.write_bytes(content)
            async with connected(url_of(run), shared) as again:
                await again.poll("stations")
            assert logins(simulator) == number
        token = shared.saved()["login"]["token"]
        assert list(shared.folder.glob("*.corrupt-*"))
        assert "set aside" in caplog.text
        assert token not in caplog.text


async def test_unusable_token_file_is_logged_and_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shared = Shared(tmp_path / "missing")
    async with simulated(shared=shared) as (simulator, run):
        await run.poll()
        assert logins(simulator) == 1
        assert "cannot be written" in caplog.text
    shared = Shared(tmp_path)
    shared.file.mkdir()
    async with simulated(shared=shared) as (_, run):
        await run.poll()
        assert "cannot be read" in caplog.text


@pytest.mark.parametrize("answer", [None, "401", "403", "message"])
async def test_refused_token_causes_one_login_and_one_repeated_call(answer: str | None) -> None:
    async with simulated() as (simulator, run):
        simulator.token_answer = answer or simulator.token_answer
        await run.poll("stations")
        for expected in (2, 3, 4):
            simulator.expire_tokens()
            await run.poll("stations")
            assert logins(simulator) == expected
            assert len(calls(simulator, STATIONS)) == 2 * expected - 1


async def test_write_with_a_refused_token_is_carried_out_once() -> None:
    async with simulated() as (simulator, run):
        await run.poll("stations")
        simulator.expire_tokens()
        simulator.add_answers = 200
        await run.act("device_register", deviceInfoList=[{"deviceType": 701, "deviceId": "7018800001"}])
        assert len(calls(simulator, ADD_DEVICES)) == 2
        assert simulator.devices["7018800001"] == 701


@pytest.mark.parametrize("fault", [{"kind": "error", "code": 104}, {"kind": "status", "status": 403}])
async def test_endpoint_that_refuses_a_new_token_causes_no_further_login(fault: dict[str, Any]) -> None:
    async with simulated() as (simulator, run):
        await run.poll("stations")
        simulator.fault_injector.inject(path=path(COLLECTIONS), **fault)
        for _ in range(5):
            with pytest.raises(AuthenticationError):
                await run.poll("authorisations")
        assert logins(simulator) == 2
        await run.poll("stations", "lattices")
        simulator.expire_tokens()
        await run.poll("stations")
        assert logins(simulator) == 3
        simulator.fault_injector.clear()
        await run.poll("authorisations")
        assert logins(simulator) == 3


async def test_org_id_option_selects_the_organisation(shared: Shared) -> None:
    async with simulated(shared=shared, org_id="other") as (simulator, run):
        await run.poll("stations")
        assert not run.of("stations")
        assert [call.body for call in calls(simulator, STATIONS)] == [{"orgId": "other"}]
        await run.act("station_list", orgId="third")
        assert calls(simulator, STATIONS)[-1].body == {"orgId": "third"}


async def test_response_105_causes_neither_login_nor_repetition() -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("error", path(LATTICES), code=105, text="token")
        with pytest.raises(Ambiguous) as raised:
            await run.poll("lattices")
        assert raised.value.code == 105
        assert logins(simulator) == 1
        assert len(calls(simulator, LATTICES)) == 2


EARLIER_URL = "https://omstation.example"
EARLIER_LOGIN = (
    b'{"account":"7a4c7e36a840beb1b34e2fe7a95ac97479212bd37c6892fd94b28d4792d04fd088da8b8942a08e3a0de384fb180267d35c45f1925'
    b'ae5b97a4ce2c855ceb23ef7","salt":"7fa4081571180d5ba94ac3c210283f77","login":{"token":"earlier-token","org_id":"7",'
    b'"org_name":"Example","time_diff":28800,"login_time":"2024-02-28T00:00:00+00:00"}}'
)
EARLIER_DENIAL = (
    b'{"account":"7ff1a2b84de3a8109fbc2ad1bd4ba001401fdaed7c258d68ccd88af5b85517803b976af3e5293247dc4fcf319ed92aa2e86f22914'
    b'a8f59533c98fb656de3cf60","salt":"223c976f3d6c922c374b3f88878a6a19","denial":{"code":101,"text":"wrong password",'
    b'"at":4102444800.0,"count":1}}'
)
"""Files as 0.1.0 wrote them for EARLIER_URL and ACCOUNT; the denial is of the year 2100."""


async def test_token_file_of_0_1_0_costs_no_login(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, str]] = []

    async def call(_: HttpClient, __: str, ___: str, *, endpoint: str, headers: Any, **____: Any) -> dict[str, Any]:
        sent.append((endpoint, headers["token"]))
        return {}

    monkeypatch.setattr(HttpClient, "call", call)
    shared.file.write_bytes(EARLIER_LOGIN)
    async with connected(EARLIER_URL, shared) as run:
        session = run.backend.client.client.session
        await session.call("anything", {})
        assert sent == [("anything", "earlier-token")]
        assert (session.current.org_id, session.current.time_diff) == ("7", 28800)
    assert shared.file.read_bytes() == EARLIER_LOGIN


async def test_denial_in_a_file_of_0_1_0_holds(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 4102444801.0)
    shared.file.write_bytes(EARLIER_DENIAL)
    async with connected(EARLIER_URL, shared) as run:
        with pytest.raises(AuthenticationError, match="wrong password; not tried again before 2100-01-01T00:05:00"):
            await run.poll("stations")
    assert shared.file.read_bytes() == EARLIER_DENIAL
