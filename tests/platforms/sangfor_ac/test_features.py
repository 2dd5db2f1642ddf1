"""Systems that lack some calls, for good or for now, and what is no AC at all."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.errors import Ambiguous, AuthenticationError, InvalidResponse, Rejected
from fleet2mqtt.platforms.sangfor_ac.capabilities import RETRY, Features, Round
from tests.platforms.sangfor_ac.connected import GROUP, HELLO, NAME, SOURCES, USER, WATCH, calls, connected, simulated

if TYPE_CHECKING:
    from fleet2mqtt.simulators.sangfor_ac.app import Simulator


def _missing(simulator: Simulator, how: str, chapters: set[str]) -> None:
    if how == "redirect":
        paths = {"status": {"status/*"}, "online-users": {"online-users"}, "bindings": {"bindinfo/*", "ipmac-bindinfo"}}
        simulator.redirects = {f"/v1/{path}" for chapter in chapters for path in paths[chapter]}
    else:
        simulator.missing_chapters = chapters
        simulator.missing_as_text = how == "text"


async def test_a_bbc_centre(caplog: pytest.LogCaptureFixture) -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        simulator.bbc_centre = True
        await run.poll()
        assert {device.scope for device in run.devices.values()} == {
            "backend",
            "net_policies",
            "flux_policies",
            "groups",
            "users",
        }
        assert run.state(USER) == {"enable": "ON", "expire_time": None}
        assert (await run.read(USER)).state["enable"] == "ON"
        assert run.state(NAME) == {}
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(said) == 4
        assert said[0].startswith("ac does without status/version, status/online-user, ")
        assert [text.split(",")[0] for text in said[1:]] == [
            "ac does without online-users",
            "ac does without status/insidelib",
            "ac does without bindinfo/user-bindinfo",
        ]
        simulator.fault_injector.calls.clear()
        caplog.clear()
        await run.poll()
        await run.poll("status")
        assert {call.path for call in simulator.fault_injector.calls} == {
            "/v1/policy/netpolicy",
            "/v1/policy/fluxpolicy",
            "/v1/group/netpolicy",
            "/v1/user",
        }
        assert len(calls(simulator, "policy/netpolicy")) == 3
        assert not caplog.records
        await run.write(GROUP, "netpolicy_hello", value=True)
        assert (await run.read(GROUP)).state["netpolicy_hello"] == "ON"


@pytest.mark.parametrize("how", ["404", "text", "redirect"])
@pytest.mark.parametrize("chapter", ["status", "online-users", "bindings"])
async def test_a_chapter_that_is_missing_costs_nothing_else(chapter: str, how: str) -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        _missing(simulator, how, {chapter})
        await run.poll()
        await run.poll()
        scopes = {device.scope for device in run.devices.values()}
        lost = {"bindings": {"bindings"}}.get(chapter, set())
        everything = {"backend", "net_policies", "flux_policies", "groups", "users", "bindings"}
        assert everything - scopes == lost
        path = {"status": "status/version", "online-users": "online-users", "bindings": "bindinfo/user-bindinfo"}
        assert len(calls(simulator, path[chapter])) == 1
        assert ("cpu_usage" in run.state(NAME)) is (chapter != "status")
        assert ("online" in run.state(USER)) is (chapter != "online-users")
        assert run.state(USER)["enable"] == "ON"


@pytest.mark.parametrize("how", ["404", "text", "redirect"])
async def test_without_local_users_the_watched_ones_are_seen_nevertheless(how: str) -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        if how == "404":
            simulator.fault_injector.inject("status", "/v1/user", status=404)
        elif how == "text":
            simulator.fault_injector.inject("error", "/v1/user", text="请求的接口数据格式不正确!")
        else:
            simulator.redirects = {"/v1/user"}
        await run.poll()
        await run.poll()
        assert run.state(USER)["online"] == "ON"
        assert "enable" not in run.state(USER)
        assert run.ids("users") == {USER}
        assert (await run.read(USER)).state["online"] == "ON"
        assert len(calls(simulator, "user")) == 1


async def test_a_single_call_that_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("status", "/v1/status/app-rank", status=404)
        await run.poll("status")
        await run.poll("status")
        assert len(calls(simulator, "status/app-rank")) == 1
        assert "app_rank" not in run.state(NAME)
        assert run.state(NAME)["cpu_usage"] == 12
        assert len([record for record in caplog.records if "status/app-rank" in record.getMessage()]) == 1


async def test_policies_can_be_missing() -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        simulator.missing_chapters = {"policies"}
        await run.poll()
        assert run.state(NAME)["cpu_usage"] == 12
        assert set(run.state(GROUP)) == {"netpolicy", "netpolicy_policy1", "netpolicy_policy2"}
        assert run.ids("groups") is None


async def test_firmware_that_answers_a_chapter_with_nothing_lacks_it() -> None:
    async with simulated() as (simulator, run):
        simulator.empty_bodies = {"/v1/status/*"}
        await run.poll("status")
        assert run.state(NAME) == {}
        assert run.state(HELLO) == {"status": "ON"}
        await run.poll("status")
        assert len(calls(simulator, "status/version")) == 1
        assert len(calls(simulator, "policy/netpolicy")) == 2


async def test_what_told_figures_before_and_tells_none_now_is_not_well() -> None:
    async with simulated() as (simulator, run):
        await run.poll("status")
        simulator.empty_bodies = {"/v1/status/*"}
        for _ in range(2):
            with pytest.raises(InvalidResponse):
                await run.poll("status")
        assert run.state(NAME)["cpu_usage"] == 12
        simulator.empty_bodies = set()
        await run.poll("status")


async def test_a_wrong_port_or_https_is_told_so() -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        simulator.redirects = {"*"}
        for source in SOURCES:
            with pytest.raises(AuthenticationError, match="wrong port, or https for http") as caught:
                await run.poll(source)
            assert caught.value.code == 302
        simulator.redirects = set()
        await run.poll()
        assert run.state(NAME)["cpu_usage"] == 12


async def test_what_is_no_ac_is_not_taken_for_one_without_features() -> None:
    async with TestServer(web.Application()) as server, connected(str(server.make_url("")), watch=WATCH) as run:
        for _ in range(2):
            for source in SOURCES:
                with pytest.raises(Rejected) as caught:
                    await run.poll(source)
                assert caught.value.code == 404


async def test_an_ac_that_is_away_for_a_while_lacks_nothing_afterwards() -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        await run.poll()
        simulator.fault_injector.inject("status", status=404)
        await run.poll("online_users", "libraries")  # for all they know these are missing
        with pytest.raises(Rejected):
            await run.poll("status")
        simulator.fault_injector.clear()
        simulator.fault_injector.calls.clear()
        await run.poll()
        assert calls(simulator, "online-users")
        assert calls(simulator, "status/insidelib")
        assert calls(simulator, "status/cpu-usage")


async def test_a_call_that_fails_costs_the_others_nothing_but_three_do(caplog: pytest.LogCaptureFixture) -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("reset", "/v1/status/session-num")
        simulator.fault_injector.inject("error", "/v1/status/log")
        await run.poll("status")
        await run.poll("status")
        assert not {"session_num", "log_block"} & set(run.state(NAME))
        assert sorted(record.getMessage().partition(": ")[0] for record in caplog.records) == [
            "ac fails at status/log",
            "ac fails at status/session-num",
        ]
        assert run.state(NAME)["disk_usage"] == 23
        simulator.fault_injector.inject("reset", "/v1/status/*-usage")
        simulator.fault_injector.calls.clear()
        with pytest.raises(Ambiguous):
            await run.poll("status")
        assert len(calls(simulator, "status/disk-usage")) == 0


async def test_what_is_missing_is_tried_again_after_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    features = Features(backend=NAME, clock=lambda: now)
    asked = 0
    there = False

    async def call() -> str:
        nonlocal asked
        asked += 1
        if not there:
            raise Rejected("x: HTTP 404", endpoint="x", code=404)
        return "answer"

    async def turn() -> str | None:
        one = Round(features)
        answer = await one.ask("x", call)
        one.close()
        return answer

    features.have("y")
    for now in (0.0, 1.0, RETRY - 1, RETRY, RETRY + 1, 2 * RETRY - 1):  # noqa: B007 - the clock reads it
        assert await turn() is None
    assert asked == 2
    there = True
    for now in (2 * RETRY, 2 * RETRY + 1):  # noqa: B007 - as above
        assert await turn() == "answer"
    assert [record.getMessage() for record in caplog.records] == [
        "ac does without x, which it does not have: x: HTTP 404",
        "ac answers x now",
    ]
