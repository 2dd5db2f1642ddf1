"""Group commit: whatever waits goes into one transaction, as soon as the last one is done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from bridge.errors import OutboxError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future

    from bridge.outbox.store import Job, Store

T = TypeVar("T")


class Group:
    """The event loop's side of a store. `executor` has one thread, on which the store was made."""

    def __init__(self, executor: Executor, store: Store) -> None:
        self._executor = executor
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Job, asyncio.Future[Any]]] = []
        self._busy = False
        self._closed = False

    async def write(self, job: Job) -> Any:
        """What the job results in, once it is on disk. Raises OutboxError."""
        if self._closed:
            raise OutboxError("the outbox is closed")
        done: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((job, done))
        if not self._busy:
            self._busy = True
            # Not at once: what else this turn of the loop brings goes along.
            self._loop.call_soon(self._start)
        return await done

    async def read(self, query: Callable[..., T], *arguments: Any) -> T:
        """What `query(connection, *arguments)` gives. Raises OutboxError."""
        if self._closed:
            raise OutboxError("the outbox is closed")
        return await self._loop.run_in_executor(
            self._executor, self._store.read, lambda connection: query(connection, *arguments)
        )

    async def close(self) -> None:
        """Waits for what was submitted, then closes the store."""
        self._closed = True
        self._start()
        await self._loop.run_in_executor(self._executor, self._store.close)

    def _start(self) -> None:
        batch, self._waiting = self._waiting, []
        self._busy = bool(batch)
        if batch:
            future = self._executor.submit(self._store.commit, [job for job, _ in batch])
            future.add_done_callback(lambda future: self._loop.call_soon_threadsafe(self._finish, batch, future))

    def _finish(self, batch: list[tuple[Job, asyncio.Future[Any]]], future: Future[list[Any]]) -> None:
        self._start()
        fault = future.exception()
        results = future.result() if fault is None else [fault] * len(batch)
        for (_, done), result in zip(batch, results, strict=True):
            if done.done():
                continue  # its caller was cancelled
            if isinstance(result, BaseException):
                done.set_exception(result)
            else:
                done.set_result(result)
