"""Waiting with a timeout, signals, and tasks that end together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def wait_for_event(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, at most so many seconds; return True if it is set.

    Not asyncio.wait_for: before Python 3.12 that one may swallow a cancellation which comes together with the event,
    and the task would wait for ever after.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True


async def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition over several components holds, at most so many seconds; return True if it does."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition() and loop.time() < deadline:  # noqa: ASYNC110 - no single component owns an event for it
        await asyncio.sleep(0.02)
    return condition()


async def wait_for_first(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future in waiting:
            future.cancel()


async def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of work that a cancellation does not interrupt: it is raised once the work has ended.

    For what is stored first and applied afterwards: half of it would be known only after a restart.
    """
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        task.cancelled() or task.exception()  # retrieved: the cancellation is what the caller is told
        raise cancellation
    return task.result()


class Signal:
    """A function without arguments that calls every subscriber."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[], None]] = []

    def subscribe(self, subscriber: Callable[[], None]) -> None:
        """Call a function each time from now on."""
        self._subscribers.append(subscriber)

    def __call__(self) -> None:
        """Call the subscribers, in their order."""
        for subscriber in self._subscribers:
            subscriber()


class TaskSet:
    """Tasks of one TaskGroup that are cancelled together."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def running(self) -> bool:
        """True while a task runs."""
        return bool(self._tasks)

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Start a task; what it raises ends the group."""
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def cancel(self) -> None:
        """Cancel the tasks and wait until each has ended."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
