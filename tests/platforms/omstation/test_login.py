"""Logging in: when, how often, and what is kept on disk."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.errors import Ambiguous, AuthenticationError
from tests.platforms.omstation.connected import ACCOUNT, NAME, Shared, calls, connected, logins, simulated
from tests.platforms.omstation.simulated import ADD_DEVICES, COLLECTIONS, LATTICES, LOGIN, SIGN_IN, STATIONS, path

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return Shared(tmp_path)


async def test_nothing_is_sent_before_the_first_poll() -> None:
    async with simulated() as (simulator, run):
        assert not simulator.fault_injector.calls
        assert [(source.name, source.interval, source.primary) for source in run.backend.sources] == [
            ("stations", 60.0, True),
            ("lattices", 60.0, False),
            ("authorisations", 600.0, False),
        ]


async def test_one_login_for_everything_in_lower_case_hex_and_the_token_in_its_header() -> None:
    async with simulated(language="zh") as (simulator, run):
        await run.poll()
        (login,) = calls(simulator, SIGN_IN)
        assert login.body == LOGIN
        assert "token" not in login.headers
        others = [call for call in simulator.fault_injector.calls if call is not login]
        assert {call.headers["token"] for call in others} == set(simulator.tokens)
        assert {call.headers["lang"] for call in simulator.fault_injector.calls} == {"zh"}


async def test_one_login_at_a_time() -> None:
    async with simulated() as (simulator, run):
        await asyncio.gather(*(run.poll(name) for name in ("stations", "lattices", "authorisations")))
        assert logins(simulator) == 1
        simulator.expire_tokens()
        await asyncio.gather(*(run.poll(name) for name in ("stations", "lattices", "authorisations")))
        assert logins(simulator) == 2


async def test_the_token_outlives_a_restart_and_so_do_the_facts(shared: Shared) -> None:
    async with simulated(shared=shared) as (simulator, run):
        await run.poll("stations")
        facts = run.state(NAME)
        assert shared.file.stat().st_mode & 0o777 == 0o600
        assert shared.kept()["login"]["token"] in simulator.tokens
        url = run.backend.configuration_url
        assert url is not None
        async with connected(url, shared) as again:
            await again.poll()
            assert logins(simulator) == 1
            assert {key: again.state(NAME)[key] for key in facts} == facts
        found = shared.kept()
        found["login"] |= {"org_name": None, "time_diff": None, "login_time": None}
        shared.file.write_text(json.dumps(found))
        async with connected(url, shared) as again:
            await again.poll()
            assert logins(simulator) == 1
            assert not {"org_name", "time_diff", "login_time"} & again.state(NAME).keys()


@pytest.mark.parametrize("own", [{"username": "other"}, {"password": "changed"}])
async def test_a_token_is_good_for_its_account_only(shared: Shared, own: dict[str, str]) -> None:
    async with simulated(shared=shared) as (simulator, run):
        await run.poll("stations")
        async with connected(str(run.backend.configuration_url), shared, **own) as other:
            with pytest.raises(AuthenticationError):
                await other.poll("stations")
        assert logins(simulator) == 2


async def test_neither_password_nor_its_hash_is_kept(shared: Shared) -> None:
    async with simulated(shared=shared) as (simulator, run):
        await run.poll("stations")
        text = shared.file.read_text()
        simulator.accounts["admin"] = "changed"
        simulator.expire_tokens()
        with pytest.raises(AuthenticationError):
            await run.poll("stations")
        text += shared.file.read_text()
        assert ACCOUNT["password"] not in text.replace(shared.kept()["account"], "")
        assert LOGIN["password"] not in text
        assert "login" not in shared.kept()


async def test_a_torn_file_is_set_aside(shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    async with simulated(shared=shared) as (simulator, run):
        await run.poll("stations")
        whole = shared.file.read_bytes()
        wrong = shared.kept()
        facts = {**wrong["login"], "login_time": "yesterday"}
        torn = [whole[:at] for at in range(0, len(whole), 40)]
        torn += [b"[]", json.dumps({**wrong, "login": {"token": 7}}).encode()]
        torn += [json.dumps({**wrong, "login": facts}).encode()]
        for number, content in enumerate(torn, 2):
            shared.file.write_bytes(content)
            async with connected(str(run.backend.configuration_url), shared) as again:
                await again.poll("stations")
            assert logins(simulator) == number
        token = shared.kept()["login"]["token"]
        assert list(shared.folder.glob("*.corrupt-*"))
        assert "set aside" in caplog.text
        assert token not in caplog.text


async def test_without_a_file_it_works_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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
async def test_a_refused_token_costs_one_login_and_the_call_is_made_once_more(answer: str | None) -> None:
    async with simulated() as (simulator, run):
        simulator.token_answer = answer or simulator.token_answer
        await run.poll("stations")
        for expected in (2, 3, 4):
            simulator.expire_tokens()
            await run.poll("stations")
            assert logins(simulator) == expected
            assert len(calls(simulator, STATIONS)) == 2 * expected - 1


async def test_a_write_with_a_refused_token_is_carried_out_once() -> None:
    async with simulated() as (simulator, run):
        await run.poll("stations")
        simulator.expire_tokens()
        simulator.add_answers = 200
        await run.act("device_register", deviceInfoList=[{"deviceType": 701, "deviceId": "7018800001"}])
        assert len(calls(simulator, ADD_DEVICES)) == 2
        assert simulator.devices["7018800001"] == 701


@pytest.mark.parametrize("fault", [{"kind": "error", "code": 104}, {"kind": "status", "status": 403}])
async def test_an_endpoint_that_refuses_a_new_token_costs_no_login_each_time(fault: dict[str, Any]) -> None:
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


async def test_the_organisation_can_be_another(shared: Shared) -> None:
    async with simulated(shared=shared, org_id="other") as (simulator, run):
        await run.poll("stations")
        assert not run.of("stations")
        assert [call.body for call in calls(simulator, STATIONS)] == [{"orgId": "other"}]
        await run.act("station_list", orgId="third")
        assert calls(simulator, STATIONS)[-1].body == {"orgId": "third"}


async def test_105_is_no_reason_to_log_in_or_to_try_again() -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("error", path(LATTICES), code=105, text="token")
        with pytest.raises(Ambiguous) as raised:
            await run.poll("lattices")
        assert raised.value.code == 105
        assert logins(simulator) == 1
        assert len(calls(simulator, LATTICES)) == 2
