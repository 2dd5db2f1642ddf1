"""The rate of calls to a vendor: so many at once, commands before polls, and no slot is lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from fleet2mqtt.sdk.rate_limiter import DEFERRED_EVERY, FIRST_CALLS, RateLimiter, command_priority, deferred
from tests.loop_time import LoopTime
from tests.waiting import wait_until


class Calls:
    """Calls whose duration the test sets; `order` is that of their slots."""

    def __init__(self, rate_limiter: RateLimiter) -> None:
        self.rate_limiter = rate_limiter
        self.order: list[str] = []
        self.running = 0
        self.most = 0
        self.over = asyncio.Event()

    async def poll(self, name: str) -> None:
        async with self.rate_limiter.slot():
            self.order.append(name)
            self.running += 1
            self.most = max(self.most, self.running)
            await self.over.wait()
            self.running -= 1

    async def command(self, name: str) -> None:
        with command_priority():
            await self.poll(name)


async def test_concurrent_calls_are_limited() -> None:
    calls = Calls(RateLimiter(concurrency=2))
    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(calls.poll(str(number)))
        await wait_until(lambda: calls.running == 2, "two calls")
        calls.over.set()
    assert calls.order == list("012345")
    assert calls.most == 2


async def test_commands_overtake_the_polls_that_wait_in_order() -> None:
    calls = Calls(RateLimiter())
    async with asyncio.TaskGroup() as group:
        for start, name in ((calls.poll, "a"), (calls.poll, "b"), (calls.command, "C"), (calls.command, "D")):
            group.create_task(start(name))
        await wait_until(lambda: calls.running, "a call")
        calls.over.set()
    assert calls.order == ["a", "C", "D", "b"]


async def test_polls_and_commands_overtake_deferred_calls_all_but_one_in_ten() -> None:
    calls = Calls(RateLimiter())

    async def defer(name: str) -> None:
        with deferred():
            await calls.poll(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(calls.poll("first"))
        await wait_until(lambda: calls.running, "a call")
        late = [group.create_task(defer(f"late {number}")) for number in range(4)]
        for number in range(2 * DEFERRED_EVERY):
            group.create_task(calls.poll(str(number)))
        group.create_task(calls.command("command"))
        await asyncio.sleep(0)
        late[0].cancel()
        calls.over.set()
    assert calls.order[:2] == ["first", "command"]
    places = [place for place, name in enumerate(calls.order) if name.startswith("late")]
    assert places == [DEFERRED_EVERY, 2 * DEFERRED_EVERY, len(calls.order) - 1]
    assert calls.order[-1] == "late 3"


async def test_cancelled_waiter_takes_no_slot() -> None:
    calls = Calls(RateLimiter())
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(calls.poll(name)) for name in "abc"]
        await wait_until(lambda: calls.running, "a call")
        tasks[1].cancel()
        with suppress(asyncio.CancelledError):
            await tasks[1]
        tasks[0].cancel()  # under way: its turn goes to the next
        await wait_until(lambda: "c" in calls.order, "the last call")
        calls.over.set()
    assert calls.order == ["a", "c"]


async def test_spaced_calls_all_run() -> None:
    calls = Calls(RateLimiter(concurrency=5, spacing=0.01))
    calls.over.set()
    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(calls.poll(str(number)))
    assert calls.order == list("01234")
    assert calls.most == 1


async def test_rate_is_kept_after_a_call_that_was_a_little_late() -> None:
    time = LoopTime()
    calls = Calls(RateLimiter(spacing=1000))
    calls.over.set()
    async with asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(calls.poll(name))
        await wait_until(lambda: calls.order == ["a"], "the first call")
        for seconds, order in ((1050, "ab"), (960, "abc")):
            time.advance(seconds)
            await wait_until(lambda order=order: calls.order == list(order), order)  # type: ignore[misc]
        time.advance(900)
        for _ in range(5):
            await asyncio.sleep(0)
        assert calls.order == list("abc")
        time.advance(100)


async def test_calls_that_are_apart_by_their_ends() -> None:
    rate_limiter, ended, started = RateLimiter(spacing=0.05, idle=True), list[float](), list[float]()
    clock = asyncio.get_running_loop().time
    for _ in range(2):
        async with rate_limiter.slot():
            started.append(clock())
            await asyncio.sleep(0.06)  # longer than the spacing, as a slow vendor
            ended.append(clock())
    assert started[1] >= ended[0] + rate_limiter.spacing


async def test_calls_wait_for_retry_after() -> None:
    calls = Calls(RateLimiter(concurrency=2))
    calls.rate_limiter.pause(3600)
    calls.rate_limiter.pause(0)  # what was asked for before still stands
    tasks = [asyncio.create_task(calls.poll("a")), asyncio.create_task(calls.command("B"))]
    for _ in range(5):
        await asyncio.sleep(0)
    assert calls.order == []
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_commands_run_one_by_one_unless_slow() -> None:
    order = list[str]()
    rate_limiter = RateLimiter(spacing=0.005, idle=True)

    async def command(name: str, calls: int) -> None:
        with command_priority():
            for _ in range(calls):
                async with rate_limiter.slot():
                    order.append(name)

    async with asyncio.TaskGroup() as group:
        for name, calls in (("a", FIRST_CALLS + 2), ("b", 2), ("c", 2)):
            group.create_task(command(name, calls))
    assert "".join(order) == "a" * FIRST_CALLS + "bbcc" + "aa"


async def test_nested_command_shares_slot() -> None:
    with command_priority() as outer:
        with command_priority() as inner:
            async with RateLimiter().slot():
                pass
        assert inner is outer
    assert outer.started == 1
    with command_priority() as other:
        assert other.started == 0
