"""The login: when and how often it is made, and what is saved on disk."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.errors import Ambiguous, AuthenticationError
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
