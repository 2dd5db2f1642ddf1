"""Traces of polls, pushes and commands: as spans, and as they arrive at a collector."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fleet2mqtt.tracing import open_tracing, span
from tests.bridge_under_test import CHANNEL, SECRET, VOIP, open_site, serve
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan


def attributes(spans: tuple[ReadableSpan, ...], name: str) -> list[dict[str, Any]]:
    found = [dict(each.attributes or {}) for each in spans if each.name == name]
    return [{key.removeprefix("fleet2mqtt."): value for key, value in each.items()} for each in found]


async def test_polls_pushes_and_commands_are_spans(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    async with open_tracing("", "1", exporter), open_site(tmp_path) as site, site.bridge() as bridge:
        await bridge.settle()
        await bridge.set(CHANNEL, {"enable": "ON", "apn": "ctnet"})
        await site.broker.publish(f"fleet2mqtt/device/{VOIP}/get", {"transaction": "read"})
        await bridge.result(VOIP, "read")
        await site.push(b"{")
        await site.stop_vendors()
        await bridge.refresh(backend="branch")
    spans = exporter.get_finished_spans()
    polls = attributes(spans, "poll")
    worked = next(each for each in polls if (each["backend"], each["source"]) == ("branch", "devices"))
    assert worked["items"] > 0
    assert worked["calls"] == 1
    assert [each["status"] for each in attributes(spans, "push")] == [400]
    (command,) = attributes(spans, "command")
    assert (command["device"], command["keys"], command["status"]) == (CHANNEL, "enable,apn", "confirmed,confirmed")
    assert attributes(spans, "read") == [{"device": VOIP}]
    failed = [each for each in spans if each.name == "poll" and each.status.status_code.name == "ERROR"]
    assert {(each.attributes or {})["error.type"] for each in failed} == {"unreachable"}
    parents = {each.context.span_id: each.name for each in spans if each.context}
    calls = [each for each in spans if each.name == "call"]
    assert {parents.get(each.parent.span_id) if each.parent else None for each in calls} >= {"poll", "command", "read"}
    assert SECRET not in str([each.to_json() for each in spans])


async def test_traces_arrive_at_the_collector_of_the_configuration(tmp_path: Path) -> None:
    received: list[ExportTraceServiceRequest] = []

    async def collect(request: web.Request) -> web.Response:
        received.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response()

    collector = web.Application()
    collector.router.add_post("/v1/traces", collect)
    async with AsyncExitStack() as stack, open_site(tmp_path) as site:
        endpoint = f"{await serve(stack, collector)}/v1/traces"
        async with site.bridge(branch=None, tracing={"endpoint": endpoint}) as bridge:
            await bridge.refresh()
        await wait_until(lambda: received, "traces", PATIENCE)
    (resource,) = {str(each.resource) for request in received for each in request.resource_spans}
    assert "fleet2mqtt" in resource
    names = {
        each.name
        for request in received
        for resource_spans in request.resource_spans
        for scope in resource_spans.scope_spans
        for each in scope.spans
    }
    assert {"poll", "call"} <= names


async def test_without_tracing_a_span_does_nothing() -> None:
    with span("poll", backend="a") as note:
        note("items", 5)
    await asyncio.sleep(0)
