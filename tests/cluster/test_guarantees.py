"""The guarantees of a cluster, and their negative controls: without the protection the same test finds the fault.

| guarantee | tests, of which those with a parameter are their own control |
| --- | --- |
| an acknowledged alarm survives the loss of the primary | outbox/postgres/test_failover: `required` standbys |
| … of the node that acknowledged it | outbox/postgres/test_stopped_nodes; test_inbox: `fenced` |
| an alarm is told as new though the answer was lost | outbox/postgres/test_lost_answers: the batch's id |
| no row of a former owner after the takeover | outbox/postgres/test_fence: `shared` |
| no state of a former owner after the next one's first | test_retained_states: `fenced` |
| … nor a connection of it | here: `confirmed` |
| one result for each command, whoever carries it out | here: `fenced`; test_interrupted_commands |
| … also for those sent during a failover | here: `same_client` |
| never two calls at the vendor | here: `recorded`; test_interrupted_commands |
| pushes are accepted by any node while one node and the database live | here: `stored`; test_failover, three nodes |
| without the database states go on, and pushes get 503 | here: `waits`; test_failover, the primary that crashes |
| a node that dies is taken over from after one lease | here: `judged` |

How long a failover takes is measured by `scripts/soak --cluster`, as no time is asserted in tests. Here the node that
watches has sent as many heartbeats as a lease lasts, and one more, when it owns the unit.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import RawTestServer, TestClient

from fleet2mqtt.cluster import journal
from fleet2mqtt.cluster.journal import CommandJournal
from fleet2mqtt.cluster.membership import BRIDGE_UNIT, HEARTBEATS
from fleet2mqtt.commands.journal import DecidedReply, JournalEntry
from fleet2mqtt.contract.payloads import Reply
from fleet2mqtt.errors import LeaseLost, OutboxError
from fleet2mqtt.mqtt import Message, MqttClient, Settings
from fleet2mqtt.outbox.postgres.migrations import migrate
from fleet2mqtt.outbox.postgres.session import Session
from fleet2mqtt.push.receiver import PushReceiver
from tests.broker import HOST
from tests.cluster.test_inbox import ALARM, TAKE_OVER, open_owner
from tests.cluster.test_membership import TTL, open_nodes
from tests.mqtt.proxy import Proxy
from tests.sample_devices import device, update
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.broker import Broker
    from tests.postgres import Servers

TOPIC = "fleet2mqtt/device/x/set"
UNFENCED = "fence AS (SELECT 1 FROM unit WHERE name = %(unit)s AND epoch >= %(epoch)s FOR SHARE)"


@dataclass(slots=True, kw_only=True)
class Commands:
    """The journal in a database, for the nodes that own unit x one after another, and what they publish."""

    session: Session
    epoch: int = 0
    published: list[tuple[int, str]] = field(default_factory=list)
    """Results, each with the epoch in which its node had the lease."""

    async def take_over(self) -> CommandJournal:
        """Return the journal of a node that owns the unit now."""
        self.epoch += 1
        epoch = self.epoch

        async def work(connection: Any) -> None:
            await connection.execute(
                "INSERT INTO unit (name, epoch) VALUES ('x', %(epoch)s)"
                " ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch",
                {"epoch": epoch},
            )

        await self.session.run(work)

        def publish(reply: Reply) -> None:
            self.published.append((epoch, reply.payload.decode()))
            if reply.on_acknowledged is not None:
                reply.on_acknowledged()

        return CommandJournal(self.session, "x", epoch, publish, waiting_since=None)


@asynccontextmanager
async def open_commands(servers: Servers) -> AsyncIterator[Commands]:
    dsn = await asyncio.to_thread(servers.empty_database)
    async with AsyncExitStack() as stack:
        session = Session(dsn, "test", parameters={"synchronous_commit": "on"}, prepare=migrate, timeout=PATIENCE)
        stack.push_async_callback(session.close)
        yield Commands(session=session)


async def received(of: CommandJournal) -> JournalEntry:
    """Return the entry of a command that a node receives and stores."""
    entries: list[JournalEntry] = []

    def process(message: Message) -> None:
        message.entry.begin()
        entries.append(message.entry)

    of.receive(Message(topic=TOPIC, payload=b"ON", retain=False, qos=1, packet_id=1))
    running = asyncio.create_task(of.run_receiving(process, lambda _, error: pytest.fail(str(error))))
    await wait_until(lambda: entries, "the command to be stored", PATIENCE)
    await ended(running)
    return entries[0]


async def ended(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("recorded", [True, False])
async def test_command_of_a_node_that_died_is_called_at_the_vendor_once(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, *, recorded: bool
) -> None:
    """The negative control: where it is not stored before the call, the next owner knows of none and calls again."""
    if not recorded:
        forgetful = journal._WRITING.replace("t (key), fence", "t (key), fence WHERE false")  # noqa: SLF001
        assert forgetful != journal._WRITING  # noqa: SLF001
        monkeypatch.setattr(journal, "_WRITING", forgetful)
    calls = []
    async with open_commands(servers) as commands:
        first = await commands.take_over()
        entry = await received(first)
        await entry.journal.record_writing(entry, ["enable"])
        calls.append("first")
        second = await commands.take_over()
        ((message,), _) = await second.restore()
        if not message.entry.was_writing("enable"):
            await second.record_writing(message.entry, ["enable"])
            calls.append("second")
    assert calls == (["first"] if recorded else ["first", "second"])


@pytest.mark.parametrize("fenced", [True, False])
async def test_command_that_two_nodes_carried_out_has_one_result(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, *, fenced: bool
) -> None:
    """The negative control: if each epoch may store a result, the former owner publishes one besides the next one's."""
    if not fenced:
        assert journal._FENCE in journal._DECIDE  # noqa: SLF001
        monkeypatch.setattr(journal, "_DECIDE", journal._DECIDE.replace(journal._FENCE, UNFENCED))  # noqa: SLF001
    async with open_commands(servers) as commands:
        first = await commands.take_over()
        entry = await received(first)
        second = await commands.take_over()
        ((message,), _) = await second.restore()
        message.entry.begin()
        tasks = [asyncio.create_task(each.run_deciding()) for each in (first, second)]
        for of, decided in ((first, entry), (second, message.entry)):
            reply = Reply(topic="result", payload=f"by {of is first}".encode(), device="x")
            of.decide(decided, "enable", DecidedReply(replies=(reply,), topic=TOPIC, key="enable", transaction="t"))
        await wait_until(lambda: second.idle and (tasks[0].done() or first.idle), "both to have stored", PATIENCE)
        await ended(*tasks)
    assert sorted(commands.published) == ([] if fenced else [(1, "by True")]) + [(2, "by False")]


def settings(broker: Broker, client_id: str) -> Settings:
    """Return the settings of a unit's connection, which tries again at once."""
    return Settings(
        host=HOST,
        port=broker.port,
        client_id=client_id,
        will_topic="fleet2mqtt/bridge/state",
        will_delay=60,
        acknowledge_manually=True,
        backoff_first=0.001,
        backoff_max=0.01,
    )


@dataclass(slots=True)
class Connection:
    """A connection of the unit, on one node; `lost` are the reasons for which it was lost."""

    mqtt: MqttClient
    messages: list[bytes] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    made: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect; return once that is done."""

        def on_message(message: Message) -> None:
            self.messages.append(message.payload)
            message.acknowledge()

        async def run() -> None:
            await self.mqtt.run(on_message, self.made.set, self.lost.append)

        self.task = asyncio.create_task(run())
        await self.made.wait()

    async def end(self) -> None:
        """End as with its process."""
        if self.task is not None:
            await ended(self.task)


@pytest.mark.parametrize("same_client", [True, False])
async def test_command_that_is_sent_during_a_failover_waits_for_the_next_owner(
    broker: Broker, *, same_client: bool
) -> None:
    """The negative control: a node with a client id of its own is not given what waits for the former owner."""
    subscriptions = [(TOPIC, 1)]
    first = Connection(MqttClient(settings(broker, "unit"), subscriptions))
    await first.start()
    await first.end()
    await broker.publish(TOPIC, "ON", qos=1)
    second = Connection(MqttClient(settings(broker, "unit" if same_client else "other"), subscriptions))
    try:
        await second.start()
        await broker.publish(TOPIC, "OFF", qos=1)
        await wait_until(lambda: b"OFF" in second.messages, "the command after the failover", PATIENCE)
        assert second.messages == ([b"ON", b"OFF"] if same_client else [b"OFF"])
    finally:
        await second.end()


@pytest.mark.parametrize("confirmed", [True, False])
async def test_former_owner_does_not_connect_again(servers: Servers, broker: Broker, *, confirmed: bool) -> None:
    """The negative control: without a renewed lease it takes the connection of the next owner back."""
    async with open_nodes(servers) as nodes:
        a, b = nodes.node("a", ttl=PATIENCE), nodes.node("b", ttl=PATIENCE)
        await a.join()
        await b.join()
        lease = await a.claim(BRIDGE_UNIT)
        assert lease
        confirm = partial(a.confirm_lease, lease)
        former = Connection(MqttClient(settings(broker, "unit"), [], confirm if confirmed else None))
        following = Connection(MqttClient(settings(broker, "unit"), []))
        try:
            await former.start()
            await nodes.execute("UPDATE unit SET owner = NULL, wanted = NULL, epoch = epoch + 1")
            assert await b.claim(BRIDGE_UNIT)
            await following.start()
            assert former.task is not None
            if confirmed:
                with pytest.raises(LeaseLost):
                    await former.task
                assert following.lost == []
            else:
                await wait_until(lambda: following.lost, "the next owner to lose its connection", PATIENCE)
        finally:
            await former.end()
            await following.end()


@pytest.mark.parametrize("judged", [True, False])
async def test_node_that_dies_is_taken_over_from_after_one_lease(servers: Servers, *, judged: bool) -> None:
    """The negative control: where nobody takes it for dead, its lease may last as it will.

    A heartbeat may come late, never early: so the number of them says how many leases the takeover takes, on whatever
    machine.
    """
    async with open_nodes(servers) as nodes:
        a, b = nodes.node("a"), nodes.node("b", ttl=PATIENCE)
        await b.join()
        for _ in range(2):  # it has renewed its lease without a gap for a whole one
            nodes.clocks["b"].seconds += PATIENCE - 1
            await b.renew()
        await a.join()
        assert await a.claim(BRIDGE_UNIT)
        await a.renew()
        heartbeats = 0
        taken = False
        while not taken and heartbeats < 2 * HEARTBEATS:
            await asyncio.sleep(TTL / HEARTBEATS)
            heartbeats += 1
            if judged:
                await b.mark_dead()
            taken = await b.claim(BRIDGE_UNIT) is not None
        assert (taken and heartbeats <= HEARTBEATS + 1) is judged


async def push(receiver: PushReceiver, body: bytes) -> int:
    """Push to a receiver; return the status of its response."""
    client: TestClient[Any, Any] = TestClient(RawTestServer(receiver.respond))
    async with client, client.post("/push/hq/secret/event", data=body) as response:
        return response.status


@pytest.mark.parametrize("stored", [True, False])
async def test_push_is_accepted_by_a_node_that_owns_nothing(servers: Servers, *, stored: bool) -> None:
    """The negative control: without an inbox only the owner could accept it, and none is alive."""
    async with open_owner(servers) as node:
        await node.other.execute(TAKE_OVER)
        assert await push(node.storing_receiver if stored else node.receiver, ALARM) == (200 if stored else 503)
        assert (await node.waiting(), await node.stored()) == ([ALARM] if stored else [], ([], 0, 0))
        await node.other.execute("UPDATE fleet2mqtt.unit SET epoch = 1")
        if stored:
            await node.drain()
        assert (await node.stored())[0] == (["hq:1"] if stored else [])


@pytest.mark.parametrize("waits", [False, True])
async def test_states_go_on_without_the_database_and_pushes_get_503(servers: Servers, *, waits: bool) -> None:
    """The negative control: an update that waits for the database, which a state does not, is not shown."""
    async with Proxy(servers.primary.port) as proxy, open_owner(servers, proxy.port, deadline=2.0) as node:
        assert await push(node.receiver, ALARM) == 200
        proxy.closed = True
        proxy.drop()
        assert await push(node.receiver, b"another alarm") == 503
        assert await push(node.storing_receiver, ALARM) == 503
        with suppress(OutboxError):
            await node.hub.accept(update(device()), stored_push=1 if waits else None)
        assert (device().id in node.registry.devices) is not waits
        proxy.closed = False
        await wait_for_answer(lambda: is_accepted(node.receiver), "pushes to be accepted again")


async def is_accepted(receiver: PushReceiver) -> bool:
    """Return True if a push is acknowledged."""
    return await push(receiver, b"another alarm") == 200
