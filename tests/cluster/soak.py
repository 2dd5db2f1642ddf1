"""The guarantees of a cluster, held against what machines and networks do, at random moments for many rounds.

    python -m tests.soak --cluster --rounds 100

Three nodes, three database servers of which one of two standbys has to confirm, and proxies between each node and
everything else. In each round something fails while vendors push alarms to any node, an operator sends commands, and a
value at the vendor counts up. Then the cluster has to publish a value that is newer than the failure.

In the end: every push that was answered with 200 is one alarm event, numbers have no gap and come in their order on the
wire; every command has one result, and was sent to the vendor once at most; the value never went backwards, so nothing
of a former owner came after something of the next one.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter, defaultdict, deque
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.bridge_under_test import GATEWAY, MAC, NEVER, SN
from tests.broker import HOST
from tests.cluster.site import Cluster, ClusterNode, open_cluster
from tests.mqtt.proxy import Proxy
from tests.postgres import USER, Servers
from tests.soak import count_messages, in_random_order
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    import paho.mqtt.client as paho


NAMES = "abc"
VENDORS = 4
TTL = 3
BROKER_PATIENCE = 5.0
"""Seconds without the broker after which a node gives its units up."""
KEY = "rateup"
COMMANDED, COMMANDED_SN = "branch_abcd21dcf318ba", "ABCD21DCF318BA"
"""Another gateway than the one whose value counts up: a read-back and a poll of one device may end in any order."""
SET = "/api/v1/devices/set"


class Failure(StrEnum):
    """Failures of a round."""

    OWNER_KILLED = "owner killed"
    STANDBY_NODE_KILLED = "standby node killed"
    TWO_NODES_KILLED = "two nodes killed"
    ALL_NODES_KILLED = "all nodes killed"
    OWNER_STOPPED = "owner stopped in order"
    OWNER_FROZEN = "owner frozen"
    OWNER_WITHOUT_DATABASE = "owner without database"  # a black hole: connections stand, nothing arrives
    OWNER_WITHOUT_BROKER = "owner without broker"
    CONNECTIONS_CUT = "connections cut"
    PRIMARY_KILLED = "primary killed"
    DATABASE_STANDBY_FROZEN = "standby frozen"


@dataclass(slots=True)
class Tally:
    """Counts of pushes, commands and states. Those of published messages grow in the thread of the subscriber."""

    rounds: int = 0
    failures: Counter[Failure] = field(default_factory=Counter)
    pushes: int = 0
    acknowledged: set[str] = field(default_factory=set)
    commands: set[str] = field(default_factory=set)
    numbers: dict[int, str] = field(default_factory=dict)
    """Ids of alarm events by number."""
    disordered: list[int] = field(default_factory=list)
    """Numbers that came first after a higher one."""
    torn: set[str] = field(default_factory=set)
    """Numbers with two alarms, alarms with two numbers."""
    events: int = 0
    results: defaultdict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    statuses: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    newest: int = 0
    """The highest value that was published."""
    stale: list[str] = field(default_factory=list)
    """Values that came after a higher one, with what failed then and what came before."""
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    failing: Failure | None = None
    since: float = 0.0
    states: int = 0
    offline: int = 0
    """Times that the bridge was offline while a node was alive."""
    seconds: defaultdict[Failure, list[float]] = field(default_factory=lambda: defaultdict(list))
    """From the failure to the first newer value."""
    _ids: dict[str, int] = field(default_factory=dict)

    def on_event(self, id_: str, seq: int) -> None:
        """Count an alarm event."""
        self.events += 1
        if self.numbers.setdefault(seq, id_) != id_ or self._ids.setdefault(id_, seq) != seq:
            self.torn.add(f"{id_} {seq}")

    @property
    def lost(self) -> set[str]:
        """Alarms that were acknowledged and not published."""
        return self.acknowledged - self._ids.keys()

    @property
    def gaps(self) -> list[int]:
        """Numbers that were not published, between the first and the last that were."""
        if not self.numbers:
            return []
        return sorted(set(range(min(self.numbers), max(self.numbers))) - self.numbers.keys())

    @property
    def unanswered(self) -> set[str]:
        """Commands without a result."""
        return self.commands - self.results.keys()

    @property
    def ambiguous(self) -> dict[str, set[bytes]]:
        """Commands with two results."""
        return {name: found for name, found in self.results.items() if len(found) > 1}

    @property
    def sent_twice(self) -> list[str]:
        """Commands that reached the vendor twice."""
        return [name for name, times in self.written.items() if times > 1]

    @property
    def violations(self) -> dict[str, object]:
        """Violations of the guarantees; a run without any has none."""
        found = {
            "lost": self.lost,
            "gaps": self.gaps,
            "out of order": self.disordered,
            "two numbers": self.torn,
            "unanswered": self.unanswered,
            "two results": self.ambiguous,
            "sent twice": self.sent_twice,
            "stale states": self.stale,
        }
        return {name: each for name, each in found.items() if each}

    def table(self) -> str:
        """Return the counts as lines of a table."""
        rows: dict[str, object] = {
            "rounds": self.rounds,
            "pushes": self.pushes,
            "acknowledged": len(self.acknowledged),
            "alarm events": len(self.numbers),
            "repeated, same number": self.events - len(self.numbers),
            "commands": len(self.commands),
            "statuses": ", ".join(f"{number} {status}" for status, number in sorted(self.statuses.items())),
            "states counted": self.states,
            "bridge offline": self.offline,
            "lost": len(self.lost),
            "gaps": len(self.gaps),
            "out of order": len(self.disordered),
            "two numbers": len(self.torn),
            "unanswered": len(self.unanswered),
            "two results": len(self.ambiguous),
            "sent twice": len(self.sent_twice),
            "stale states": len(self.stale),
        }
        lines = [f"{name:<24}{value!s:>10}" for name, value in rows.items()]
        for failure, seconds in sorted(self.seconds.items()):
            middle = sorted(seconds)[len(seconds) // 2]
            lines.append(
                f"{failure:<24}{len(seconds):>10} times, newer state after {middle:.1f} s, {max(seconds):.1f} s at most"
            )
        lines += [f"{name}: {each}" for name, each in self.violations.items()]
        return "\n".join(lines)


@dataclass(slots=True, kw_only=True)
class Surroundings:
    """The cluster, and what it is failed by."""

    cluster: Cluster
    servers: Servers
    rng: random.Random
    tally: Tally
    databases: dict[str, list[Proxy]]
    """Proxies to each server, by node."""
    brokers: dict[str, Proxy]
    ttl: float
    nodes: dict[str, ClusterNode] = field(default_factory=dict)
    value: int = 1_000_000

    async def start(self, *names: str) -> None:
        """Start nodes."""
        for name in names:
            hosts, ports = (
                ",".join(each) for each in zip(*((HOST, str(p.port)) for p in self.databases[name]), strict=True)
            )
            database = self.cluster.dsn.rpartition("dbname=")[2]
            dsn = f"host={hosts} port={ports} user={USER} dbname={database} connect_timeout=2"
            self.nodes[name] = await self.cluster.start_node(
                name, mqtt_port=self.brokers[name].port, dsn=dsn, ttl=self.ttl
            )

    async def end(self, name: str) -> None:
        """Kill a node."""
        node = self.nodes.pop(name)
        node.kill()
        await node.process.ends()

    async def owner(self) -> str:
        """Wait until a node that runs owns the unit whose value counts up."""
        return await self.cluster.owner(*self.nodes, unit="branch")

    async def push(self) -> None:
        """One vendor: pushes to any node, and again until it is answered, until cancelled."""
        rng = random.Random(self.rng.random())  # noqa: S311
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while True:
                alarm = self.cluster.site.ums.raise_alarm(MAC, push=False)
                self.tally.pushes += 1
                answered = False
                while not answered:
                    answered = await self._push(session, rng, alarm)
                    await asyncio.sleep(rng.uniform(0.01, 0.2))

    async def _push(self, session: aiohttp.ClientSession, rng: random.Random, alarm: dict[str, Any]) -> bool:
        if not self.nodes:
            return False
        node = self.nodes[rng.choice(tuple(self.nodes))]
        try:
            async with session.post(node.push_url(), data=json.dumps(alarm)) as response:
                if response.status != 200:
                    return False
        except (aiohttp.ClientError, TimeoutError):
            return False
        self.tally.acknowledged.add(f"hq_voip:{alarm['id']}")
        return rng.random() > 0.1  # else again, maybe at another node

    async def command(self, counter: paho.Client) -> None:
        """An operator: sends commands of one value each, until cancelled."""
        rng = random.Random(self.rng.random())  # noqa: S311
        for number in count():
            name = f"c{number}"
            self.tally.commands.add(name)
            counter.publish(
                f"fleet2mqtt/device/{COMMANDED}/set", json.dumps({"alias": name, "transaction": name}), qos=1
            )
            await asyncio.sleep(rng.uniform(0.3, 1.5))

    async def change(self) -> None:
        """Count the vendor's value up, and what it was told to write, until cancelled."""
        calls = self.cluster.site.gateways.fault_injector.calls
        while True:
            self.value += 1
            self.cluster.site.gateways.set_base(SN, **{KEY: self.value})
            while calls:
                call = calls.popleft()
                if call.path == SET:
                    self.tally.written[call.body["devices"][COMMANDED_SN]["base"]["alias"]] += 1
            await asyncio.sleep(0.1)

    async def is_fresh(self) -> None:
        """Wait until a value is published that is newer than now."""
        value = self.value + 1
        await wait_until(lambda: self.tally.newest >= value, lambda: f"a newer state; {self._about()}", PATIENCE)

    def _about(self) -> str:
        return "\n".join(f"--- {name}\n{node.process.output[-3000:]}" for name, node in self.nodes.items())

    async def fail(self, failure: Failure) -> None:
        """Let something fail at a random moment, and go on some time later."""
        owner = await self.owner()
        others = [name for name in self.nodes if name != owner]
        await asyncio.sleep(self.rng.uniform(0, 1))
        self.tally.failures[failure] += 1
        self.tally.failing, self.tally.since = failure, time.monotonic()
        fresh = asyncio.create_task(self._measure(failure, time.monotonic(), self.value))
        await _CAUSES[failure](self, owner, others)
        await fresh
        await self.start(*(name for name in NAMES if name not in self.nodes))
        await self.is_fresh()
        self.tally.rounds += 1

    async def _measure(self, failure: Failure, began: float, value: int) -> None:
        """Record when the first value is published that is newer than the failure, if a node is left to do so."""
        if failure is Failure.ALL_NODES_KILLED:
            return
        await wait_until(lambda: self.tally.newest > value + 1, lambda: f"a state after it; {self._about()}", PATIENCE)
        self.tally.seconds[failure].append(time.monotonic() - began)

    def _pause(self) -> float:
        return self.rng.uniform(0.5, 3 * self.ttl)

    async def kill_owner(self, owner: str, _: Sequence[str]) -> None:
        await self.end(owner)

    async def kill_standby_node(self, _: str, others: Sequence[str]) -> None:
        await self.end(self.rng.choice(others))

    async def kill_two(self, owner: str, others: Sequence[str]) -> None:
        await self.end(owner)
        await asyncio.sleep(self.rng.uniform(0, 2 * self.ttl))
        await self.end(others[0])

    async def kill_all(self, owner: str, others: Sequence[str]) -> None:
        for name in (owner, *others):
            await self.end(name)

    async def stop_owner(self, owner: str, _: Sequence[str]) -> None:
        await self.nodes.pop(owner).stop()

    async def freeze_owner(self, owner: str, _: Sequence[str]) -> None:
        node = self.nodes[owner]
        node.freeze()
        await asyncio.sleep(self._pause())
        node.thaw()

    async def cut_database(self, owner: str, _: Sequence[str]) -> None:
        await self._swallow(self.databases[owner], self._pause())

    async def cut_broker(self, owner: str, _: Sequence[str]) -> None:
        proxy = self.brokers[owner]
        proxy.closed = True
        proxy.drop()
        await asyncio.sleep(self._pause() + BROKER_PATIENCE)
        proxy.closed = False

    async def cut_connections(self, _owner: str, _others: Sequence[str]) -> None:
        for name in self.nodes:
            for proxy in (*self.databases[name], self.brokers[name]):
                proxy.drop()

    async def freeze_database_standby(self, _owner: str, _others: Sequence[str]) -> None:
        standby = self.rng.choice(tuple(self.servers.standbys))
        standby.freeze()
        await asyncio.sleep(self._pause())
        standby.thaw()

    async def _swallow(self, proxies: list[Proxy], pause: float) -> None:
        for proxy in proxies:
            proxy.swallowing = True
        await asyncio.sleep(pause)
        for proxy in proxies:
            proxy.swallowing = False
            proxy.drop()

    async def lose_primary(self, _owner: str, _others: Sequence[str]) -> None:
        lost = self.servers.primary
        await asyncio.to_thread(lost.kill)
        await asyncio.sleep(self.rng.uniform(0, 3))
        await asyncio.to_thread(lambda: self.servers.promote(self.servers.most_advanced()))
        await asyncio.to_thread(self.servers.rebuild, lost)


_CAUSES: dict[Failure, Callable[[Surroundings, str, Sequence[str]], Awaitable[None]]] = {
    Failure.OWNER_KILLED: Surroundings.kill_owner,
    Failure.STANDBY_NODE_KILLED: Surroundings.kill_standby_node,
    Failure.TWO_NODES_KILLED: Surroundings.kill_two,
    Failure.ALL_NODES_KILLED: Surroundings.kill_all,
    Failure.OWNER_STOPPED: Surroundings.stop_owner,
    Failure.OWNER_FROZEN: Surroundings.freeze_owner,
    Failure.OWNER_WITHOUT_DATABASE: Surroundings.cut_database,
    Failure.OWNER_WITHOUT_BROKER: Surroundings.cut_broker,
    Failure.CONNECTIONS_CUT: Surroundings.cut_connections,
    Failure.PRIMARY_KILLED: Surroundings.lose_primary,
    Failure.DATABASE_STANDBY_FROZEN: Surroundings.freeze_database_standby,
}


def count_published(tally: Tally, port: int) -> paho.Client:
    """Subscribe to what is counted; return the client, whose thread counts."""
    highest = 0

    def count_message(message: paho.MQTTMessage) -> None:
        nonlocal highest
        if not message.payload:
            return
        if message.topic == "fleet2mqtt/bridge/state":
            tally.offline += message.payload == b"offline"
            return
        body = json.loads(message.payload)
        if message.topic.startswith("fleet2mqtt/alarm/"):
            seq = body["seq"]
            if seq not in tally.numbers and seq < highest:
                tally.disordered.append(seq)
            highest = max(highest, seq)
            tally.on_event(body["id"] if body["type"] == "raised" else f"{body['id']} {body['type']}", seq)
        elif message.topic.endswith("/result"):
            name = str(body["transaction"])
            if message.payload not in tally.results[name]:
                tally.statuses[body["status"]] += 1
            tally.results[name].add(bytes(message.payload))
        elif body.get(KEY) is not None:
            tally.states += 1
            value = body[KEY]
            tally.recent.append(f"{value} ({body['_meta']['source']} {body['_meta']['observed_at'][17:23]})")
            if value < tally.newest:
                tally.stale.append(f"{tally.failing}, {time.monotonic() - tally.since:.1f} s: {list(tally.recent)}")
            tally.newest = max(tally.newest, value)

    states, results = f"fleet2mqtt/device/{GATEWAY}/state", f"fleet2mqtt/device/{COMMANDED}/result"
    topics = ("fleet2mqtt/alarm/event/#", "fleet2mqtt/alarm/suppressed/#", "fleet2mqtt/bridge/state")
    return count_messages(port, (*topics, states, results), count_message)


@asynccontextmanager
async def open_surroundings(folder: Path, seed: int, ttl: float) -> AsyncIterator[Surroundings]:
    """Servers, a broker, vendors and proxies; the nodes are to be started."""
    backends: dict[str, Any] = {
        "hq_voip": {
            "scan_interval": {
                "devices": 2,
                "alarms": 2,
                **dict.fromkeys(("lines", "status", "statistics", "events"), NEVER),
            }
        },
        "branch": {"scan_interval": {"devices": 1, "details": 5, "mappings": NEVER}},
        "commands": {"confirm_timeout": 2},
    }
    async with AsyncExitStack() as stack:
        servers = await asyncio.to_thread(stack.enter_context, Servers(count=3))
        cluster = await stack.enter_async_context(open_cluster(folder, servers, **backends))
        databases = {
            name: [await stack.enter_async_context(Proxy(target=server.port)) for server in servers.all]
            for name in NAMES
        }
        brokers = {name: await stack.enter_async_context(Proxy(target=cluster.site.broker.port)) for name in NAMES}
        yield Surroundings(
            cluster=cluster,
            servers=servers,
            rng=random.Random(seed),  # noqa: S311 - to be repeated, not to be secret
            tally=Tally(),
            databases=databases,
            brokers=brokers,
            ttl=ttl,
        )


async def soak(
    folder: Path, rounds: int, seed: int, ttl: float = TTL, only: Sequence[Failure] = tuple(Failure)
) -> Tally:
    """Let things fail for so many rounds; return what became of everything."""
    async with open_surroundings(folder, seed, ttl) as site:
        counter = await asyncio.to_thread(count_published, site.tally, site.cluster.site.broker.port)
        try:
            await site.start(*NAMES)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(site.change(), name="vendor's value")]
                await site.is_fresh()
                tasks += [group.create_task(site.push(), name=f"vendor {number}") for number in range(VENDORS)]
                operator = group.create_task(site.command(counter), name="operator")
                for failure in islice(in_random_order(site.rng, only), rounds):
                    await site.fail(failure)
                operator.cancel()
                for task in tasks[1:]:
                    task.cancel()
                with suppress(TimeoutError):  # whoever asked looks at the tally
                    await wait_until(lambda: not site.tally.violations, "the rest", PATIENCE / 4)
                tasks[0].cancel()
        finally:
            await asyncio.to_thread(counter.loop_stop)
        return site.tally
