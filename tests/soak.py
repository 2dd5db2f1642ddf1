"""The promise "nothing acknowledged is lost", held against kill -9 and a broker that comes and goes, for many rounds.

    python -m tests.soak --rounds 200

Vendors push numbered alarms as fast as they are answered, some of them again, while the broker is cut off, frozen,
swallowed up or killed, or swallows, refuses or closes the connection over messages, and the bridge is killed, at random
moments. In the end everything is up again, and every alarm
that was answered with 200 must have been published, under one number (`seq`) for each id. Meanwhile an operator
acknowledges, shelves and closes alarms; each change that was answered must have been published under its number, too.

Whoever counts what is published is subscribed with QoS 0: mosquitto writes to such a subscriber before it acknowledges,
so what it acknowledged before it was killed has been counted. Nobody reaches the broker before the counter does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import threading
from collections import Counter, defaultdict, deque
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import aiohttp
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.broker import HOST, Broker, free_port
from tests.commandline import write
from tests.mqtt.proxy import PacketProxy, PublishFault
from tests.process import BRIDGE, Process, running
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

T = TypeVar("T")

VENDORS = 6
REPEATED = 0.1  # the share of pushes that were made before
SECRET = "push-secret"
EVENTS, SUPPRESSED = "fleet2mqtt/alarm/event/#", "fleet2mqtt/alarm/suppressed/#"
REQUESTS, RESPONSES = "fleet2mqtt/bridge/request/", "fleet2mqtt/bridge/response/"
ACTIONS = ("alarm_acknowledge", "alarm_unacknowledge", "alarm_shelve", "alarm_unshelve", "alarm_close")


class Outage(StrEnum):
    """Outages of the broker, seen from the bridge."""

    NONE = "none"
    CUT = "cut"  # the connection breaks and nobody answers
    FROZEN = "frozen"  # connections stand, nothing is answered
    SWALLOWED = "swallowed"  # what is sent arrives nowhere
    KILLED = "killed"  # with every session and all that it held
    UNACKNOWLEDGED = "unacknowledged"  # messages are swallowed, all else arrives
    REFUSED = "refused"  # PUBACK 0x97, quota exceeded
    CLOSING = "closing"  # the broker closes the connection over each message


FAULTS = {
    Outage.UNACKNOWLEDGED: PublishFault.SWALLOWED,
    Outage.REFUSED: PublishFault.REFUSED,
    Outage.CLOSING: PublishFault.CLOSED,
}


@dataclass(slots=True)
class Tally:
    """Counts of alarms and changes. `heard` and `published` grow in the thread of the subscriber."""

    rounds: int = 0
    acknowledged: set[str] = field(default_factory=set)
    attempts: int = 0
    heard: set[str] = field(default_factory=set)
    published: Counter[tuple[str, int]] = field(default_factory=Counter)
    changes: Counter[tuple[str, int]] = field(default_factory=Counter)
    answered: set[tuple[str, int]] = field(default_factory=set)
    """Operators' changes that were answered: id of the alarm, and number of the change."""
    newest: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    outages: Counter[Outage] = field(default_factory=Counter)

    @property
    def lost(self) -> set[str]:
        """Answered with 200, or a change that was answered, and never published."""
        return (self.acknowledged - self.heard) | {f"{id_} {seq}" for id_, seq in self.answered - self.changes.keys()}

    @property
    def duplicates(self) -> int:
        """Published again with the same number."""
        return self.published.total() - len(self.published)

    @property
    def torn(self) -> dict[str, list[int]]:
        """Ids with more than one number."""
        numbers = defaultdict(list)
        for id_, seq in self.published:
            numbers[id_].append(seq)
        return {id_: seqs for id_, seqs in numbers.items() if len(seqs) > 1}

    @property
    def shared(self) -> dict[int, list[str]]:
        """Numbers with more than one id."""
        ids = defaultdict(list)
        for id_, seq in (*self.published, *self.changes):
            ids[seq].append(id_)
        return {seq: names for seq, names in ids.items() if len(names) > 1}

    def table(self) -> str:
        """Return the counts as lines of a table."""
        rows = {
            "rounds": self.rounds,
            "outages": ", ".join(f"{count} {outage}" for outage, count in sorted(self.outages.items())),
            "alarms made": self.attempts,
            "acknowledged": len(self.acknowledged),
            "published": len(self.published),
            "changes answered": len(self.answered),
            "changes published": len(self.changes),
            "duplicates, same seq": self.duplicates,
            "ids with two seqs": len(self.torn),
            "seqs with two ids": len(self.shared),
            "lost": len(self.lost),
        }
        return "\n".join(f"{name:<22}{value:>10}" for name, value in rows.items())


@dataclass(slots=True, kw_only=True)
class Site:
    """A bridge's surroundings, which outlive it."""

    broker: Broker
    proxy: PacketProxy
    config: str
    push_port: int
    rng: random.Random
    tally: Tally = field(default_factory=Tally)
    counter: paho.Client | None = None
    frozen: bool = False

    async def broker_up(self) -> None:
        """Start the broker; let the bridge connect only once all its messages are counted."""
        await self.broker.start()
        self.counter = await asyncio.to_thread(self._count)
        self.proxy.closed = False

    async def broker_killed(self) -> None:
        """End the broker as a crash would; what it wrote before is still counted."""
        self.proxy.closed = True
        await self.broker.kill()
        self.proxy.drop()
        counter, self.counter = self.counter, None
        assert counter is not None
        await wait_until(lambda: not counter.is_connected(), "the end of what the broker said", PATIENCE)
        await asyncio.to_thread(counter.loop_stop)

    async def begin(self, outage: Outage) -> None:
        self.tally.outages[outage] += 1
        match outage:
            case Outage.CUT:
                self.proxy.closed = True
                self.proxy.drop()
            case Outage.FROZEN:
                self.broker.freeze()
            case Outage.SWALLOWED:
                self.proxy.swallowing = True
            case Outage.KILLED:
                await self.broker_killed()
            case _:
                self.proxy.fault = FAULTS.get(outage)

    async def end(self, outage: Outage) -> None:
        match outage:
            case Outage.CUT:
                self.proxy.closed = False
            case Outage.FROZEN:
                self.broker.thaw()
            case Outage.SWALLOWED:
                self.proxy.swallowing = False
                self.proxy.drop()
            case Outage.KILLED:
                await self.broker_up()
            case _:
                self.proxy.fault = None

    async def push(self) -> None:
        """One vendor: pushes, and pushes again what was not answered and sometimes what was, until cancelled."""
        recent: list[int] = []
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while True:
                if recent and self.rng.random() < REPEATED:
                    number = self.rng.choice(recent)
                else:
                    self.tally.attempts += 1
                    number = self.tally.attempts
                    recent = [*recent[-20:], number]
                await self._push(session, number)

    async def _push(self, session: aiohttp.ClientSession, number: int) -> None:
        alarm = alarm_body(number)
        try:
            async with session.post(
                f"http://{HOST}:{self.push_port}/push/hq/{SECRET}/event", data=json.dumps(alarm)
            ) as response:
                accepted = response.status == 200 and (await response.json())["code"] == 0
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(0.02)  # nobody there: it is being started
        else:
            assert accepted, "a push that is answered is taken in"
            self.tally.acknowledged.add(f"hq:{alarm['id']}")

    async def operate(self) -> None:
        """An operator: changes alarms that were just published, at random, until cancelled."""
        while True:
            await asyncio.sleep(self.rng.uniform(0, 0.05))
            if self.counter is None or not self.tally.newest:
                continue
            action = self.rng.choice(ACTIONS)
            request = {"id": self.rng.choice(tuple(self.tally.newest)), "operator": "soak"}
            if action == "alarm_shelve":
                request["until"] = (datetime.now(UTC) + timedelta(seconds=self.rng.uniform(0.5, 3))).isoformat()
            self.counter.publish(REQUESTS + action, json.dumps(request))

    def _count(self) -> paho.Client:
        def count(message: paho.MQTTMessage) -> None:
            body = json.loads(message.payload)
            if message.topic.startswith(RESPONSES):
                if body["status"] == "ok" and body["data"]["changed"]:
                    self.tally.answered.add((body["data"]["alarm"]["id"], body["data"]["seq"]))
            elif body["type"] == "raised":
                self.tally.heard.add(body["id"])
                self.tally.published[body["id"], body["seq"]] += 1
                self.tally.newest.append(body["id"])
            else:
                self.tally.changes[body["id"], body["seq"]] += 1

        return count_messages(
            self.broker.port, (EVENTS, SUPPRESSED, *(RESPONSES + action for action in ACTIONS)), count
        )


def count_messages(port: int, topics: Sequence[str], count: Callable[[paho.MQTTMessage], None]) -> paho.Client:
    """Subscribe to topics with QoS 0, without reconnecting; return the client, whose thread calls `count`."""
    subscribed = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _client, _data, message: count(message)
    client.connect(HOST, port)
    client.subscribe([(topic, 0) for topic in topics])
    client.loop_start()
    assert subscribed.wait(PATIENCE), "mosquitto did not confirm a subscription"
    return client


def alarm_body(number: int) -> dict[str, object]:
    """The UMS document 2.1, with a number for an id."""
    return {
        "id": f"{number:024x}",
        "event_id": 33,
        "event_type": "ip extension",
        "metric_history_desc": "IP 分机离线",
        "metric_history_level": "serious",
        "metric_history_name": "eEMS_NOTIFY_IPEXT_OFFLINE",
        "metric_history_producer": f"000EA93D02{number % 8:02X}",
        "metric_history_time": "2026-11-22 10:00:00",
        "line_id": str(number % 4),
    }


async def soak(folder: Path, rounds: int, seed: int) -> Tally:
    """Run so many rounds of outages and kills; return the counts of alarms and changes."""
    async with open_site(folder, seed) as site:
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(site.push(), name=f"vendor {n}") for n in range(VENDORS)]
            others.append(group.create_task(site.operate(), name="operator"))
            for outage in islice(in_random_order(site.rng, tuple(Outage)), rounds):
                await one_round(site, outage)
            for other in others:
                other.cancel()
        async with started(site):
            with suppress(TimeoutError):  # whoever asked looks at the tally
                await wait_until(lambda: not site.tally.lost, "the rest", PATIENCE)
        await site.broker_killed()
        return site.tally


def in_random_order(rng: random.Random, kinds: Sequence[T]) -> Iterator[T]:
    """Yield each kind of failure in a random order, and again in another one, without end."""
    while True:
        yield from rng.sample(kinds, k=len(kinds))


async def one_round(site: Site, outage: Outage) -> None:
    """Start the bridge, let the broker have its outage, and kill the bridge before, within or after it."""
    rng = site.rng
    async with started(site) as bridge:
        if outage is Outage.NONE:  # however slow the machine is, an operator is answered before some of the kills
            before = len(site.tally.answered)
            await wait_until(lambda: len(site.tally.answered) > before, "an answer to the operator", PATIENCE)
        await asyncio.sleep(rng.uniform(0, 0.5))
        await site.begin(outage)
        await asyncio.sleep(rng.uniform(0, 0.3))
        after = rng.random() < 0.5
        if after:
            await site.end(outage)
            await asyncio.sleep(rng.uniform(0, 0.5))
        bridge.process.kill()
        await bridge.ends()
    if not after:
        await site.end(outage)
    assert "Traceback" not in bridge.output, bridge.output
    site.tally.rounds += 1


@asynccontextmanager
async def started(site: Site) -> AsyncIterator[Process]:
    """A bridge that takes pushes."""
    async with running(*BRIDGE, "run", "-c", site.config, measured=False) as bridge:
        await bridge.says("push listens on", PATIENCE)
        yield bridge


@asynccontextmanager
async def open_site(folder: Path, seed: int) -> AsyncIterator[Site]:
    """A broker that drops nothing for want of room, behind a network that fails."""
    broker, push_port = Broker(directory=folder / "broker", extra="max_queued_messages 0"), free_port()
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(PacketProxy(broker.port))
        backend = {
            "platform": "ums",
            "url": f"http://{HOST}:{free_port()}",
            "push": {"secret": SECRET},
            "alarms": {"recovers": {"raised": 33, "by": 34}},
        }
        config = write(
            folder,
            mqtt={"host": HOST, "port": proxy.port},
            push={"host": HOST, "port": push_port},
            backends={"hq": backend},
        )
        rng = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        site = Site(broker=broker, proxy=proxy, config=config, push_port=push_port, rng=rng)
        stack.push_async_callback(broker.kill)
        await site.broker_up()
        yield site


def main() -> int:
    """Run a soak test from the command line; return 1 if an event was lost or has two numbers."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200, help="how often the bridge is killed (default 200)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the random moments")  # noqa: S311
    parser.add_argument("--cluster", action="store_true", help="a cluster of three nodes, in which everything fails")
    parser.add_argument("--ttl", type=int, default=3, help="seconds of its leases (default 3)")
    parser.add_argument("--only", action="append", default=[], help="one failure of a cluster, such as 'owner killed'")
    options = parser.parse_args()
    print(f"{options.rounds} rounds, seed {options.seed}", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory(prefix="fleet2mqtt-soak-") as folder:
        if options.cluster:
            from tests.cluster import soak as cluster  # noqa: PLC0415 - psycopg, which the other part does not need

            only = [cluster.Failure(each) for each in options.only] or tuple(cluster.Failure)
            result = asyncio.run(cluster.soak(Path(folder), options.rounds, options.seed, options.ttl, only))
            print(result.table())  # noqa: T201
            return 1 if result.violations else 0
        tally = asyncio.run(soak(Path(folder), options.rounds, options.seed))
    print(tally.table())  # noqa: T201
    return 1 if tally.lost or tally.torn or tally.shared else 0


if __name__ == "__main__":
    sys.exit(main())
