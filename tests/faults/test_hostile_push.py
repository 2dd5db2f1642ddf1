"""Random bodies at the push port: each is accepted, stored as a dead letter or refused, and counted."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.bridge_under_test import MAC, SECRET, Site
from tests.broker import HOST
from tests.commandline import get_text
from tests.faults.surroundings import Remote, as_process
from tests.waiting import PATIENCE, wait_for_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EXAMPLES = 150
HALL = ("alarm", "attributes", "online", "event", "reply", "data")
MAX_BODY = 1024 * 1024
GROWTH = 64 * 1024 * 1024
"""Bytes that the bridge may be larger after a flood: what it keeps is bounded far below that."""

WORDS = (
    "id event_id event_type metric_history_desc metric_history_level metric_history_name metric_history_producer "
    "metric_history_time line_id tag1 device_mac device_name connection_status device alarm alarm_rule attributes "
    "event ts params method device_key online reply data identifier msg"
)
KEYS = st.sampled_from(WORDS.split())
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=50)
    | st.sampled_from(
        ("\ud800", "\x00", "💥" * 2500, "a+b/#", "../..", "9" * 5000, 10**400, 2**64, "2026-11-22 10:00:00")
    )
    | st.sampled_from((MAC, "1e999", -(2**63), "0000-00-00 00:00:00", "9999-12-31T23:59:59-23:59", 1e300, {}, [], ""))
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=8),
    max_leaves=20,
)
PLAUSIBLE = st.fixed_dictionaries(
    {"id": SCALARS, "metric_history_producer": st.just(MAC) | SCALARS, "device_mac": st.just(MAC) | SCALARS},
    optional={"device": DOCUMENTS, "alarm": DOCUMENTS, "attributes": DOCUMENTS, "ts": SCALARS, "event": DOCUMENTS}
    | dict.fromkeys(("metric_history_time", "metric_history_level", "line_id", "connection_status", "ip"), SCALARS),
)
BODIES = st.binary(max_size=200) | (DOCUMENTS | PLAUSIBLE).map(lambda value: json.dumps(value).encode())
ODD = (
    b"",
    b"[" * 200_000,
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    b"1" * 500_000,
    b'{"id": 1' + b"0" * 4_000 + b', "metric_history_producer": "000EA93D022E"}',
    b'{"id": "1", "id": "2", "metric_history_producer": "000EA93D022E"}',
    b'\xef\xbb\xbf{"id": "bom", "metric_history_producer": "000EA93D022E"}',
    '{"id": "g", "metric_history_producer": "000EA93D022E", "metric_history_desc": "分机离线"}'.encode("gb18030"),
    b'{"id": "\xff\xfe", "metric_history_producer": "000EA93D022E"}',
    b'{"id": "a\\u0000b", "metric_history_producer": "000EA93D022E"}',
    b'{"id": "\\ud83d", "metric_history_producer": "000EA93D022E", "metric_history_desc": "\\ud83d"}',
    json.dumps({"id": "n" * 10_000, "metric_history_producer": MAC, "metric_history_name": "💥" * 10_000}).encode(),
    json.dumps({"id": "+/#", "metric_history_producer": "+/#\x00", "metric_history_desc": "a/b"}).encode(),
    b'{"pass": "' + b"\\" * 300_000,
    b'{"a": 1e999, "device_mac": "000EA93D022E"}',
)
STATUSES = {200, 400, 413, 503}


@pytest.fixture
async def remote(site: Site) -> AsyncIterator[Remote]:
    nobody = f"http://{HOST}:1"
    things = {"platform": "thingscloud", "url": nobody, "app_id": "a", "secret_key": "c" * 16, "access_key": "d"}
    async with as_process(site, backends={"hall": things | {"push": {"secret": SECRET}}}) as remote:
        yield remote


PATH = f"/push/hq_voip/{SECRET}/event"


def post(port: int, body: bytes, path: str = PATH, **headers: str) -> int:
    """The status of an answer; 0 where there is none, as the connection broke while the body was sent."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=PATIENCE)) as connection:
        try:
            connection.request("POST", path, body, {name.replace("_", "-"): word for name, word in headers.items()})
            return connection.getresponse().status
        except ConnectionError:
            return 0


async def counters(port: int) -> dict[str, float]:
    """Pushes by what became of them, from /metrics."""
    lines = (await get_text(f"http://{HOST}:{port}/metrics")).splitlines()
    return {
        line.split('"')[1]: float(line.split()[-1]) for line in lines if line.startswith("fleet2mqtt_pushes_total{")
    }


@pytest.mark.parametrize(
    "path",
    [f"/push/{push}" for push in ("hq_voip/{}/event", "hq_voip/{}/device", *(f"hall/{{}}/{kind}" for kind in HALL))],
)
async def test_hostile_body_is_stored_or_dead_lettered_and_counted(site: Site, remote: Remote, path: str) -> None:
    where, tried = path.format(SECRET), list[bytes]()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(body=BODIES)
    def fuzz(body: bytes) -> None:
        tried.append(body)
        assert post(site.push_port, body, where) in STATUSES

    for body in ODD:
        fuzz = example(body=body)(fuzz)
    await asyncio.to_thread(fuzz)
    assert remote.process.process.returncode is None
    assert not remote.unwell(), remote.process.output[-3000:]
    count = await counters(site.web_port)
    assert sum(count.values()) == len(tried), count
    letters = (await remote.bridge.ask("dead_letters", limit=1))["data"]["total"]
    assert 0 < letters <= count["malformed"]
    for message in tuple(remote.bridge.seen.messages):
        for segment in message.topic.split("/"):
            assert segment
            assert segment.isascii()
            assert set(segment) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-"), message.topic
            assert len(segment) <= 64 + len("fleet2mqtt_")


async def test_push_flood_of_invalid_bodies_keeps_memory_and_logs_once(site: Site, remote: Remote) -> None:
    body = b'{"name": "' + b"x" * 100_000

    def flood(rounds: int) -> None:
        for number in range(rounds):
            assert post(site.push_port, body + str(number).encode()) == 400

    await asyncio.to_thread(flood, 50)
    before = remote.rss()
    await asyncio.to_thread(flood, 200)
    assert remote.rss() - before < GROWTH
    assert len([line for line in remote.process.lines if "cannot be parsed" in line]) == 1
    assert (await site.push(site.ums.raise_alarm(MAC, push=False)))[0] == 200
    await remote.process.says("are accepted again")
    await remote.bridge.event_count(1)


@pytest.mark.parametrize("secret", [SECRET, "wrong"])
async def test_oversized_body_is_rejected_and_counted(site: Site, remote: Remote, secret: str) -> None:
    path = f"/push/hq_voip/{secret}/event"

    def oversized() -> list[int]:
        return [post(site.push_port, b"x" * (2 * MAX_BODY), path) for _ in range(20)]

    before = remote.rss()
    statuses = await asyncio.to_thread(oversized)
    assert set(statuses) - {0} == ({413} if secret == SECRET else {404})
    assert remote.rss() - before < GROWTH
    count = await counters(site.web_port)
    assert count["too_large" if secret == SECRET else "refused"] == len(statuses)


async def test_compression_bomb_is_rejected(site: Site, remote: Remote) -> None:
    bomb = gzip.compress(b"[" + b" " * (200 * MAX_BODY) + b"]")
    before = remote.rss()
    assert await asyncio.to_thread(post, site.push_port, bomb, Content_Encoding="gzip") == 413
    assert remote.rss() - before < GROWTH
    for rubbish in (b"\x00" * 100, bomb[:1000]):
        assert await asyncio.to_thread(post, site.push_port, rubbish, Content_Encoding="gzip") == 400

    async def counted() -> bool:
        return (await counters(site.web_port))["broken"] > 0

    await wait_for_answer(counted, "what breaks off to be counted")
    assert not remote.unwell(), remote.process.output[-3000:]


async def test_names_from_a_vendor_reach_no_topic(site: Site, remote: Remote) -> None:
    names: list[Any] = ["+", "#", "a/b", "\x00", "💥" * 3_000, "n" * 10_000, "\ud83d", " ", "$SYS", "😀", "../../x"]
    for number, name in enumerate(names):
        site.gateways.add_gateway(f"SN{name}{number}"[:300], name)
        site.ums.rename(MAC, name)
        await remote.bridge.refresh(backend="branch")
        await remote.bridge.refresh(backend="hq_voip")
    devices = await remote.bridge.devices()
    assert len([id_ for id_ in devices if id_.startswith("branch_sn") and "_channel_" not in id_]) == len(names)
    for id_ in devices:
        assert set(id_) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
        assert 0 < len(id_) <= 64
    assert not remote.unwell(), remote.process.output[-3000:]
