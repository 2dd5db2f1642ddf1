"""Receivers of notifications: a real server of mail (aiosmtpd), and one of HTTP.

async with open_mailbox() as box, open_receiver() as receiver:
    config = NotifyConfig(name="duty", url=Secret(box.url))
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiosmtpd.smtp import SMTP

from tests.broker import HOST

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator


@dataclass(slots=True)
class Receiver:
    """An HTTP server that answers with the statuses it is given, then with 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Requests are answered while it is set."""
    reply: str = ""

    async def receive(self, request: web.Request) -> web.Response:
        self.asked += 1
        body = await request.json()
        await self.held.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.taken.append(body)
        return web.Response(status=status, text=self.reply)

    @property
    def titles(self) -> list[str]:
        return [each["title"] for each in self.taken]


@asynccontextmanager
async def open_receiver(port: int = 0, context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Serve until the end; with a TLS context, HTTPS."""
    receiver = Receiver()
    receiver.held.set()
    application = web.Application()
    application.router.add_post("/{tail:.*}", receiver.receive)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port, ssl_context=context).start()
        receiver.url = f"json{'s' if context else ''}://{HOST}:{runner.addresses[0][1]}/hook"
        yield receiver
    finally:
        receiver.held.set()
        await runner.cleanup()


@dataclass(slots=True)
class Mailbox:
    """A mail server's handler: what was taken, in its order."""

    port: int = 0
    mails: list[Any] = field(default_factory=list)
    reply: str = "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.reply.startswith("250"):
            self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return self.reply

    @property
    def url(self) -> str:
        return f"mailto://{HOST}:{self.port}/?from=bridge@example.com&to=duty@example.com&mode=insecure"

    @property
    def subjects(self) -> list[str]:
        return [str(mail["subject"]) for mail in self.mails]

    @property
    def bodies(self) -> list[str]:
        return [mail.get_body(("plain",)).get_content() for mail in self.mails]


@asynccontextmanager
async def open_mailbox(port: int = 0, context: ssl.SSLContext | None = None) -> AsyncIterator[Mailbox]:
    """Serve mail until the end; with a TLS context, by SMTPS."""
    box = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(box, hostname="localhost", enable_SMTPUTF8=True, loop=loop), HOST, port, ssl=context
    )
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
