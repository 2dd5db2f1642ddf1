"""The application-side MQTT: its options, its messages, and what is still read while it is connected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet2mqtt.config.loader import load
from fleet2mqtt.errors import ConfigError, InvalidResponse
from fleet2mqtt.sdk.api import Subscription
from tests.platforms.thingscloud.connected import DEVICE, FIRST, SECOND, Run, calls, simulated

SUBSCRIBE = {"url": "wss://mqtt.example.com/mqtt", "key": "view-key-1", "secret": "view-secret-1"}
FILE = """\
backends:
  things:
    platform: thingscloud
    url: http://127.0.0.1:1
    app_id: a
    access_key: b
    secret_key: c
    subscribe:
      url: {url}
      key: {key}
      secret: {secret}
      topics: {topics}
"""


async def subscription_of(**subscribe: Any) -> Subscription:
    async with simulated(subscribe=SUBSCRIBE | subscribe) as (_, run):
        assert run.backend.subscription is not None
        return run.backend.subscription


def problem(folder: Path, **changed: str) -> str:
    """The one problem of a file, after its name."""
    path = folder / "f.yaml"
    given = {"url": "wss://h/mqtt", "key": "view-key-1", "secret": "view-secret-1", "topics": "{}"} | changed
    path.write_text(FILE.format(**given))
    with pytest.raises(ConfigError) as raised:
        load(path)
    (found,) = raised.value.problems
    assert "view-" not in found
    return found.removeprefix(f"{path}:")


async def test_backend_without_the_option_has_no_subscription() -> None:
    async with simulated() as (_, run):
        assert run.backend.subscription is None


async def test_topics_stand_below_the_key_unless_they_name_it() -> None:
    assert (await subscription_of()).kinds == {"view-key-1/+/attributes": "attributes"}
    topics = {"attributes": None, "online": "open/{key}/+/online", "alarm": "+/alarm", "reply": "+/command_reply"}
    subscription = await subscription_of(topics=topics | {"data": "+/data"})
    assert subscription.kinds == {
        "open/view-key-1/+/online": "online",
        "view-key-1/+/alarm": "alarm",
        "view-key-1/+/command_reply": "reply",
        "view-key-1/+/data": "data",
    }
    assert (subscription.username, subscription.password) == ("view-key-1", "view-secret-1")
    assert (subscription.ca, subscription.verify) == (None, True)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"url": "https://h"}, "9: backends.things.subscribe.url: expected a URL such as wss://mqtt.example.com/mqtt"),
        ({"url": "wss://me@h"}, "9: backends.things.subscribe.url: expected a URL without credentials"),
        ({"key": "a/b"}, "10: backends.things.subscribe.key: expected the ProjectViewKey"),
        ({"secret": "4711"}, "11: backends.things.subscribe.secret: expected a text in one line; quote one"),
        ({"topics": "{alarm: +x/alarm}"}, "12: backends.things.subscribe.topics.alarm: expected a topic below"),
        ({"topics": "{online: '#'}"}, "12: backends.things.subscribe.topics.online: expected a topic below"),
        ({"topics": "{alarms: x}"}, "12: backends.things.subscribe.topics.alarms: unknown option"),
        ({"topics": "{alarm: x, online: x}"}, "12: backends.things.subscribe.topics.online: the same topic as alarm"),
        ({"topics": "{attributes: null}"}, "12: backends.things.subscribe.topics: expected at least one topic"),
    ],
)
def test_wrong_option_is_named_with_its_line(tmp_path: Path, changed: dict[str, str], found: str) -> None:
    assert problem(tmp_path, **changed).startswith(found)


def test_missing_key_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(FILE.format(url="ws://h", key="x", secret="y", topics="{}").replace("      key: x\n", ""))
    with pytest.raises(ConfigError) as raised:
        load(path)
    expected = "needs key beside it, the ProjectViewKey"
    assert raised.value.problems == [f"{path}:9: backends.things.subscribe.url: {expected}"]


def test_key_and_secret_are_secrets_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(FILE.format(url="wss://h", key="view-key-1", secret="view-secret-1", topics="{}"))
    assert {"view-key-1", "view-secret-1"} <= set(load(path).secrets)


def online(value: Any, ts: int | None = None, device: str = FIRST) -> dict[str, Any]:
    return {"device": {"id": device}, "online": value} | ({} if ts is None else {"ts": ts})


async def test_device_comes_and_goes_and_an_older_message_changes_nothing() -> None:
    async with simulated() as (simulator, run):
        await run.poll("devices")
        assert run.state()["online"] == "ON"
        for value, ts, shown in ((False, 2_000, "OFF"), (True, 1_000, "OFF"), (1, 3_000, "ON"), ("off", None, "OFF")):
            run.push("online", online(value, ts and 1_700_000_000_000 + ts))
            assert run.state()["online"] == shown
        run.push("online", online(True, device="unlisted"))
        simulator.devices[FIRST].online = True
        await run.poll("devices")  # a list that is requested afterwards counts
        assert run.state()["online"] == "ON"


@pytest.mark.parametrize("fields", [{"reply": {"method": "restart", "params": {"result": 0}, "id": 7}}, None])
async def test_reply_is_an_event_of_its_device(fields: dict[str, Any] | None) -> None:
    reply = {"method": "restart", "params": {"result": 0}, "id": 7}
    async with simulated() as (_, run):
        await run.poll("devices")
        run.push("reply", {"device": {"id": FIRST}, **(fields or reply)})
        (event,) = run.events
        assert (event.device, event.key, event.event_type) == (DEVICE, "last_event", "reply")
        assert event.attributes == reply | {"id": "7", "ts": None}


@pytest.mark.parametrize("kind", ["online", "reply"])
@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"{}", b'{"device": {"id": "a"}}', b'{"online": 1, "id": 1}'])
async def test_message_without_what_it_is_about_is_refused(kind: str, body: bytes) -> None:
    async with simulated() as (_, run):
        with pytest.raises(InvalidResponse):
            run.kind(kind).accept(body)


def set_connected(run: Run, connected: bool) -> None:
    assert run.backend.subscription is not None
    run.backend.subscription.set_connected(connected)


async def test_connected_devices_are_read_once_and_after_a_loss_those_that_sent_something() -> None:
    async with simulated(devices=3, subscribe=SUBSCRIBE) as (simulator, run):
        set_connected(run, True)
        await run.poll("devices", "attributes", "attributes")
        devices = list(simulator.devices)
        assert [len(calls(simulator, f"device/{device}/attributes")) for device in devices] == [1, 1, 1]
        assert [len(calls(simulator, f"device/{device}/attributes_raw")) for device in devices] == [0, 0, 0]
        set_connected(run, False)
        simulator.report(FIRST, {"temperature": 30.5}, push=False)
        await run.poll("devices", "attributes")
        assert [len(calls(simulator, f"device/{device}/attributes_raw")) for device in devices] == [1, 0, 0]
        assert run.state()["temperature"] == 30.5


async def test_connected_device_is_read_when_it_sent_what_did_not_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    async with simulated(subscribe=SUBSCRIBE) as (simulator, run):
        set_connected(run, True)
        await run.poll("devices", "attributes")
        simulator.report(FIRST, {"temperature": 30.5}, push=False)
        simulator.report(SECOND, {"temperature": 31.5}, push=False)
        run.push("attributes", {"device": {"id": SECOND}, "attributes": {"temperature": 31.5}})
        await run.poll("devices", "attributes")
        assert len(calls(simulator, f"device/{FIRST}/attributes_raw")) == 1
        assert len(calls(simulator, f"device/{SECOND}/attributes_raw")) == 0
        assert run.state()["temperature"] == 30.5

        await run.act("device_command", device_id=SECOND, method="restart")
        await run.poll("attributes")
        assert len(calls(simulator, f"device/{SECOND}/attributes_raw")) == 1

        monkeypatch.setattr(run.backend.client.store, "_full_sweep_interval", -1.0)
        await run.poll("attributes")
        assert len(calls(simulator, f"device/{FIRST}/attributes_raw")) == 2


async def test_connected_device_with_an_unknown_attribute_is_read() -> None:
    async with simulated(subscribe=SUBSCRIBE) as (simulator, run):
        set_connected(run, True)
        await run.poll("devices", "attributes")
        simulator.report(FIRST, {"brand_new": 7}, push=False)
        run.push("attributes", {"device": {"id": FIRST}, "attributes": {"brand_new": 7}})
        await run.poll("attributes")
        assert run.state()["brand_new"] == 7
