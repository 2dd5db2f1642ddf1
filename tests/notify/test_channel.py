"""One message to real servers, and to those that refuse it: the error has a reason, and no secret."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING

import pytest
from apprise.plugins.dingtalk import NotifyDingTalk

from fleet2mqtt.config.apprise_library import reason_in
from fleet2mqtt.config.models import NotifyConfig, Secret
from fleet2mqtt.notify.channel import Channel, NotSent
from tests.broker import HOST, free_port
from tests.certificates import make_certificates
from tests.receivers import open_mailbox, open_receiver

if TYPE_CHECKING:
    from pathlib import Path


def channel(url: str, timeout: float = 60.0) -> Channel:
    return Channel(NotifyConfig(name="duty", url=Secret(url)), timeout)


async def test_mail_is_plain_text_with_its_lines_and_a_subject_in_any_script() -> None:
    async with open_mailbox() as box:
        await channel(box.url).send("raised", "告警：<三号>网关 & 线路掉线", "设备：<gate> & line\n编号：1\n")
    [mail] = box.mails
    assert mail.get_content_type() == "text/plain"
    assert box.subjects == ["告警：<三号>网关 & 线路掉线"]
    assert box.bodies[0].split() == ["设备：<gate>", "&", "line", "编号：1"]
    assert len(box.bodies[0].strip().splitlines()) == 2


async def test_very_long_text_is_cut_to_what_the_channel_takes() -> None:
    async with open_mailbox() as box, open_receiver() as receiver:
        await channel(box.url).send("raised", "长" * 93, "x" * 8000)
        await channel(receiver.url).send("raised", "长" * 250, "x" * 100_000)
    assert box.subjects == ["长" * 93]
    assert len(box.bodies[0].strip()) == 8000
    assert len(receiver.taken[0]["message"]) == 32_768


async def test_slow_message_is_not_begun_twice() -> None:
    async with open_receiver() as receiver:
        receiver.held.clear()
        slow = channel(receiver.url, timeout=0.1)
        for _ in range(3):
            with pytest.raises(NotSent, match="no answer within"):
                await slow.send("raised", "t", "b")
        asyncio.get_running_loop().call_later(0.05, receiver.held.set)
        slow._timeout = 60.0  # noqa: SLF001 - as if it had been patient from the start
        await slow.send("raised", "t", "b")
        assert receiver.asked == len(receiver.taken) == 1


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    """Return a server's TLS context with an unknown authority."""
    made = make_certificates(tmp_path / "certificates")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.server_certificate, made.server_key)
    return context


async def test_unknown_certificate_is_refused_and_named(context: ssl.SSLContext) -> None:
    async with open_receiver(context=context) as receiver, open_mailbox(context=context) as box:
        mails = f"mailtos://{HOST}:{box.port}/?from=bridge@example.com&to=duty@example.com&mode=ssl"
        for url in (receiver.url, mails):
            with pytest.raises(NotSent, match="its TLS certificate is not accepted: unknown authority"):
                await channel(url).send("raised", "t", "b")
    assert not receiver.taken
    assert not box.mails


async def test_reason_of_each_failure_is_given() -> None:
    async with open_mailbox() as box, open_receiver() as receiver:
        box.reply = "554 no"
        receiver.statuses = [401]
        reasons = {
            box.url: "SMTP 554",
            receiver.url: "HTTP 401",
            receiver.url.replace("json:", "jsons:"): "it does not speak TLS as expected",
            f"json://{HOST}:{free_port()}": "connection refused",
            f"mailto://{HOST}:{free_port()}/?from=a@example.com&to=b@example.com&mode=insecure": "connection refused",
            "json://nowhere.invalid": "its host name is not found",
        }
        for url, reason in reasons.items():
            with pytest.raises(NotSent) as raised:
                await channel(url).send("raised", "t", "b")
            assert str(raised.value) == reason


async def test_answer_that_says_no_with_http_200_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_receiver() as receiver:
        monkeypatch.setattr(NotifyDingTalk, "notify_url", receiver.url.replace("json:", "http:") + "?{token}")
        duty = channel("dingtalk://aaaaaaaabbbbbbbbccccccccdddddddd")
        receiver.reply = '{"errcode":310000,"errmsg":"keywords not in content"}'
        with pytest.raises(NotSent, match="error 310000 of the vendor"):
            await duty.send("raised", "t", "b")
        receiver.reply = '{"errcode":0,"errmsg":"ok"}'
        await duty.send("raised", "t", "b")
    assert [each["text"]["content"] for each in receiver.taken] == ["t\r\nb"] * 2


SECRETS = ("hunter2secret", "Token99Secret", "queryWord77")


async def test_no_part_of_the_url_is_in_log_or_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_receiver() as receiver:
        receiver.statuses = [403, 500]
        tls = receiver.url.replace("json:", "jsons:")
        for where in (receiver.url, receiver.url, tls, "json://nowhere.invalid/hook"):
            url = where.replace("//", "//user:hunter2secret@").replace("hook", "Token99Secret?-key=queryWord77")
            with pytest.raises(NotSent) as raised:
                await channel(url).send("raised", "t", "b")
            assert not any(secret in str(raised.value) for secret in SECRETS)
            assert raised.value.__cause__ is None
        assert receiver.asked == 2
    assert not any(secret in caplog.text for secret in SECRETS)


SOCKET = "Socket Exception: "
CERTIFICATE = f"{SOCKET}[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Failed to send JSON notification: Forbidden, error=403.", "HTTP 403"),
        ("Socket Exception: (535, b'5.7.8 user bridge:hunter2 is not known')", "SMTP 535"),
        ("Socket Exception: {'duty@example.com': (550, b'no such user')}", "SMTP 550"),
        (f"{SOCKET}[Errno -2] Name or service not known", "its host name is not found"),
        (
            f"{CERTIFICATE}Hostname mismatch, certificate is not valid for 'h'",
            "its TLS certificate is for another host",
        ),
        (f"{CERTIFICATE}certificate has expired (_ssl.c:1)", "its TLS certificate is not accepted: expired"),
        ("Loaded JSON URL: json://h/timed-out-Token", None),
        ("Socket Exception: something new", None),
    ],
)
def test_reason_is_in_words_of_our_own(line: str, reason: str | None) -> None:
    assert reason_in(line) == reason
