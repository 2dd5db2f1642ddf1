"""Sending of one notification by Apprise, which blocks: in a thread, with a timeout."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from fleet2mqtt.config.apprise_library import build_target, last_reason, load_apprise
from fleet2mqtt.config.models import NotifyConfig
from fleet2mqtt.errors import BridgeError

TIMEOUT = 60.0
_TYPES = {"cleared": "success", "reminder": "warning", "raised": "failure", "digest": "warning"}
_MAX_BYTES = {"wecombot": 2_000}
"""Bytes of a message where the vendor's bound is in bytes; that of Apprise is in characters."""
Message = tuple[str, str, str]


class NotSent(BridgeError):
    """A notification was not taken by its target; the text has no secret."""


class Channel:
    """Sends to one target, one message at a time."""

    def __init__(self, config: NotifyConfig, timeout: float = TIMEOUT) -> None:
        self._config = config
        self._timeout = timeout
        self._sending: tuple[Message, asyncio.Future[None]] | None = None

    async def send(self, kind: str, title: str, body: str) -> None:
        """Send a message. Raises NotSent.

        A message that is still being sent, after a timeout, is not begun again: its end is waited for.
        """
        message = (kind, title, body)
        if self._sending is None:
            self._sending = (message, self._start(message))
        before, sending = self._sending
        finished, _ = await asyncio.wait((sending,), timeout=self._timeout)
        if not finished:
            raise NotSent(f"no answer within {self._timeout:g} s")
        self._sending = None
        if before != message:
            sending.exception()
            raise NotSent("the attempt before has only just ended")
        sending.result()

    async def settle(self, kind: str, title: str, body: str, grace: float) -> bool:
        """Wait for the end of a message that is being sent; return True if the target has taken it."""
        if self._sending is None or self._sending[0] != (kind, title, body):
            return False
        finished, _ = await asyncio.wait((self._sending[1],), timeout=grace)
        return bool(finished) and self._sending[1].exception() is None

    def _start(self, message: Message) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def finish(error: Exception | None) -> None:
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
                done.exception()  # the message may be gone by now

        def work() -> None:
            error: Exception | None = None
            try:
                _send(self._config.url.reveal(), *message)
            except NotSent as failure:
                error = failure
            except Exception as failure:  # noqa: BLE001 - of plugins; its text may have a secret
                error = NotSent(type(failure).__name__)
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish, error)

        # Not an executor: the end of the process would wait for its threads.
        threading.Thread(target=work, name=f"notify {self._config.name}", daemon=True).start()
        return done


def _send(url: str, kind: str, title: str, body: str) -> None:
    apprise = load_apprise()
    target = build_target(url)
    if target is None:
        raise NotSent("the URL cannot be used")
    if target.overflow_mode == apprise.OverflowMode.UPSTREAM:  # the default; a text too long would be refused for ever
        target.overflow_mode = apprise.OverflowMode.TRUNCATE
    last_reason()
    sender = apprise.Apprise(asset=target.asset)
    sender.add(target)
    sent = sender.notify(
        title=title,
        body=_cut(body, _MAX_BYTES.get(_schema(target), 0) - len(title.encode())),
        notify_type=apprise.NotifyType(_TYPES[kind]),
        body_format=apprise.NotifyFormat.TEXT,
    )
    if not sent:
        raise NotSent(last_reason() or "not accepted")


def _schema(target: Any) -> str:
    return str(target.secure_protocol)


def _cut(body: str, size: int) -> str:
    """Return the beginning of a text that has so many bytes in UTF-8; a bound below 1 is none."""
    return body if size < 1 else body.encode()[:size].decode(errors="ignore")
