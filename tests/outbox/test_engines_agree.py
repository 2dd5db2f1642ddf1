"""Random operations on both engines: they store the same; PostgreSQL on two nodes, and with lost responses."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet2mqtt.devices.model import Severity, UpdateOrigin
from fleet2mqtt.errors import OutboxFull
from fleet2mqtt.outbox import Outbox, OutboxLimits, open_outbox
from fleet2mqtt.outbox.postgres import open_database
from tests.outbox.engines import contents
from tests.sample_alarms import alarm, nameless

if TYPE_CHECKING:
    from fleet2mqtt.outbox.postgres import Database
    from tests.postgres import Servers

LIMITS = OutboxLimits(rows=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call: `numbers` are alarms that are added, pushed or polled, or events that are published."""

    kind: str
    numbers: tuple[int, ...]
    node: int
    answer_lost: bool
    cleared: bool
    poll: bool


STEPS = st.builds(
    Step,
    kind=st.sampled_from(["add", "add", "add", "publish", "forget"]),
    numbers=st.lists(st.integers(1, 8), min_size=1, max_size=4).map(tuple),
    node=st.integers(0, 1),
    answer_lost=st.booleans(),
    cleared=st.booleans(),
    poll=st.booleans(),
)


async def carry_out(outbox: Outbox, step: Step) -> Any:
    if step.kind == "publish":
        return await outbox.published(step.numbers)
    if step.kind == "forget":
        return sorted(event.seq for event in await outbox.forget([f"hq_voip_{n % 3}" for n in step.numbers]))
    facts: dict[str, Any] = {"source": UpdateOrigin.POLL} if step.poll else {"line": "4", "tags": ("a", "b")}
    if step.cleared:
        facts |= {"cleared": True, "severity": Severity.CLEARED}
    alarms = [
        alarm(n, device=f"hq_voip_{n % 3}", active=True, alarm_key="door" if n % 2 else "", **facts)
        for n in step.numbers
    ]
    try:
        stored = await outbox.add(alarms, nameless, {("hq", f"d{n}"): str(step.numbers) for n in step.numbers})
    except OutboxFull:
        return "full"
    return [(event.seq, event.id, event.cleared) for event in stored.new], sorted(
        event.seq for event in stored.completed
    )


def lose_next_answer(database: Database) -> None:
    """Let the next answer to the node's writer be lost, once the server has carried the call out."""
    session, attempt = database.writer, database.writer._attempt  # noqa: SLF001

    async def attempt_and_lose(work: Any) -> Any:
        session._attempt = attempt  # type: ignore[method-assign] # noqa: SLF001
        await attempt(work)
        raise ConnectionResetError("lost")

    session._attempt = attempt_and_lose  # type: ignore[method-assign] # noqa: SLF001


async def check(servers: Servers, steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dsn = servers.empty_database()
        async with (
            open_outbox(Path(folder) / "outbox.db", LIMITS) as model,
            open_database(dsn, LIMITS, deadline=60) as one,
            open_database(dsn, LIMITS, deadline=60) as two,
        ):
            nodes = [(one, await one.outbox()), (two, await two.outbox())]
            for step in steps:
                database, outbox = nodes[step.node]
                if step.answer_lost and step.kind == "add":
                    lose_next_answer(database)
                assert await carry_out(outbox, step) == await carry_out(model, step)
            expected = await contents(model)
            async with open_database(dsn, LIMITS, deadline=60) as restarted:
                assert await contents(await restarted.outbox()) == expected


@given(steps=st.lists(STEPS, max_size=12))
@settings(max_examples=25)
def test_both_engines_store_the_same(servers: Servers, steps: list[Step]) -> None:
    asyncio.run(check(servers, steps))
