"""Server-sent events: what changed and no more, to a bounded number of clients."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from fleet2mqtt.web.stream import SentView, Streams
from tests.waiting import PATIENCE, wait_until
from tests.web.web_bench import CANARY, Vendor, bench, device

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import ClientResponse


async def event(answer: ClientResponse) -> Any:
    """The next event's data."""
    async with asyncio.timeout(PATIENCE):
        while True:
            line = await answer.content.readline()
            assert line, "the stream has ended"
            assert CANARY.encode() not in line
            if line.startswith(b"data: "):
                return json.loads(line[6:])


def test_changes_are_sections_and_rows_that_differ() -> None:
    sent = SentView()
    rows = [{"id": "a", "n": 1}, {"id": "b", "n": 2}]
    view: dict[str, Any] = {"now": 1, "facts": {"x": 1}, "list": {"total": 2, "rows": rows}}
    assert sent.changes(view) == {**view, "list": {"total": 2, "rows": rows, "order": ["a", "b"]}}
    assert sent.changes(view) == {}
    changed = {"id": "b", "n": 3}
    view |= {"now": 2, "list": {"total": 2, "rows": [rows[0], changed]}}
    assert sent.changes(view) == {"now": 2, "list": {"total": 2, "rows": [changed]}}
    view |= {"list": {"total": 1, "rows": [changed]}}
    assert sent.changes(view) == {"list": {"total": 1, "rows": [], "order": ["b"]}}
    assert sent.changes(view | {"list": None}) == {"list": None}
    assert sent.changes(view) == {"list": {"total": 1, "rows": [changed], "order": ["b"]}}


async def test_stream_has_everything_first_and_then_what_changed(tmp_path: Path) -> None:
    vendor = Vendor("hq", devices=tuple(map(device, range(1, 101))))
    async with (
        bench(tmp_path, vendor, streams=Streams(interval=0.05)) as parts,
        parts.client.get("/api/status/events") as answer,
    ):
        assert answer.content_type == "text/event-stream"
        first = await event(answer)
        assert len(first["devices"]["rows"]) == len(first["devices"]["order"]) == 100
        vendor.devices = (device(7, state={"signal": -1}),)
        await parts.hub.accept(vendor.update())
        while "devices" not in (following := await event(answer)):
            assert "order" not in following
        assert [row["id"] for row in following["devices"]["rows"]] == ["hq_0007"]
        assert "order" not in following["devices"]


async def test_streams_above_the_limit_are_refused_until_one_ends(tmp_path: Path) -> None:
    streams = Streams(interval=0.05, max_clients=2)
    async with bench(tmp_path, streams=streams) as parts:
        one = await parts.client.get("/api/status/events")
        two = await parts.client.get("/api/alarms/events")
        async with parts.client.get("/api/status/events") as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (503, "10")
        await parts.json("/api/status")
        one.close()
        await wait_until(lambda: streams.clients == 1, "the end of a stream")
        async with parts.client.get("/api/status/events") as accepted:
            assert accepted.status == 200
        two.close()


async def test_clients_with_one_url_share_a_view(tmp_path: Path) -> None:
    streams = Streams(interval=PATIENCE * 10)
    async with bench(tmp_path, Vendor("hq"), streams=streams) as parts:
        async with parts.client.get("/api/alarms/events") as one, parts.client.get("/api/alarms/events") as two:
            assert await event(one) == await event(two)
        async with parts.client.get("/api/alarms/events?state=past") as other:
            assert (await event(other))["alarms"]["state"] == "past"


async def test_streams_end_when_the_server_stops(tmp_path: Path) -> None:
    streams = Streams(interval=PATIENCE * 10)
    async with bench(tmp_path, streams=streams) as parts:
        answer = await parts.client.get("/api/status/events")
        await event(answer)
        await parts.client.server.close()
        await wait_until(lambda: streams.clients == 0, "the end of the stream")
