"""Transport: the signature of each attempt, the place of `_method`, repeated readings and writes that are sent once."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.errors import Ambiguous, AuthenticationError, InvalidResponse, RateLimited, Rejected, Unreachable
from fleet2mqtt.platforms.sangfor_ac.transport import Call, Verb, sign
from tests.platforms.sangfor_ac.connected import KEY, NAME, SOURCES, USER, WATCH, calls, connected, simulated

if TYPE_CHECKING:
    from fleet2mqtt.errors import BackendError

GROUP_ADD = {"path": "/new", "desc": "x"}


@pytest.mark.parametrize(
    ("verb", "method", "suffix"),
    [
        (Verb.GET, "GET", ""),
        (Verb.QUERY, "POST", "?_method=GET"),
        (Verb.CREATE, "POST", ""),
        (Verb.MODIFY, "POST", "?_method=PUT"),
        (Verb.DELETE, "POST", "?_method=DELETE"),
    ],
)
def test_sign_verb_decides_method_and_place(verb: Verb, method: str, suffix: str) -> None:
    request = sign("密钥", Call(verb=verb, path="online-users"), {"ip": "1.1.1.1"})
    assert (request.method, request.path) == (method, f"/v1/online-users{suffix}")
    fields = dict((request.params if method == "GET" else request.json) or {})
    assert (request.json if method == "GET" else request.params) is None
    random = fields["random"]
    assert fields == {
        "ip": "1.1.1.1",
        "random": random,
        "md5": hashlib.md5(f"密钥{random}".encode()).hexdigest(),  # noqa: S324 - the vendor's
    }
    assert len(random) == 32
    assert sign("密钥", Call(verb=verb, path="online-users"), {}).path == request.path


@pytest.mark.parametrize(
    ("path", "fields"), [("online-users", {"_method": "GET"}), ("online-users?_method=PUT", {}), ("user?name=a", {})]
)
@pytest.mark.parametrize("verb", list(Verb))
def test_sign_method_elsewhere_raises(verb: Verb, path: str, fields: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match="_method"):
        sign(KEY, Call(verb=verb, path=path), fields)


async def test_calls_have_signatures_of_their_own() -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        await run.poll()
        await run.poll()
        await run.act("group_add", **GROUP_ADD)
        assert simulator.reused_randoms == []
        randoms = [
            (call.query if call.method == "GET" else call.body)["random"] for call in simulator.fault_injector.calls
        ]
        assert len(set(randoms)) == len(randoms) > 30
        for call in simulator.fault_injector.calls:
            if call.method == "POST":
                assert set(call.query) <= {"_method"}
                assert "_method" not in call.body
            else:
                assert call.body is None


@pytest.mark.parametrize("kind", ["reset", "lost_answer"])
async def test_reading_connection_lost_is_not_repeated_with_its_signature(kind: str) -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject(kind, "/v1/status/session-num", times=1)
        await run.poll("status")
        assert simulator.reused_randoms == []
        assert len(calls(simulator, "status/session-num")) == 1
        await run.poll("status")
        assert run.state(NAME)["session_num"] == 1280


async def test_calls_are_sequential_and_spaced() -> None:
    async with simulated(spacing=0.02, watch=WATCH) as (simulator, run):
        simulator.busy_when_concurrent = True
        clock = asyncio.get_running_loop().time
        requested_at = clock()
        await asyncio.gather(*(run.poll(source) for source in SOURCES))
        assert simulator.most_in_flight == 1
        assert len(simulator.arrivals) == 22
        assert clock() - requested_at >= 19 * 0.02  # no call starts earlier, however slow the machine is
        assert all(count.failures == 0 for count in run.backend.calls.values())


async def test_reading_busy_is_repeated() -> None:
    async with simulated(spacing=0.001) as (simulator, run):
        simulator.fault_injector.inject("error", "/v1/status/version", code=1, text="系统繁忙,请稍后再试!", times=3)
        await run.poll("status")
        assert run.state(NAME)["version"] == "AC13.0.18.046 Build20210909"
        attempts = calls(simulator, "status/version")
        assert len(attempts) == len({call.query["random"] for call in attempts}) == 4
        assert simulator.reused_randoms == []


async def test_reading_busy_too_often_fails() -> None:
    async with simulated(spacing=0.001) as (simulator, run):
        simulator.fault_injector.inject("error", "/v1/online-users", code=1, text="系统繁忙,请稍后再试!")
        with pytest.raises(RateLimited, match="系统繁忙"):
            await run.poll("online_users")
        assert len(calls(simulator, "online-users")) == 4


async def test_write_busy_is_sent_once() -> None:
    async with simulated(spacing=0.001) as (simulator, run):
        simulator.fault_injector.inject("error", "/v1/group", code=1, text="系统繁忙,请稍后再试!")
        with pytest.raises(RateLimited):
            await run.act("group_add", **GROUP_ADD)
        assert len(calls(simulator, "group")) == 1


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    ("switch", "value", "text"),
    [
        ("service_disabled", True, {"en": "Restful service isn't enabled!", "zh": "Restful服务未启用!"}),
        ("outside_whitelist", True, {"en": "IP of request isn't in white list!", "zh": "请求的IP不在白名单!"}),
        ("key", "another", {"en": "Permission check failed!", "zh": "权限校验失败!"}),
    ],
)
async def test_refusal_of_permission_is_authentication_error(
    switch: str, value: object, text: dict[str, str], language: str
) -> None:
    async with simulated(language=language, watch=WATCH) as (simulator, run):
        setattr(simulator, switch, value)
        for source in SOURCES:
            with pytest.raises(AuthenticationError) as caught:
                await run.poll(source)
            assert str(caught.value) == text[language]
            assert caught.value.code == 1
        headers = simulator.fault_injector.calls[0].headers
        assert headers["Accept-Language"] == {"en": "en-US", "zh": "zh-CN"}[language]


@pytest.mark.parametrize("text", ["Need request from local!", "只支持本地请求!"])
async def test_local_requests_only_is_authentication_error(text: str) -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject("error", text=text)
        with pytest.raises(AuthenticationError):
            await run.poll("status")


@pytest.mark.parametrize(
    ("kind", "options", "error", "code"),
    [
        ("status", {"status": 500}, InvalidResponse, 500),
        ("status", {"status": 401}, AuthenticationError, 401),
        ("status", {"status": 400}, Rejected, 400),
        ("garbage", {}, InvalidResponse, "bad_reply"),
        ("malformed", {}, InvalidResponse, "bad_reply"),
        ("reset", {}, Ambiguous, "connection_lost"),
        ("error", {"code": 7, "text": "坏了"}, Rejected, 7),
        ("error", {}, Rejected, 1),
    ],
)
async def test_failure_has_error_class_and_keeps_state(
    kind: str, options: dict[str, Any], error: type[BackendError], code: object
) -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        await run.poll()
        before = {id_: dict(device.state) for id_, device in run.devices.items()}
        for source in SOURCES:
            simulator.fault_injector.inject(kind, **options)
            with pytest.raises(error) as caught:
                await run.poll(source)
            assert (type(caught.value), caught.value.code) == (error, code)
            assert {id_: dict(device.state) for id_, device in run.devices.items()} == before
            simulator.fault_injector.clear()
        await run.poll()


async def test_no_server_is_unreachable() -> None:
    async with connected("http://127.0.0.1:1") as run:
        with pytest.raises(Unreachable):
            await run.poll("status")


@pytest.mark.parametrize(
    ("kind", "options"),
    [("malformed", {}), ("garbage", {}), ("status", {"status": 500}), ("lost_answer", {}), ("reset", {})],
)
async def test_write_broken_response_is_ambiguous(kind: str, options: dict[str, Any]) -> None:
    async with simulated() as (simulator, run):
        simulator.fault_injector.inject(kind, "/v1/group", **options)
        with pytest.raises(Ambiguous):
            await run.act("group_add", **GROUP_ADD)
        assert len(calls(simulator, "group")) == 1
        assert ("/new" in simulator.groups) is (kind in {"malformed", "lost_answer"})


@pytest.mark.parametrize("quirk", ["empty_bodies", "code_missing"])
async def test_write_response_without_code_is_ambiguous(quirk: str) -> None:
    async with simulated() as (simulator, run):
        setattr(simulator, quirk, {"*"} if quirk == "empty_bodies" else True)
        with pytest.raises(Ambiguous, match="not known") as caught:
            await run.act("group_add", **GROUP_ADD)
        assert caught.value.code in {"bad_reply", "no_code"}
        assert caught.value.endpoint == "POST group"
        assert simulator.groups["/new"] == "x"


async def test_reading_response_without_code_counts() -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        simulator.fault_injector.inject("garbage", "/v1/online-users", text='{"data": {"count": 0, "users": []}}')
        await run.poll("online_users")
        assert run.state(USER)["online"] == "OFF"
        simulator.fault_injector.clear()
        simulator.fault_injector.inject("garbage", "/v1/online-users", text='{"message": "Success"}')
        with pytest.raises(InvalidResponse) as caught:
            await run.poll("online_users")
        assert caught.value.code == "no_code"


async def test_url_ends_with_version_is_accepted() -> None:
    async with simulated() as (simulator, other):
        base = other.backend.client.client.transport.http.base
        async with connected(f"{base}/v1") as run:
            await run.poll("status")
            assert simulator.fault_injector.calls[0].path == "/v1/status/version"


async def test_key_appears_in_no_output() -> None:
    async with simulated(watch=WATCH) as (simulator, run):
        await run.poll()
        simulator.key = "another"
        with pytest.raises(AuthenticationError) as caught:
            await run.poll("status")
        output = repr((run.devices, caught.value, run.backend, run.backend.client, simulator.fault_injector.calls))
        assert KEY not in output.replace(repr(simulator), "")
