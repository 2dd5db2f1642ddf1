"""Vendor calls over HTTP: one `call()`, told by data what the vendor's envelope looks like."""

from __future__ import annotations

import re
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from fleet2mqtt import redaction
from fleet2mqtt.errors import (
    Ambiguous,
    AuthenticationError,
    BackendError,
    InvalidResponse,
    RateLimited,
    Rejected,
    Unreachable,
)
from fleet2mqtt.redaction import Redaction
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.api import Calls
from fleet2mqtt.sdk.rate_limiter import RateLimiter

MAX_REPLY = 64 * 1024 * 1024
LONGEST_HOLD = 300.0
"""Seconds: a vendor that asks for more (Retry-After) is tried again then all the same."""
_DENIED = frozenset((401, 403))
_BUSY = frozenset((429, 503))
_CONNECT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ssl.SSLError)
_OK = 200
_QUERY = re.compile(r"\?\S*")
"""What aiohttp's words may repeat of a URL: a signature that did not arrive could still be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """How a vendor wraps its answers: `member` is one of `success`, or the text of the refusal is in `texts`.

    `classify(code, text)` may name a narrower error than Rejected. Where the text is a list, those are what failed.
    """

    member: str = "code"
    success: tuple[Any, ...] = (0, "0")
    texts: tuple[str, ...] = ("message",)
    classify: Callable[[Any, str], type[BackendError] | None] | None = None

    def check(self, reply: dict[str, Any], endpoint: str) -> None:
        """Raise what a refusing reply means."""
        code = reply.get(self.member)
        if code in self.success and not (isinstance(code, bool) is not isinstance(self.success[0], bool)):
            return
        if self.member not in reply:
            message = f"{endpoint}: the answer has no {self.member!r}"
            raise InvalidResponse(message, endpoint=endpoint, code="no_" + self.member)
        said = next((reply[key] for key in self.texts if reply.get(key)), "no reason given")
        kind = (self.classify(code, str(said)) if self.classify else None) or Rejected
        raise kind(str(said), endpoint=endpoint, code=code, data={"failed": said} if isinstance(said, list) else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpClient:
    """One vendor system. `base` has no trailing slash; `prepare` may add what each attempt needs afresh."""

    session: aiohttp.ClientSession
    base: str
    envelope: Envelope
    pace: RateLimiter
    timeout: float = 10.0
    parse: Callable[[bytes], Any] = vendor_json.parse
    redact: Callable[[str], str] = redaction.redact
    calls: defaultdict[str, Calls] = field(default_factory=lambda: defaultdict(Calls))

    async def call(  # noqa: PLR0913 - what an HTTP request is made of
        self,
        method: str,
        path: str,
        *,
        endpoint: str | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> dict[str, Any]:
        """Call `path` and give the reply, an object that says success. `endpoint` names it in health and errors.

        Raises Unreachable, Ambiguous, InvalidResponse, Rejected, RateLimited, AuthenticationError.
        """
        name = endpoint or path
        count = self.calls[name]
        async with self.pace.slot():
            count.calls += 1
            try:
                status, data, moved = await self._send(method, path, name, params=params, headers=headers, json=json)
                reply = self._open(status, data, name, moved)
                self.envelope.check(reply, name)
            except BackendError as error:
                count.failures += 1
                error.args = (self.redact(str(error)),)  # a vendor may repeat what it was sent
                raise
        return reply

    async def _send(self, method: str, path: str, name: str, **request: Any) -> tuple[int, bytes, str]:
        timeout = aiohttp.ClientTimeout(total=self.timeout, sock_connect=min(self.timeout, 5.0))
        try:
            async with self.session.request(
                method, self.base + path, timeout=timeout, allow_redirects=False, **request
            ) as response:
                if response.status in _BUSY:
                    self.pace.pause(_wanted_wait(response.headers.get("Retry-After", "")))
                return response.status, await _read(response, name), response.headers.get("Location", "")
        except _CONNECT as error:
            message = f"{name}: no connection to {self.base}: {_words(error)}"
            raise Unreachable(message, endpoint=name, code="unreachable") from error
        except TimeoutError as error:
            message = f"{name}: no whole answer within {self.timeout:g} s"
            raise Ambiguous(message, endpoint=name, code="timeout") from error
        except (aiohttp.ClientError, OSError) as error:
            message = f"{name}: the connection broke: {_words(error)}"
            raise Ambiguous(message, endpoint=name, code="connection_lost") from error

    def _open(self, status: int, data: bytes, name: str, moved: str) -> dict[str, Any]:
        try:
            reply = self.parse(data) if data else None
        except InvalidResponse as error:
            reply = None
            fault = f"{name}: HTTP {status}, {error}"
        else:
            fault = f"{name}: HTTP {status}" + ("" if data else " and an empty body")
        if 300 <= status < 400 and moved:  # not followed: a write would be sent again as a read, to whom we do not know
            fault = f"{name}: HTTP {status}, redirected to {_QUERY.sub('', moved)[:200]}; is the backend's url right?"
        if status in _DENIED:
            raise AuthenticationError(fault, endpoint=name, code=status)
        if status in _BUSY:
            raise RateLimited(fault, endpoint=name, code=status)
        if status != _OK and not (isinstance(reply, dict) and self.envelope.member in reply):
            kind = Rejected if 400 <= status < 500 else InvalidResponse
            raise kind(fault, endpoint=name, code=status)
        if not isinstance(reply, dict):
            raise InvalidResponse(fault if reply is None else f"{name}: not an object", endpoint=name, code="bad_reply")
        return reply


async def _read(response: aiohttp.ClientResponse, name: str) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_chunked(1 << 18):
        data += chunk
        if len(data) > MAX_REPLY:
            message = f"{name}: the answer is larger than {MAX_REPLY} bytes"
            raise InvalidResponse(message, endpoint=name, code="too_large")
    return bytes(data)


def _wanted_wait(retry_after: str) -> float:
    """Seconds that a busy vendor wants to be left alone: as it says, in seconds or as an HTTP date."""
    if retry_after.isascii() and retry_after.isdecimal():
        return min(float(retry_after), LONGEST_HOLD)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return min(max(until.timestamp() - time.time(), 0.0), LONGEST_HOLD)


def _words(error: BaseException) -> str:
    return redaction.redact(_QUERY.sub("", str(error))) or type(error).__name__


@asynccontextmanager
async def open_http_client(
    options: Mapping[str, Any],
    *,
    envelope: Envelope,
    pace: RateLimiter,
    parse: Callable[[bytes], Any] = vendor_json.parse,
) -> AsyncIterator[HttpClient]:
    """An HttpClient for a backend's common options: `url`, `timeout`, `headers`, `verify_tls`, `ca`."""
    connector = aiohttp.TCPConnector(ssl=_trust(options), limit=0)
    async with aiohttp.ClientSession(
        connector=connector, headers=options["headers"], cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        session._retry_connection = False  # noqa: SLF001 - else aiohttp sends a PUT or DELETE again by itself
        yield HttpClient(
            session=session,
            base=options["url"],
            envelope=envelope,
            pace=pace,
            timeout=options["timeout"],
            parse=parse,
            redact=Redaction(_secrets(options)),
        )


def _trust(options: Mapping[str, Any]) -> ssl.SSLContext | bool:
    """Whom to believe; making it reads all of the system's authorities, so not for plain HTTP."""
    if urlsplit(options["url"]).scheme != "https":
        return True
    trust = ssl.create_default_context(cafile=options.get("ca"))
    if not options["verify_tls"]:
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE
    return trust


def _secrets(options: Mapping[str, Any]) -> list[str]:
    named = (value for name, value in options.items() if name.lower() in redaction.SECRET_KEYS)
    texts = (value for value in named if isinstance(value, str))
    return [*options["headers"].values(), *options.get("secrets", ()), *texts]
