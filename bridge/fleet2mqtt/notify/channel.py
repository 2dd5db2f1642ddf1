"""Sending of one notification by Apprise, which blocks: in a thread, with a timeout."""

from __future__ import annotations

import asyncio
import threading

from fleet2mqtt.config.models import NotifyConfig
from fleet2mqtt.config.notify_options import last_http_status, load_apprise
from fleet2mqtt.errors import BridgeError

TIMEOUT = 60.0
_TYPES = {"cleared": "success", "reminder": "warning", "raised": "failure", "digest": "warning"}


class NotSent(BridgeError):
    """A notification was not taken by its target; the text has no secret."""


class Channel:
    """Sends to one target, one message at a time."""

    def __init__(self, config: NotifyConfig, timeout: float = TIMEOUT) -> None:
        self._config = config
        self._timeout = timeout
        self._sending: asyncio.Future[None] | None = None

    async def send(self, kind: str, title: str, body: str) -> None:
        """Send a message. Raises NotSent."""
        if self._sending is not None and not self._sending.done():
            raise NotSent("the last attempt has not ended yet")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._sending = done

        def finish(error: Exception | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        def work() -> None:
            error: Exception | None = None
            try:
                _send(self._config.url.reveal(), kind, title, body)
            except NotSent as failure:
                error = failure
            except Exception as failure:  # noqa: BLE001 - of plugins; its text may have a secret
                error = NotSent(type(failure).__name__)
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish, error)

        # Not an executor: the end of the process would wait for its threads.
        threading.Thread(target=work, name=f"notify {self._config.name}", daemon=True).start()
        finished, _ = await asyncio.wait((done,), timeout=self._timeout)
        if not finished:
            done.add_done_callback(_retrieve)
            raise NotSent(f"no answer within {self._timeout:g} s")
        done.result()


def _retrieve(done: asyncio.Future[None]) -> None:
    if not done.cancelled():
        done.exception()


def _send(url: str, kind: str, title: str, body: str) -> None:
    apprise = load_apprise()
    target = apprise.Apprise.instantiate(url, suppress_exceptions=True)
    if target is None:
        raise NotSent("the URL cannot be used")
    if not target.notify(body=body, title=title, notify_type=apprise.NotifyType(_TYPES[kind])):
        status = last_http_status()
        raise NotSent(f"HTTP {status}" if status else "not accepted")
