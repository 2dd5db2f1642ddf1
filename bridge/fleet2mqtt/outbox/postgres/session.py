"""A session with the database: one connection on a task of its own, which callers cannot cancel.

Three things that PostgreSQL and psycopg do make that necessary. A cancelled commit that waits for its standby is
visible afterwards without being replicated. A call on a connection whose server stopped answering does not end when it
is cancelled, only when its socket is shut down. And a lost connection leaves open whether the statement was carried
out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox.postgres.migrations import SCHEMA

logger = logging.getLogger(__name__)

T = TypeVar("T")

TIMEOUT = 10.0
"""Seconds after which a caller gets an OutboxError, and a statement's socket is shut down."""
MIN_RETRY_DELAY = 0.1
MAX_RETRY_DELAY = 1.0
MAX_CONFLICTS = 20
# "canceling wait for synchronous replication": by a cancel request, and because the server ends the connection.
_NOT_REPLICATED = {"01000", "57P01"}
_DEFAULTS: Mapping[str, Any] = {
    "application_name": "fleet2mqtt",
    "connect_timeout": 3,  # a host; the next one of the list is tried after it
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "target_session_attrs": "read-write",  # of several hosts the primary
    "tcp_user_timeout": 10_000,  # ms
}

Work = Callable[[AsyncConnection], Awaitable[T]]
"""Statements for one connection. After a lost connection they are carried out again on the next one."""


class NotReplicated(Exception):
    """A commit ended without its standby: what it wrote is visible, and may be lost with the primary."""


def connection_string(dsn: str) -> str:
    """Return a DSN with the bridge's defaults for what it leaves open. Raises OutboxError."""
    try:
        return make_conninfo("", **{**_DEFAULTS, **conninfo_to_dict(dsn)})
    except psycopg.Error as error:
        # The text of the error may repeat the DSN with its password.
        raise OutboxError(
            "the DSN of the database cannot be parsed: it is postgresql://… or key=value pairs"
        ) from error


def shut_down(connection: AsyncConnection) -> None:
    """Shut the socket of a connection down, so that whoever waits for it gets an error at once."""
    with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def deadline(connection: AsyncConnection, seconds: float) -> Iterator[None]:
    """Shut the connection's socket down if the block takes longer than so many seconds."""
    timer = asyncio.get_running_loop().call_later(seconds, shut_down, connection)
    try:
        yield
    finally:
        timer.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    work: Work[Any]
    done: asyncio.Future[Any]
    expires: float


_CONFLICTS = (
    psycopg.errors.UniqueViolation,  # another node added the same at the same time
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
)
_LOST = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,  # it is a standby now
    NotReplicated,
    OSError,
)


def _set_exception(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _set_result(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


class Session:
    """One connection, made again whenever it is lost; calls are carried out one after another.

    `parameters` are set on each connection; `prepare` is carried out on it before anything else.
    """

    def __init__(
        self,
        dsn: str,
        name: str,
        *,
        parameters: Mapping[str, str],
        prepare: Work[None] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._dsn = connection_string(dsn)
        self._name = name
        self._prepare = prepare
        self._timeout = timeout
        self._parameters = {
            "idle_in_transaction_session_timeout": f"{timeout / 2 * 1000:.0f}",
            "lock_timeout": f"{timeout * 0.8 * 1000:.0f}",  # before the deadline, which costs the connection
            "search_path": SCHEMA,
            "timezone": "UTC",
            **parameters,
        }
        self._loop = asyncio.get_running_loop()
        self._calls: deque[_Call] = deque()
        self._wake = asyncio.Event()
        self._connection: AsyncConnection | None = None
        self._not_replicated = False
        self._closing = False
        self._aborted = False
        self._lost_at: float | None = self._loop.time()
        self._error: Exception | None = None
        self._task = self._loop.create_task(self._serve(), name=f"database {name}")

    @property
    def connected(self) -> bool:
        """True while there is a connection that is not known to be broken."""
        return self._connection is not None

    @property
    def error(self) -> Exception | None:
        """The last reason for which there is no connection, None while there is one."""
        return None if self.connected else self._error

    async def run(self, work: Work[T]) -> T:
        """Return the result of `work(connection)`, carried out again after a lost connection.

        A caller that is cancelled does not end it. Raises OutboxError after the timeout, and at once while there has
        been no connection for as long.
        """
        return await self.submit(work)  # type: ignore[no-any-return]

    def submit(self, work: Work[Any]) -> asyncio.Future[Any]:
        """Enqueue work; return the future of its result, as of `run`."""
        done: asyncio.Future[Any] = self._loop.create_future()
        now = self._loop.time()
        if self._closing:
            done.set_exception(OutboxError("the outbox is closed"))
        elif self._lost_at is not None and now - self._lost_at > self._timeout:
            done.set_exception(self._unavailable(self._error))
        else:
            self._calls.append(_Call(work=work, done=done, expires=now + self._timeout))
            self._wake.set()
        return done

    async def close(self, *, at_once: bool = False) -> None:
        """Close the connection after what was submitted is carried out, or at once."""
        self._closing = True
        self._aborted = at_once
        if at_once and self._connection is not None:
            shut_down(self._connection)
        self._wake.set()
        await asyncio.shield(self._task)

    async def _serve(self) -> None:
        while self._calls or not self._closing:
            if self._calls:
                await self._perform(self._calls.popleft())
                continue
            if self._connection is None:
                await self._try_to_connect()
            self._wake.clear()
            if self._connection is None and not self._calls:
                await wait_for_event(self._wake, MAX_RETRY_DELAY)
            elif not self._calls and not self._closing:
                await self._wake.wait()
        await self._drop()

    async def _try_to_connect(self) -> None:
        try:
            await self._connect()
        except (psycopg.Error, OSError, OutboxError, NotReplicated) as error:
            await self._lost(error)

    async def _perform(self, call: _Call) -> None:
        delay, conflicts = 0.0, 0  # a lost connection may have been a proxy's, or a primary's that has a successor
        error: Exception | None = None
        while self._loop.time() < call.expires:
            try:
                result = await self._attempt(call.work)
            except _CONFLICTS as conflict:
                error, conflicts = conflict, conflicts + 1
                if conflicts < MAX_CONFLICTS:
                    continue
                break
            except psycopg.errors.LockNotAvailable as locked:
                error = locked
            except _LOST as lost:
                error = lost
                await self._lost(lost)
            except psycopg.Error as wrong:
                error = wrong
                break
            except Exception as other:  # noqa: BLE001 - it is the caller's
                return _set_exception(call.done, other)
            else:
                return _set_result(call.done, result)
            if self._aborted or call.done.done():
                break  # nobody waits for it, and it has been tried
            await asyncio.sleep(delay)
            delay = min(max(2 * delay, MIN_RETRY_DELAY), MAX_RETRY_DELAY)
        return _set_exception(call.done, self._unavailable(error))

    def _unavailable(self, error: Exception | None) -> OutboxError:
        reason = " ".join(str(error).split()) if error else f"no answer within {self._timeout:g} s"
        failure = OutboxError(f"database: {reason}")
        failure.__cause__ = error
        return failure

    async def _attempt(self, work: Work[T]) -> T:
        connection = self._connection or await self._connect()
        with deadline(connection, self._timeout):
            result = await work(connection)
        self._check_replicated()
        return result

    def _check_replicated(self) -> None:
        if self._not_replicated:
            raise NotReplicated("a commit might not have been replicated to the standby")

    async def _connect(self) -> AsyncConnection:
        connection = await AsyncConnection.connect(self._dsn, autocommit=True, prepare_threshold=0)
        self._not_replicated = False
        connection.add_notice_handler(self._on_notice)
        try:
            with deadline(connection, self._timeout):
                for name, value in self._parameters.items():
                    await connection.execute("SELECT set_config(%s, %s, false)", (name, value))
                if self._prepare is not None:
                    await self._prepare(connection)
            self._check_replicated()
        except BaseException:
            await connection.close()
            raise
        self._connection = connection
        if self._error is not None:
            logger.info("the database is connected again (%s)", self._name)
        self._lost_at, self._error = None, None
        return connection

    async def _lost(self, error: Exception) -> None:
        if self._error is None and not self._aborted:
            logger.warning("no connection to the database (%s): %s", self._name, " ".join(str(error).split()))
        self._error = error
        if self._lost_at is None:
            self._lost_at = self._loop.time()
        await self._drop()

    async def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    def _on_notice(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.sqlstate in _NOT_REPLICATED:
            self._not_replicated = True
