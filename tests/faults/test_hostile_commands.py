"""Random messages on command topics: each has exactly one result, and the bridge goes on."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.bridge_under_test import CHANNEL, MAC, VOIP, RunningBridge, Site, reply_to, wait_retained
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

ODD = (
    "NaN",
    "-0",
    "1e999",
    "1" + "0" * 400,
    "9" * 5000,
    "[" * 100_000,
    '{"a":' * 2000,
    "null",
    "",
    "\x00",
    "ON\x00",
    "电",
)
ODD_BYTES = (b"\xff\xfe", b"\xed\xa0\x80", "中文".encode("gbk"), b"x" * 200_000)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PAYLOADS = (
    st.binary(max_size=60)
    | st.sampled_from((*(text.encode() for text in ODD), *ODD_BYTES))
    | VALUES.map(lambda value: json.dumps(value).encode())
)
LONGEST_TOPIC = 65_535
EXAMPLES = 20
"""Most of several messages."""
SETTABLE = (
    (CHANNEL, "enable"),
    (CHANNEL, "net"),
    (VOIP, "test_line"),
    (VOIP, "signal"),
    ("nobody", "on"),
    ("a b", "键"),
)
REQUESTS = (
    *(("bridge", name) for name in ("alarms", "devices", "forget", "refresh", "dead_letters", "nothing")),
    *(("backend/branch", name) for name in ("mapping_add", "mapping_list", "command")),
    ("backend/hq_voip", "fxo_status"),
    ("backend/nobody", "fxo_status"),
)


@pytest.fixture
async def bridge(site: Site) -> AsyncIterator[RunningBridge]:
    async with site.bridge() as bridge:
        await bridge.settle()
        yield bridge


async def fuzz(strategy: st.SearchStrategy[Any], check: Any) -> None:
    """Await `check` with one example after another; hypothesis has a thread of its own."""
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=EXAMPLES,
        phases=(Phase.explicit, Phase.generate),  # each step of making a failure smaller would wait for an answer
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(example=strategy)
    def run(example: Any) -> None:
        work: Coroutine[Any, Any, None] = check(example)
        asyncio.run_coroutine_threadsafe(work, loop).result(60)

    await asyncio.to_thread(run)


async def answers(bridge: RunningBridge, topic: str, publish: list[tuple[str, bytes]]) -> list[dict[str, Any]]:
    """Publish messages; return the messages on `topic` that come until a later request has its response."""
    before = len(bridge.seen.all(topic))
    for to, payload in publish:
        await bridge.broker.publish(to, payload)

    def came() -> list[dict[str, Any]]:
        return [message.json for message in bridge.seen.all(topic)[before:]]

    await wait_until(lambda: len(came()) >= len(publish), lambda: f"{len(publish)} answers: {came()}", PATIENCE)
    assert (await bridge.ask("health"))["status"] == "ok"
    return came()


async def test_any_value_for_a_key_ends_in_one_result(bridge: RunningBridge) -> None:
    async def check(given: tuple[tuple[str, str], list[bytes]]) -> None:
        (device, key), payloads = given
        topic = f"fleet2mqtt/device/{device}/set/{key}"
        came = await answers(bridge, f"fleet2mqtt/device/{device}/result", [(topic, each) for each in payloads])
        assert len(came) == len(payloads)
        assert {result["key"] for result in came} == {key}

    await fuzz(st.tuples(st.sampled_from(SETTABLE), st.lists(PAYLOADS, min_size=1, max_size=20)), check)
    assert not bridge.task.done()


async def test_any_object_of_keys_ends_in_a_result_for_each(bridge: RunningBridge) -> None:
    keys = st.sampled_from(("enable", "net", "apn", "refresh", "signal", "")) | st.text(max_size=300)

    async def check(body: dict[str, Any]) -> None:
        body = {key: value for key, value in body.items() if key not in ("transaction", "expires_at")}
        token = bridge.transaction()
        payload = json.dumps(body | {"transaction": token}).encode()
        await bridge.broker.publish(f"fleet2mqtt/device/{CHANNEL}/set", payload)
        ask = partial(_results, bridge, token)
        await wait_until(lambda: len(ask()) >= max(1, len(body)), lambda: f"results for {body}: {ask()}", PATIENCE)
        assert (await bridge.ask("health"))["status"] == "ok"
        assert sorted(str(result["key"]) for result in ask()) == (sorted(body) or ["None"])

    await fuzz(st.dictionaries(keys, VALUES, max_size=6), check)
    assert not bridge.task.done()


def _results(bridge: RunningBridge, token: str) -> list[dict[str, Any]]:
    return [result for result in bridge.results(CHANNEL) if result["transaction"] == token]


async def test_hostile_request_member_is_accepted_or_malformed(bridge: RunningBridge) -> None:
    odd = st.sampled_from(("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59", "x" * 5000, 10**30, -1))

    async def check(words: tuple[Any, Any]) -> None:
        payload = json.dumps({"enable": "ON", "transaction": words[0], "expires_at": words[1]}).encode()
        topic = f"fleet2mqtt/device/{CHANNEL}/result"
        [result] = await answers(bridge, topic, [(f"fleet2mqtt/device/{CHANNEL}/set", payload)])
        assert result["status"] in {"invalid", "expired", "confirmed", "unconfirmed"}

    # A transaction that comes again is answered again: here no two are alike.
    unlike = (
        st.lists(VALUES, min_size=1, max_size=2) | st.floats(allow_infinity=False) | st.uuids().map(str) | st.none()
    )
    await fuzz(st.tuples(unlike, odd | VALUES), check)


async def test_any_request_ends_in_one_response(bridge: RunningBridge) -> None:
    arguments = ("limit", "after", "id", "op", "device", "devices", "backend", "device_mac", "offset", "sn", "mapping")
    objects = st.dictionaries(st.sampled_from(arguments) | st.text(max_size=8), VALUES | st.sampled_from((2**70, MAC)))
    payloads = PAYLOADS | objects.map(lambda value: json.dumps(value).encode())

    async def check(given: tuple[tuple[str, str], list[bytes]]) -> None:
        (where, name), examples = given
        topic = f"fleet2mqtt/{where}/request/{name}"
        came = await answers(bridge, f"fleet2mqtt/{where}/response/{name}", [(topic, each) for each in examples])
        assert len(came) == len(examples)
        assert {response["status"] for response in came} <= {"ok", "error"}

    await fuzz(st.tuples(st.sampled_from(REQUESTS), st.lists(payloads, min_size=1, max_size=8)), check)
    assert not bridge.task.done()


async def test_hostile_topic_does_no_harm(bridge: RunningBridge) -> None:
    for segment in ("x" * 60_000, "x" * 65_513, "💥" * 1000, "..", " ", "%2f", "\u2028"):
        for topic in (
            f"fleet2mqtt/device/{segment}/set",
            f"fleet2mqtt/device/{segment}/get",
            f"fleet2mqtt/device/{CHANNEL}/set/{segment}",
            f"fleet2mqtt/bridge/request/{segment}",
            f"fleet2mqtt/backend/{segment}/request/x",
        ):
            if len(topic.encode()) <= LONGEST_TOPIC:
                await bridge.broker.publish(topic, b'{"enable": "ON"}')
        assert (await bridge.set(CHANNEL, {"enable": "ON"}))["status"] == "confirmed"
    health = (await bridge.ask("health"))["data"]["bridge"]
    assert health["mqtt"]["reconnects"] == 0
    assert health["dropped"]["odd_topic"] > 0


async def test_hostile_response_topic_does_no_harm(bridge: RunningBridge) -> None:
    odd = (await bridge.ask("health"))["data"]["bridge"]["dropped"].get("odd_topic", 0)
    set_ = f"fleet2mqtt/device/{CHANNEL}/set"
    for topic in (
        f"{set_}/enable",
        "fleet2mqtt/bridge/request/health",
        "homeassistant/device/fleet2mqtt_x/config",
        "$SYS/broker/version",
        "x" * LONGEST_TOPIC,
        "a" + "/" * 300,
        "fleet2mqtt/bridge/state",
    ):
        token = bridge.transaction()
        for to, payload in (("fleet2mqtt/bridge/request/health", {}), (set_, {"enable": "OFF", "transaction": token})):
            await bridge.broker.publish(to, payload, properties=reply_to(topic, b"c" * 1000))
        await bridge.result(CHANNEL, token)
        assert (await bridge.set(CHANNEL, {"enable": "ON"}))["status"] == "confirmed"
    health = (await bridge.ask("health"))["data"]["bridge"]
    assert health["mqtt"]["reconnects"] == 0
    assert health["dropped"]["odd_topic"] == odd + 2 * 6  # once each; the last topic is a good one
    await wait_retained(bridge.broker, {"fleet2mqtt/bridge/state": b"online"})
