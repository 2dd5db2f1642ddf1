"""The push inbox: what a node processes of it ends with what that stores, and only while the node owns the unit."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from fleet2mqtt.cluster.inbox import Inbox
from fleet2mqtt.config.models import BackendConfig, PushConfig, Secret
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import InvalidResponse, NotReady
from fleet2mqtt.hub import Hub
from fleet2mqtt.mqtt import MqttClient, Settings
from fleet2mqtt.outbox.postgres import Fence, PostgresOutbox, Session, alarm_writer, open_database
from fleet2mqtt.outbox.postgres.outbox import Database
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.push.receiver import PushReceiver, StoredPush
from fleet2mqtt.sdk.api import Backend, Push
from tests.sample_alarms import alarm, ids
from tests.sample_devices import device, update
from tests.sample_hub import sample_hub
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.postgres import Servers

TOPICS = Topics("fleet2mqtt", "homeassistant")
ALARM, OTHER, STATE, WRONG, NOT_READY = b"alarm", b"other", b"state", b"wrong", b"not ready"
TAKE_OVER = "UPDATE fleet2mqtt.unit SET epoch = epoch + 1"


def _parse(body: bytes) -> Any:
    if body == WRONG:
        raise InvalidResponse("no alarm", code="malformed")
    if body == NOT_READY:
        raise NotReady("not read yet")
    if body == STATE:
        return update(device())
    return update(alarms=(alarm(1 if body == ALARM else 2),))


@dataclass(slots=True, kw_only=True)
class Owner:
    """A node that owns unit x in epoch 1, with its inbox and all that processes a push."""

    inbox: Inbox
    database: Database
    outbox: PostgresOutbox
    registry: Registry
    hub: Hub
    receiver: PushReceiver
    """Receiver of the unit."""
    storing_receiver: PushReceiver
    """Receiver of a node that does not own the unit."""
    other: psycopg.AsyncConnection
    """A connection of another node, which waits for no standby."""

    async def process(self, *pushes: StoredPush) -> Sequence[bool]:
        """Process pushes, as `Application` does."""
        return await self.receiver.accept_stored(pushes)

    async def drain(self) -> None:
        """Process what is in the inbox once."""
        seen: list[bool] = []

        async def process(pushes: Sequence[StoredPush]) -> Sequence[bool]:
            seen.extend(await self.process(*pushes))
            return seen

        self.inbox.processors["hq"] = process
        running = asyncio.create_task(self.inbox.run(lambda: ["hq"]))
        await wait_for_answer(lambda: _true(seen), "a push to be processed")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def page(self) -> list[StoredPush]:
        """Return the pushes in the inbox that this node would process now."""
        self.inbox.processors["hq"] = self.receiver.accept_stored
        return await self.inbox.waiting(["hq"])

    async def first(self) -> StoredPush:
        """Return the push in the inbox that this node would process first."""
        return (await self.page())[0]

    async def waiting(self) -> list[bytes]:
        """Return the bodies of the pushes in the inbox."""
        rows = await (await self.other.execute("SELECT body FROM fleet2mqtt.inbox ORDER BY n")).fetchall()
        return [bytes(body) for (body,) in rows]

    async def stored(self) -> tuple[list[str], int, int]:
        """Return the ids of the events, and the numbers of dead letters and of devices."""
        events, _ = await self.outbox.history(0, 10)
        return ids(events), len(await self.outbox.dead_letters(0, 10)), len(self.registry.devices)


async def _true(found: object) -> bool:
    return bool(found)


@asynccontextmanager
async def open_owner(servers: Servers, port: int | None = None, deadline: float = 60.0) -> AsyncIterator[Owner]:
    """Open the database by a port, or else that of the primary; each call has to end by the deadline."""
    direct = await asyncio.to_thread(servers.empty_database)
    dsn = direct if port is None else servers.primary.dsn(direct.rpartition("=")[2]) + f" port={port}"
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(dsn, deadline=deadline))
        session = Session(dsn, "inbox", parameters={"synchronous_commit": "on"}, timeout=deadline)
        stack.push_async_callback(session.close)
        other = await stack.enter_async_context(await psycopg.AsyncConnection.connect(direct, autocommit=True))
        await other.execute("SET synchronous_commit = local")
        await other.execute("INSERT INTO fleet2mqtt.unit (name, epoch) VALUES ('x', 1)")
        outbox = await database.outbox(Fence(unit="x", epoch=1))
        registry = Registry(time.monotonic, lambda *_: ())
        settings = Settings(host="127.0.0.1", port=1, client_id="x", will_topic=TOPICS.state)
        publisher = Publisher(MqttClient(settings, []), registry, None, TOPICS, 1000)
        hub = sample_hub(outbox, registry, publisher, TOPICS, lambda: None)
        push = Push(kind="event", accept=_parse, success=b"", failure=str.encode)
        backend: Backend[Any] = Backend(name="hq", platform="x", client=None, sources=(), read=_read, pushes=(push,))
        secret = PushConfig(secret=Secret("secret"), allow=())
        configs = {"hq": BackendConfig(name="hq", platform="x", options={}, push=secret)}
        inbox = Inbox(session, require_replication=True)

        async def store(name: str, push: Push, body: bytes) -> None:
            await inbox.add(name, push.kind, body)

        yield Owner(
            inbox=inbox,
            database=database,
            outbox=outbox,
            registry=registry,
            hub=hub,
            receiver=PushReceiver(hub, outbox, {"hq": backend}, configs),
            storing_receiver=PushReceiver(None, outbox, {"hq": backend}, configs, process=store),
            other=other,
        )


async def _read(device: Any) -> Any:
    raise AssertionError(device)


@pytest.mark.parametrize(
    ("body", "kind", "stored"),
    [
        (ALARM, "event", (["hq:1"], 0, 0)),
        (STATE, "event", ([], 0, 1)),
        (WRONG, "event", ([], 1, 0)),
        (STATE, "former", ([], 1, 0)),
    ],
    ids=["alarm", "state", "wrong", "no such push"],
)
async def test_push_ends_in_the_inbox_with_what_it_stores(
    servers: Servers, body: bytes, kind: str, stored: tuple[list[str], int, int]
) -> None:
    async with open_owner(servers) as owner:
        await owner.inbox.add("hq", kind, body)
        await owner.drain()
        assert (await owner.waiting(), await owner.stored()) == ([], stored)
        await owner.inbox.add("hq", kind, body)
        late = await owner.first()
        before = await owner.stored()
        await owner.other.execute(TAKE_OVER)
        assert await owner.process(late) == [False]
        assert (await owner.waiting(), await owner.stored()) == ([body], before)


@pytest.mark.parametrize("fenced", [True, False])
async def test_former_owner_deletes_no_push(servers: Servers, monkeypatch: pytest.MonkeyPatch, *, fenced: bool) -> None:
    """The negative control: without the condition on its epoch it deletes a push that the next owner has not seen."""
    if not fenced:
        condition = "WHERE inbox.n = t.number AND t.fence IN (SELECT n FROM allowed)"
        assert condition in alarm_writer._ADD  # noqa: SLF001
        statement = alarm_writer._ADD.replace(condition, "WHERE inbox.n = t.number")  # noqa: SLF001
        monkeypatch.setattr(alarm_writer, "_ADD", statement)
    async with open_owner(servers) as owner:
        await owner.inbox.add("hq", "event", STATE)
        late = await owner.first()
        await owner.other.execute(TAKE_OVER)
        assert await owner.process(late) == [False]
        assert await owner.waiting() == ([STATE] if fenced else [])


async def test_push_whose_alarm_is_not_stored_stays(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_owner(servers) as owner:
        await owner.inbox.add("hq", "event", ALARM)
        push = await owner.first()
        with monkeypatch.context() as patch:
            fails = alarm_writer._ADD + ", 1 / (SELECT count(*) - count(*) FROM level)"  # noqa: S608, SLF001
            patch.setattr(alarm_writer, "_ADD", fails)
            assert await owner.process(push) == [False]
        assert (await owner.waiting(), await owner.stored()) == ([ALARM], ([], 0, 0))
        assert await owner.process(push) == [True]
        assert (await owner.waiting(), await owner.stored()) == ([], (["hq:1"], 0, 0))


async def test_pushes_that_wait_are_stored_together_in_their_order(servers: Servers) -> None:
    """Those that bring nothing but alarms are one commit; a state is accepted after those before it."""
    async with open_owner(servers) as owner:
        for body in (ALARM, OTHER, ALARM, WRONG, OTHER, STATE, OTHER):
            await owner.inbox.add("hq", "event", body)
        commits = owner.database.commits
        assert await owner.process(*(await owner.page())) == [True] * 7
        assert (await owner.waiting(), await owner.stored()) == ([], (["hq:1", "hq:2"], 1, 1))
        # of the alarms before what is wrong, the dead letter, of the next alarm, of what the state ends, of the last
        assert owner.database.commits == commits + 5


async def test_push_that_has_to_wait_holds_up_those_behind_it(servers: Servers) -> None:
    async with open_owner(servers) as owner:
        bodies = [ALARM, NOT_READY, OTHER]
        for body in bodies:
            await owner.inbox.add("hq", "event", body)
        assert await owner.process(*(await owner.page())) == [True, False, False]
        assert (await owner.waiting(), await owner.stored()) == (bodies[1:], (["hq:1"], 0, 0))
