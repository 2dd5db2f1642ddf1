"""Pushes of attributes and events by the rule engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet2mqtt.devices.model import Component, UpdateOrigin
from fleet2mqtt.errors import InvalidResponse
from tests.platforms.thingscloud.connected import DEVICE, FIRST, OTHER, SECOND, simulated
from tests.platforms.thingscloud.project import Project, attribute, running
from tests.platforms.thingscloud.simulated import push_receiver

TS = 1_795_000_000_000


def report(values: Any, ts: Any = TS, device: str = FIRST) -> dict[str, Any]:
    return {"device": {"id": device, "name": "甲"}, "attributes": values, "ts": ts}


async def test_simulated_pushes_update_devices() -> None:
    async with push_receiver() as (url, received), simulated(push_url=url) as (simulator, run):
        await run.poll("devices", "attributes")
        simulator.report(FIRST, {"temperature": 30.5})
        simulator.event(SECOND, "button", {"count": 2})
        await simulator.settle()
        for path, body in received:
            update = run.push(path.rsplit("/", 1)[-1], body)
            assert (update.origin, len(update.devices) + len(update.events)) == (UpdateOrigin.PUSH, 1)
        assert (run.state()["temperature"], run.state()["humidity"]) == (30.5, 56.8)
        (event,) = run.events
        assert (event.device, event.attributes["method"], event.attributes["params"]) == (OTHER, "button", {"count": 2})
        assert {push.kind for push in run.backend.pushes} == {"alarm", "attributes", "online", "event", "reply", "data"}


async def test_older_report_is_ignored() -> None:
    async with running(Project(attributes=[attribute("a", 0)])) as run:
        await run.poll("devices", "attributes")
        for ts, value, shown in ((TS, 1, 1), (TS - 1, 2, 1), (TS, 3, 3), (None, 4, 4), (TS + 1, 5, 5)):
            run.push("attributes", report({"a": value}, ts))
            assert run.state()["a"] == shown
        run.request_values()
        await run.poll("attributes")  # what is asked for afterwards counts
        assert run.state()["a"] == 0


async def test_push_of_an_unlisted_device_changes_nothing() -> None:
    async with running(Project()) as run:
        for kind, body in (("attributes", report({"a": 1})), ("event", {"device": {"id": FIRST}, "event": {}})):
            assert run.push(kind, body).devices == ()


@pytest.mark.parametrize(
    ("event", "more"),
    [
        ({"method": "open", "params": {"by": "key"}, "id": 7}, {"method": "open", "params": {"by": "key"}, "id": "7"}),
        ({"method": "x" * 300}, {"method": "x" * 300, "params": None, "id": None}),
        ({}, {"method": None, "params": None, "id": None}),
    ],
)
async def test_event_is_published_and_changes_no_state(event: Any, more: dict[str, Any]) -> None:
    """Device events are an event entity (faults 5.10)."""
    async with running(Project()) as run:
        await run.poll("devices")
        before = run.devices[DEVICE]
        for _ in range(3):
            run.push("event", {"device": {"id": FIRST}, "event": event, "ts": TS})
        assert [(each.device, each.key, each.event_type) for each in run.events] == [
            (DEVICE, "last_event", "event")
        ] * 3
        assert run.events[0].attributes == more | {"ts": "2026-11-18T19:06:40+08:00"}
        entity = run.entity("last_event")
        assert (entity.component, entity.options, entity.enabled) == (Component.EVENT, ("event", "reply", "data"), True)
        assert run.devices[DEVICE] is before
        assert "last_event" not in before.state


@pytest.mark.parametrize("kind", ["attributes", "event"])
@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b"{}", b'{"device": {"id": "a"}}', b'{"attributes": {}, "event": {}}']
)
async def test_invalid_push_is_refused(kind: str, body: bytes) -> None:
    async with running(Project()) as run:
        push = run.kind(kind)
        with pytest.raises(InvalidResponse):
            push.accept(body)
        assert json.loads(push.success) == {"result": True}
        assert json.loads(push.failure("no")) == {"result": False, "message": "no"}


async def test_simulated_online_and_data_pushes_are_shown() -> None:
    async with push_receiver() as (url, received), simulated(push_url=url) as (simulator, run):
        await run.poll("devices", "attributes")
        simulator.set_online(FIRST, online=False, push=True)
        simulator.data(SECOND, "stream", "hex", "01 03 FF")
        await simulator.settle()
        assert [path.rsplit("/", 1)[-1] for path, _ in received] == ["online", "data"]
        for path, body in received:
            run.push(path.rsplit("/", 1)[-1], body)
        assert run.state()["online"] == "OFF"
        (event,) = run.events
        assert (event.device, event.key, event.event_type) == (OTHER, "last_event", "data")
        shown = dict(event.attributes)
        assert shown.pop("ts") is not None
        assert shown == {"identifier": "stream", "type": "hex", "msg": "01 03 FF"}


@pytest.mark.parametrize(
    "content",
    [
        {"data": {"identifier": "stream", "type": "json", "msg": {"led": "ON"}}},
        {"identifier": "stream", "type": "json", "message": {"led": "ON"}},
    ],
)
async def test_custom_data_is_read_in_either_form(content: dict[str, Any]) -> None:
    async with running(Project()) as run:
        run.push("data", {"device": {"id": FIRST}} | content)
        (event,) = run.events
        assert event.attributes == {"identifier": "stream", "type": "json", "msg": {"led": "ON"}, "ts": None}


@pytest.mark.parametrize("body", [b"x", b"{}", b'{"device": {"id": "a"}}', b'{"data": {"identifier": "a"}}'])
async def test_custom_data_without_what_it_is_about_is_refused(body: bytes) -> None:
    async with running(Project()) as run:
        with pytest.raises(InvalidResponse):
            run.kind("data").accept(body)
