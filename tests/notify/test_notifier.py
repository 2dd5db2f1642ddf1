"""Notifications from the outbox to real servers of mail and HTTP, through their failures and restarts."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiosmtpd.controller import Controller

from fleet2mqtt.config.models import Language, NotifyConfig, Secret
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.notify.channel import Channel, NotSent
from fleet2mqtt.notify.notifier import OWNER, Target
from fleet2mqtt.notify.texts import render
from fleet2mqtt.outbox import Outbox, open_outbox
from tests.sample_alarms import add
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


class Receiver:
    """An HTTP server that answers with the statuses it is given, then 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.taken: list[dict[str, Any]] = []
        self.held = asyncio.Event()
        self.held.set()
        self.url = ""

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.json()
        await self.held.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.taken.append(body)
        return web.Response(status=status)

    @property
    def titles(self) -> list[str]:
        return [each["title"] for each in self.taken]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    server = Receiver()
    application = web.Application()
    application.router.add_post("/{tail:.*}", server.receive)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"json://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield server
    server.held.set()
    await runner.cleanup()


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, port
    controller.stop()


@asynccontextmanager
async def running(outbox: Outbox, url: str, retry: float = 0.05, **options: Any) -> AsyncIterator[Target]:
    """A target whose tasks are cancelled at once at the end, wherever they are."""
    config = NotifyConfig(name="duty", url=Secret(url), **options)
    target = Target(config, Language.ENGLISH, outbox, Registry(time.monotonic, lambda *_: ()), {})
    target.first_retry = retry
    await target.start()
    tasks = [asyncio.ensure_future(target.read()), asyncio.ensure_future(target.deliver())]
    try:
        yield target
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def raise_alarm(outbox: Outbox, target: Target, number: int, *, cleared: bool = False) -> None:
    await add(outbox, number, active=True, alarm_key=f"a{number}", cleared=cleared, description_en=f"alarm {number}")
    target.wake.set()


async def test_mail_of_a_raise_and_its_end(tmp_path: Path, mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    url = f"mailto://127.0.0.1:{port}/?from=bridge@example.com&to=duty@example.com&mode=insecure"
    async with open_outbox(tmp_path / "o.sqlite") as outbox, running(outbox, url) as target:
        await raise_alarm(outbox, target, 1)
        await raise_alarm(outbox, target, 1, cleared=True)
        await wait_until(lambda: target.results["sent"] == 2, "the notifications")
    assert [mail["subject"] for mail in box.mails] == [
        "[critical] hq_voip_1: alarm 1",
        "Cleared: [critical] hq_voip_1: alarm 1",
    ]


async def test_refused_message_is_sent_again_until_it_is_taken_once(tmp_path: Path, receiver: Receiver) -> None:
    receiver.statuses = [500, 404, 503]
    async with open_outbox(tmp_path / "o.sqlite") as outbox, running(outbox, receiver.url) as target:
        await raise_alarm(outbox, target, 1)
        await raise_alarm(outbox, target, 2)
        await wait_until(lambda: target.results["sent"] == 2, "the notifications")
        assert target.figures() == {"sent": 2, "failed": 3, "queued": 0, "missed": 0, "last_error": None}
    assert receiver.titles == ["[critical] hq_voip_1: alarm 1", "[critical] hq_voip_1: alarm 2"]


async def test_what_waits_survives_restarts_and_is_sent_once(tmp_path: Path, receiver: Receiver) -> None:
    receiver.statuses = [500]
    async with open_outbox(tmp_path / "o.sqlite") as outbox, running(outbox, receiver.url, retry=600.0) as target:
        await raise_alarm(outbox, target, 1)
        await wait_until(lambda: target.results["failed"] == 1 or target.results["sent"] == 1, "the notifications")
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        await add(outbox, 2, description_en="alarm 2")  # while no target runs
        async with running(outbox, receiver.url) as target:
            await wait_until(lambda: len(receiver.taken) == 2 and target.results["sent"] == 2, "the notifications")
    async with open_outbox(tmp_path / "o.sqlite") as outbox, running(outbox, receiver.url) as target:
        await raise_alarm(outbox, target, 3)
        await wait_until(lambda: len(receiver.taken) == 3, "the notifications")
    assert [title[-1] for title in receiver.titles] == ["1", "2", "3"]


async def test_new_target_begins_with_what_comes_now(tmp_path: Path, receiver: Receiver) -> None:
    async with open_outbox(tmp_path / "o.sqlite") as outbox:
        await add(outbox, 1)
        async with running(outbox, receiver.url) as target:
            await raise_alarm(outbox, target, 2)
            await wait_until(lambda: target.results["sent"] == 1, "the notifications")
        assert outbox.checkpoint(OWNER, "duty")
    assert receiver.titles == ["[critical] hq_voip_1: alarm 2"]


async def test_slow_and_absent_servers_are_failures(receiver: Receiver) -> None:
    receiver.held.clear()
    slow = Channel(NotifyConfig(name="slow", url=Secret(receiver.url)), timeout=0.1)
    with pytest.raises(NotSent, match="no answer within"):
        await slow.send("raised", "t", "b")
    with pytest.raises(NotSent, match="has not ended"):
        await slow.send("raised", "t", "b")
    tls = Channel(NotifyConfig(name="tls", url=Secret(receiver.url.replace("json:", "jsons:"))))
    with pytest.raises(NotSent):
        await tls.send("raised", "t", "b")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        absent = Channel(NotifyConfig(name="absent", url=Secret(f"json://127.0.0.1:{taken.getsockname()[1]}")))
        with pytest.raises(NotSent):
            await absent.send("raised", "t", "b")


async def test_no_log_has_a_part_of_the_url(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.statuses = [403]
    url = receiver.url.replace("//", "//user:hunter2secret@").replace("hook", "Token99Secret")
    with pytest.raises(NotSent) as raised:
        await Channel(NotifyConfig(name="duty", url=Secret(url))).send("raised", "t", "b")
    assert str(raised.value) == "HTTP 403"
    assert "Secret" not in caplog.text
    assert "hunter2" not in caplog.text


def test_templates_are_sandboxed_and_replaced_when_they_fail() -> None:
    message = {"kind": "raised", "alarm": {"device": "d", "name": "n", "severity": "major", "description": "掉线"}}
    config = NotifyConfig(
        name="duty", url=Secret("json://a"), title="{{ ''.__class__.__mro__ }}", body="{{ alarm.name }}!"
    )
    assert render(config, Language.CHINESE, message) == ("[重要] d：掉线", "n!")
