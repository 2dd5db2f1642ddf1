"""HTTP calls to vendor systems: one `call()`, and data that describes the vendor's envelope."""

from __future__ import annotations

import os
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
from fleet2mqtt.sdk.aiohttp_overrides import disable_retries
from fleet2mqtt.sdk.api import Calls
from fleet2mqtt.sdk.exchanges import Exchange, current_exchanges
from fleet2mqtt.sdk.poll_figures import current_figures
from fleet2mqtt.sdk.rate_limiter import RateLimiter
from fleet2mqtt.tracing import span

MAX_REPLY = 64 * 1024 * 1024
MAX_RETRY_AFTER = 300.0
"""Longest pause in seconds that a Retry-After header may ask for."""
_DENIED = frozenset((401, 403))
_BUSY = frozenset((429, 503))
_NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ssl.SSLError)
_READING_METHODS = frozenset(("GET", "HEAD"))
_OK = 200
_QUERY = re.compile(r"\?\S*")
"""The query of a URL in aiohttp's texts: a signature that did not arrive could still be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The members that every response of a vendor has around its data.

    A response is a success if `member` is one of `success`; else the reason is in one of `texts`.
    `classify(code, text)` may return a narrower error class than Rejected. Where the text is a list, its items failed.
    """

    member: str = "code"
    success: tuple[Any, ...] = (0, "0")
    texts: tuple[str, ...] = ("message",)
    classify: Callable[[Any, str], type[BackendError] | None] | None = None

    def check(self, reply: dict[str, Any], endpoint: str) -> None:
        """Raise the error that an unsuccessful response stands for."""
        code = reply.get(self.member)
        if code in self.success and not (isinstance(code, bool) is not isinstance(self.success[0], bool)):
            return
        if self.member not in reply:
            message = f"{endpoint}: the answer has no {self.member!r}"
            raise InvalidResponse(message, endpoint=endpoint, code="no_" + self.member)
        reason = next((reply[key] for key in self.texts if reply.get(key)), "no reason given")
        kind = (self.classify(code, str(reason)) if self.classify else None) or Rejected
        raise kind(
            str(reason), endpoint=endpoint, code=code, data={"failed": reason} if isinstance(reason, list) else None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpClient:
    """One vendor system. `base` is its URL without a trailing slash.

    Calls that only read share `session` and its connections, and are sent once more where the vendor closed an idle
    connection just as the request arrived. Calls that write are never repeated; each has a connection of its own in
    `write_session`, so that this cannot happen to them.
    """

    session: aiohttp.ClientSession
    write_session: aiohttp.ClientSession
    base: str
    envelope: Envelope
    rate_limiter: RateLimiter
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
        writes: bool | None = None,
    ) -> dict[str, Any]:
        """Call `path` and return the response, an object that says success. `endpoint` names it in health and errors.

        `writes` is True if the call changes something at the vendor; by default only GET does not.
        Raises Unreachable, Ambiguous, InvalidResponse, Rejected, RateLimited, AuthenticationError.
        """
        name = endpoint or path
        count = self.calls[name]
        async with self.rate_limiter.slot():
            count.calls += 1
            if figures := current_figures():
                figures.add_call()
            reading = method in _READING_METHODS if writes is None else not writes
            request = {"params": params, "headers": headers, "json": json}
            with span("call", endpoint=name):
                try:
                    return await self._exchange(method, path, name, reading=reading, request=request)
                except BackendError as error:
                    count.failures += 1
                    error.args = (self.redact(str(error)),)  # a vendor may repeat what it was sent
                    raise

    async def _exchange(
        self, method: str, path: str, name: str, *, reading: bool, request: dict[str, Any]
    ) -> dict[str, Any]:
        """Send a request and return its response, an object that says success."""
        status, data, location = await self._send(method, path, name, reading=reading, **request)
        if exchanges := current_exchanges():
            query, body = request["params"] or {}, request["json"]
            exchanges.made.append(
                Exchange(endpoint=name, method=method, path=path, query=query, body=body, status=status, response=data)
            )
        reply = self._parse(status, data, name, location)
        self.envelope.check(reply, name)
        return reply

    async def _send(
        self, method: str, path: str, name: str, *, reading: bool, **request: Any
    ) -> tuple[int, bytes, str]:
        try:
            try:
                return await self._send_once(
                    self.session if reading else self.write_session, method, path, name, request
                )
            except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                if not reading:
                    raise
                return await self._send_once(self.session, method, path, name, request)
        except _NOT_CONNECTED as error:
            message = f"{name}: no connection to {self.base}: {describe_connection_error(error)}"
            raise Unreachable(message, endpoint=name, code="unreachable") from error
        except TimeoutError as error:
            message = f"{name}: no complete response within {self.timeout:g} s"
            raise Ambiguous(message, endpoint=name, code="timeout") from error
        except (aiohttp.ClientError, OSError) as error:
            message = f"{name}: the connection broke: {describe_connection_error(error)}"
            raise Ambiguous(message, endpoint=name, code="connection_lost") from error

    async def _send_once(
        self, session: aiohttp.ClientSession, method: str, path: str, name: str, request: dict[str, Any]
    ) -> tuple[int, bytes, str]:
        timeout = aiohttp.ClientTimeout(total=self.timeout, sock_connect=min(self.timeout, 5.0))
        async with session.request(
            method, self.base + path, timeout=timeout, allow_redirects=False, **request
        ) as response:
            if response.status in _BUSY:
                self.rate_limiter.pause(_retry_after(response.headers.get("Retry-After", "")))
            return response.status, await _read(response, name), response.headers.get("Location", "")

    def _parse(self, status: int, data: bytes, name: str, location: str) -> dict[str, Any]:
        try:
            reply = self.parse(data) if data else None
        except InvalidResponse as error:
            reply = None
            fault = f"{name}: HTTP {status}, {error}"
        else:
            fault = f"{name}: HTTP {status}" + ("" if data else " and an empty body")
        if 300 <= status < 400 and location:  # not followed: a write would be sent again as a read, to an unknown host
            fault = (
                f"{name}: HTTP {status}, redirected to {_QUERY.sub('', location)[:200]}; is the backend's url right?"
            )
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
    chunks, size = list[bytes](), 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_REPLY:
            message = f"{name}: the answer is larger than {MAX_REPLY} bytes"
            raise InvalidResponse(message, endpoint=name, code="too_large")
    return b"".join(chunks)


def _retry_after(retry_after: str) -> float:
    """Return the seconds of a Retry-After header, which has seconds or an HTTP date."""
    if retry_after.isascii() and retry_after.isdecimal():
        return min(float(retry_after), MAX_RETRY_AFTER)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return min(max(until.timestamp() - time.time(), 0.0), MAX_RETRY_AFTER)


_CONNECTION_ERRORS: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "the host name cannot be resolved"),
    (aiohttp.ClientConnectorSSLError, "the TLS handshake failed; is the url's scheme right?"),
    (aiohttp.ConnectionTimeoutError, "the host does not answer"),
    (aiohttp.ServerDisconnectedError, "the vendor closed it before a response came"),
    (ssl.SSLError, "the TLS handshake failed; is the url's scheme right?"),
)


def describe_connection_error(error: BaseException) -> str:
    """Return in plain text why a connection could not be made, or broke; without secrets and aiohttp's terms."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        verified = getattr(error.certificate_error, "verify_message", "")
        return f"the certificate is not trusted{f' ({verified})' if verified else ''}; check ca"
    for kind, text in _CONNECTION_ERRORS:
        if isinstance(error, kind):
            return text
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return redaction.redact(_QUERY.sub("", str(error))) or type(error).__name__


@asynccontextmanager
async def open_http_client(
    options: Mapping[str, Any],
    *,
    envelope: Envelope,
    rate_limiter: RateLimiter,
    parse: Callable[[bytes], Any] = vendor_json.parse,
) -> AsyncIterator[HttpClient]:
    """Open an HttpClient for a backend's common options: `url`, `timeout`, `headers`, `verify_tls`, `ca`."""
    trust = _trust(options)
    common: dict[str, Any] = {"headers": options["headers"], "cookie_jar": aiohttp.DummyCookieJar()}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust, limit=0), **common) as session,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust, limit=0, force_close=True), **common
        ) as write_session,
    ):
        for each in (session, write_session):
            disable_retries(each)  # else aiohttp sends a PUT or DELETE again by itself
        yield HttpClient(
            session=session,
            write_session=write_session,
            base=options["url"],
            envelope=envelope,
            rate_limiter=rate_limiter,
            timeout=options["timeout"],
            parse=parse,
            redact=Redaction(_secrets(options)),
        )


def _trust(options: Mapping[str, Any]) -> ssl.SSLContext | bool:
    """Return the TLS context of a backend; not made for plain HTTP, as it reads all of the system's authorities."""
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
