"""Capabilities: systems that lack some calls, for good or for now, and servers that are no AC at all."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet2mqtt.errors import Ambiguous, AuthenticationError, InvalidResponse, Rejected
from fleet2mqtt.platforms.sangfor_ac.capabilities import RETRY_INTERVAL, Capabilities, PollCycle
from fleet2mqtt.sdk.poll_figures import PollFigures
from fleet2mqtt.sdk.sweep import Sweep
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


async def test_bbc_centre_missing_chapters_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
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
        messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(messages) == 5
        assert messages[0].startswith("ac: the system has no status/version, status/online-user, ")
        assert [text.split(",")[0] for text in messages[1:]] == [
            "ac: the system has no online-users",
            "ac: the system has no status/insidelib",
            "ac: the system has no bindinfo/user-bindinfo",
            "ac: the system has no ipmac-bindinfo",
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
async def test_chapter_missing_others_are_polled(chapter: str, how: str) -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        _missing(simulator, how, {chapter})
        await run.poll()
        await run.poll()
        scopes = {device.scope for device in run.devices.values()}
        lost = {"bindings": {"bindings"}}.get(chapter, set())
        everything = {"backend", "net_policies", "flux_policies", "groups", "users", "bindings"}
        assert everything - scopes == lost
        path = {"status": "status/version", "online-users": "online-users", "bindings": "bindinfo/user-bindinfo"}
        assert len(calls(simulator, path[chapter])) == (2 if chapter == "bindings" else 1)  # each search, once
        assert ("cpu_usage" in run.state(NAME)) is (chapter != "status")
        assert ("online" in run.state(USER)) is (chapter != "online-users")
        assert run.state(USER)["enable"] == "ON"


@pytest.mark.parametrize("how", ["404", "text", "redirect"])
async def test_local_users_missing_presence_is_polled(how: str) -> None:
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


async def test_call_missing_is_left_out_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("status", "/v1/status/app-rank", status=404)
        await run.poll("status")
        await run.poll("status")
        assert len(calls(simulator, "status/app-rank")) == 1
        assert "app_rank" not in run.state(NAME)
        assert run.state(NAME)["cpu_usage"] == 12
        assert len([record for record in caplog.records if "status/app-rank" in record.getMessage()]) == 1


async def test_policies_missing_groups_have_attached_switches() -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        simulator.missing_chapters = {"policies"}
        await run.poll()
        assert run.state(NAME)["cpu_usage"] == 12
        assert set(run.state(GROUP)) == {"netpolicy", "netpolicy_policy1", "netpolicy_policy2"}
        assert run.ids("groups") is None


async def test_status_empty_bodies_chapter_is_missing() -> None:
    async with simulated() as (simulator, run):
        simulator.empty_bodies = {"/v1/status/*"}
        await run.poll("status")
        assert run.state(NAME) == {}
        assert run.state(HELLO) == {"status": "ON"}
        await run.poll("status")
        assert len(calls(simulator, "status/version")) == 1
        assert len(calls(simulator, "policy/netpolicy")) == 2


async def test_status_empty_bodies_after_figures_fails() -> None:
    async with simulated() as (simulator, run):
        await run.poll("status")
        simulator.empty_bodies = {"/v1/status/*"}
        for _ in range(2):
            with pytest.raises(InvalidResponse):
                await run.poll("status")
        assert run.state(NAME)["cpu_usage"] == 12
        simulator.empty_bodies = set()
        await run.poll("status")


async def test_redirection_error_names_the_url() -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        simulator.redirects = {"*"}
        for source in SOURCES:
            with pytest.raises(AuthenticationError, match="wrong port, or https for http") as caught:
                await run.poll(source)
            assert caught.value.code == 302
        simulator.redirects = set()
        await run.poll()
        assert run.state(NAME)["cpu_usage"] == 12


async def test_server_without_calls_fails_and_names_the_url() -> None:
    async with TestServer(web.Application()) as server, connected(str(server.make_url("")), watch=WATCH) as run:
        for _ in range(2):
            for source in SOURCES:
                with pytest.raises(Rejected) as caught:
                    await run.poll(source)
                assert caught.value.code == 404
                if source == "status":  # defect 4.8
                    assert "check the option url" in str(caught.value)


async def test_ac_answers_nothing_for_a_while_no_call_stays_missing() -> None:
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


async def test_status_call_fails_others_are_polled_unless_three_fail(caplog: pytest.LogCaptureFixture) -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("reset", "/v1/status/session-num")
        simulator.fault_injector.inject("error", "/v1/status/log")
        await run.poll("status")
        await run.poll("status")
        assert not {"session_num", "log_block"} & set(run.state(NAME))
        assert sorted(record.getMessage().partition(" fails")[0] + " fails" for record in caplog.records) == [
            "ac: status/log fails",
            "ac: status/session-num fails",
        ]
        assert run.state(NAME)["disk_usage"] == 23
        simulator.fault_injector.inject("reset", "/v1/status/*-usage")
        simulator.fault_injector.calls.clear()
        with pytest.raises(Ambiguous):
            await run.poll("status")
        assert len(calls(simulator, "status/disk-usage")) == 0


async def test_missing_call_is_repeated_after_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    capabilities = Capabilities(backend=NAME, clock=lambda: now)
    attempts = 0
    there = False

    async def call() -> str:
        nonlocal attempts
        attempts += 1
        if not there:
            raise Rejected("x: HTTP 404", endpoint="x", code=404)
        return "answer"

    async def turn() -> str | None:
        cycle = PollCycle(capabilities=capabilities, sweep=Sweep())
        answer = await cycle.call("x", call)
        cycle.close()
        return answer

    capabilities.mark_supported("y")
    for now in (0.0, 1.0, RETRY_INTERVAL - 1, RETRY_INTERVAL, RETRY_INTERVAL + 1, 2 * RETRY_INTERVAL - 1):  # noqa: B007 - the clock reads it
        assert await turn() is None
    assert attempts == 2
    there = True
    for now in (2 * RETRY_INTERVAL, 2 * RETRY_INTERVAL + 1):  # noqa: B007 - as above
        assert await turn() == "answer"
    assert [record.getMessage() for record in caplog.records] == [
        "ac: the system has no x, left out: x: HTTP 404",
        "ac: x is answered again",
    ]


async def test_missing_call_does_not_age_in_the_figures_of_the_poll() -> None:
    now = [0.0]
    figures = PollFigures(clock=lambda: now[0])
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("status", "/v1/status/app-rank", status=404)
        for seconds in (0.0, 60.0):
            now[0] = seconds
            with figures.counting():
                await run.poll("status")
            figures.complete(1)
        assert (figures.items, figures.calls, figures.oldest_age) == (11, 11, 0)
