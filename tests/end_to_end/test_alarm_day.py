"""A simulated day of alarms, in which the bridge is killed fifty times; and that its oracle finds what is wrong."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from fleet2mqtt.simulators.ums import app as ums
from tests.bridge_under_test import MAC, SECRET, VOIP, retained, serve
from tests.broker import HOST, Broker, free_port
from tests.commandline import write
from tests.end_to_end.alarm_day import (
    EITHER,
    EVENT,
    SUPPRESSED,
    Expected,
    Mail,
    Oracle,
    Step,
    mail_problems,
    shown_events,
)
from tests.homeassistant.hass import PROJECT, Hass
from tests.process import BRIDGE, Process, running
from tests.receivers import Mailbox, open_mailbox
from tests.waiting import PATIENCE, wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.recording import Recording

KILLS = 50
SEED = 4711
OFFLINE, LINE = "gateway_offline", "line_below_threshold"
PAIR, PAIR_END = "eEMS_NOTIFY_DOWN", "eEMS_NOTIFY_UP"
DOWN, UP = 41, 42
FIRED = "fleet2mqtt_alarm"
DEVICES = (VOIP, f"{VOIP}_fxo_7")
INTERVAL = 0.5
"""Seconds between two polls: the day is short."""


@dataclass(slots=True, kw_only=True)
class Day:
    """The day: a bridge that is killed, its vendor, and what is seen of it."""

    broker: Broker
    seen: Recording
    config: str
    push_port: int
    vendor: Any
    mailbox: Mailbox
    rng: random.Random
    hass: Hass
    told_hass: list[dict[str, Any]]
    oracle: Oracle = field(default_factory=Oracle)
    kills: int = 0
    asked: int = 0
    bodies: dict[int, Any] = field(default_factory=dict)

    # What happens.

    async def gateway(self, *, online: bool) -> None:
        self.vendor.set_online(MAC, online, push=False)

    async def line(self, con_state: str) -> None:
        self.vendor.set_line(MAC, "FXO-7", con_state=con_state)

    async def push(self, number: int, event_id: int) -> None:
        """The vendor pushes an alarm, again until it is answered."""
        if number not in self.bodies:
            name = PAIR if event_id == DOWN else PAIR_END
            self.bodies[number] = self.vendor.raise_alarm(MAC, push=False, event_id=event_id, name=name, line_id="7")
        url = f"http://{HOST}:{self.push_port}/push/hq_voip/{SECRET}/event"

        async def accepted() -> bool:
            try:
                async with (
                    aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
                    session.post(url, data=json.dumps(self.bodies[number])) as response,
                ):
                    return response.status == 200
            except (aiohttp.ClientError, TimeoutError):
                return False

        await wait_for_answer(accepted, "the answer to a push", PATIENCE)

    async def ask(self, name: str, **arguments: Any) -> dict[str, Any]:
        """A request, made again with another transaction until it was taken: the bridge may only just be connecting."""
        while True:
            self.asked += 1
            transaction = f"day{self.asked}"
            await self.broker.publish(f"fleet2mqtt/bridge/request/{name}", arguments | {"transaction": transaction})
            with suppress(TimeoutError):
                answer = await self._answer(f"fleet2mqtt/bridge/response/{name}", transaction)
                if answer["status"] == "ok" or answer["error"]["code"] != "expired":
                    return answer

    async def _answer(self, topic: str, transaction: str) -> dict[str, Any]:
        message = await self.seen.wait(
            lambda each: each.topic == topic and each.json["transaction"] == transaction, PATIENCE / 20
        )
        answer: dict[str, Any] = message.json
        return answer

    async def operate(self, name: str, alarm_type: str, **arguments: Any) -> None:
        """An operator acts on the active alarm of a type; there is none if that was done before the crash."""
        for alarm in (await self.ask("alarms", state="active"))["data"]["alarms"]:
            if alarm["alarm_type"] == alarm_type:
                answer = await self.ask(name, id=alarm["id"], operator="Li", **arguments)
                done_before = answer["status"] == "error" and answer["error"]["code"] == "not_active"
                assert answer["status"] == "ok" or done_before, answer

    async def acknowledge(self) -> None:
        """Somebody acknowledges on a dashboard, again until the bridge has answered."""
        [entry] = await self.hass.ws("config_entries/get", domain="fleet2mqtt")
        [gateway] = [
            each for each in await self.hass.devices() if ["mqtt", f"fleet2mqtt_{VOIP}"] in each["identifiers"]
        ]
        which = {"config_entry_id": entry["entry_id"], "device_id": [gateway["id"]], "alarm": OFFLINE}

        async def answered() -> bool:
            with suppress(RuntimeError):  # the bridge is killed, or is not there yet
                return bool(await self.hass.call_service("fleet2mqtt.alarm_acknowledge", which, response=True))
            return False

        await wait_for_answer(answered, "the answer to a dashboard")

    async def maintenance(self) -> None:
        if not (await self.ask("maintenance_list"))["data"]["windows"]:
            answer = await self.ask("maintenance_add", selector={"device": VOIP}, operator="Li")
            assert answer["status"] == "ok", answer

    async def end_maintenance(self) -> None:
        for window in (await self.ask("maintenance_list"))["data"]["windows"]:
            await self.ask("maintenance_remove", id=window["id"])

    # What is seen.

    def published(self) -> list[tuple[str, dict[str, Any]]]:
        return [
            (where, message.json)
            for message in tuple(self.seen.messages)
            for where in (EVENT, SUPPRESSED)
            if message.topic.startswith(f"fleet2mqtt/alarm/{where}/")
        ]

    async def have(self, expected: tuple[Expected, ...]) -> None:
        """Wait until all events that the script expects so far are published."""
        self.oracle.script += expected
        await wait_until(
            lambda: not self.oracle.unexpected(self.published()),
            lambda: f"{expected}: {self.oracle.unexpected(self.published())}",
            PATIENCE,
        )

    def mail_problems(self) -> list[str]:
        mails = map(Mail.of, self.mailbox.subjects, self.mailbox.bodies)
        return mail_problems(self.oracle.script, mails, self.kills, {PAIR_END: PAIR})

    def announced(self) -> tuple[list[int], list[int]]:
        """The `seq` of each event that was not withheld, as published, and of each once."""
        published = [body["seq"] for where, body in self.published() if where == EVENT]
        return published, sorted({*published})

    def told(self) -> tuple[list[int], list[int]]:
        """The `seq` of each change of Home Assistant's event entities, and of each event that its integration fired."""
        told = tuple(self.told_hass)
        return shown_events(told), [event["data"]["seq"] for event in told if event["event_type"] == FIRED]

    async def history(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            data = (await self.ask("alarms", after=found[-1]["seq"] if found else 0, limit=7))["data"]
            found += data["alarms"]
            if not data["more"]:
                return found

    # The bridge.

    @asynccontextmanager
    async def bridge(self) -> AsyncIterator[Process]:
        before = len(self.seen.all("fleet2mqtt/bridge/state"))
        async with running(*BRIDGE, "run", "-c", self.config, measured=False) as process:
            yield process
            if process.process.returncode is None and self.kills < KILLS:
                process.process.kill()
                await process.ends()
                self.kills += 1
            assert "Traceback" not in process.output, process.output
            assert before <= len(self.seen.all("fleet2mqtt/bridge/state"))

    async def starts(self) -> None:
        """Kill a bridge that is just starting, at any moment."""
        async with self.bridge():
            await asyncio.sleep(self.rng.uniform(0.2, 1.2))

    async def do(self, step: Step) -> None:
        """Do a step, of which the bridge is killed at any moment, then what is left of it."""
        async with self.bridge() as process:
            await process.says("push listens on", PATIENCE)
            acting = asyncio.create_task(step.act())
            await asyncio.sleep(self.rng.uniform(0, 1.0))
        acting.cancel()
        await asyncio.gather(acting, return_exceptions=True)
        await self.starts()
        async with self.bridge() as process:
            await process.says("push listens on", PATIENCE)
            await step.act()
            await self.have(step.expected)


@asynccontextmanager
async def open_day(folder: Path) -> AsyncIterator[Day]:
    application = ums.create(devices=1)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Broker(directory=folder / "broker"))
        push_port = free_port()
        mailbox = await stack.enter_async_context(open_mailbox())
        backend = {
            "platform": "ums",
            "url": await serve(stack, application),
            "push": {"secret": SECRET},
            "scan_interval": {"devices": INTERVAL, "lines": INTERVAL, "alarms": INTERVAL},
            "alarms": {"recovers": [{"raised": DOWN, "by": UP}], "ignore": [33]},  # 33 is in the vendor's history
        }
        config = write(
            folder,
            mqtt={"host": HOST, "port": broker.port, "will_delay": 0},
            push={"host": HOST, "port": push_port},
            alarms={"suppression_delay": 1},
            notify={"duty": {"url": mailbox.url, "storm_count": 1000}},
            backends={"hq_voip": backend},
        )
        seen = await stack.enter_async_context(broker.record("#"))
        hass = Hass(directory=folder / "hass", custom_components=PROJECT / "custom_components")
        await stack.enter_async_context(hass)
        await hass.setup_mqtt(broker)
        async with running(*BRIDGE, "run", "-c", config, measured=False):  # before the day: what tells of it is there
            for device in DEVICES:
                await hass.wait_state(f"event.{device}_alarm", lambda state: state["state"] == "unknown")
            await hass.set_up_integration()
            await seen.wait(lambda message: message.topic == "fleet2mqtt/bridge/response/alarms")  # where to begin
        yield Day(
            broker=broker,
            seen=seen,
            config=config,
            push_port=push_port,
            vendor=application[ums.SIMULATOR],
            mailbox=mailbox,
            rng=random.Random(SEED),  # noqa: S311 - to be repeated, not to be secret
            hass=hass,
            told_hass=await stack.enter_async_context(hass.record("state_changed", FIRED)),
        )


def script(day: Day) -> list[Step]:
    def expect(*each: tuple[str, ...]) -> tuple[Expected, ...]:
        return tuple(Expected(*one) for one in each)

    drops, returns = partial(day.gateway, online=False), partial(day.gateway, online=True)
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    return [
        Step("the gateway drops", drops, expect((OFFLINE, "raised"))),
        Step("somebody at a dashboard", day.acknowledge, expect((OFFLINE, "acknowledged"))),
        Step("it returns", returns, expect((OFFLINE, "cleared"))),
        Step("a line is weak", partial(day.line, "1"), expect((LINE, "raised"))),
        Step("the gateway drops with it", drops, expect((OFFLINE, "raised"))),
        Step("it returns with it", returns, expect((OFFLINE, "cleared"))),
        Step("the line recovers", partial(day.line, "2"), expect((LINE, "cleared", EITHER))),
        Step("the vendor's alarm", partial(day.push, 1, DOWN), expect((PAIR, "raised"))),
        Step("the vendor's recovery", partial(day.push, 2, UP), expect((PAIR_END, "cleared"))),
        Step("the vendor's alarm again", partial(day.push, 3, DOWN), expect((PAIR, "raised"))),
        Step("an operator closes it", partial(day.operate, "alarm_close", PAIR), expect((PAIR, "closed"))),
        Step("maintenance begins", day.maintenance, ()),
        Step("it drops in maintenance", drops, expect((OFFLINE, "raised", SUPPRESSED))),
        Step("it returns in maintenance", returns, expect((OFFLINE, "cleared", SUPPRESSED))),
        Step("it drops again", drops, expect((OFFLINE, "raised", SUPPRESSED))),
        Step("maintenance ends", day.end_maintenance, expect((OFFLINE, "unsuppressed"))),
        Step("it is shelved", partial(day.operate, "alarm_shelve", OFFLINE, until=until), expect((OFFLINE, "shelved"))),
    ]


async def test_every_change_of_a_day_is_announced_once_whatever_is_killed(tmp_path: Path) -> None:
    async with open_day(tmp_path) as day:
        for step in script(day):
            await day.do(step)
        await day.starts()
        assert day.kills >= KILLS, day.kills
        async with running(*BRIDGE, "run", "-c", day.config, measured=False) as process:
            await process.says("push listens on", PATIENCE)
            history = await day.history()
            await wait_until(lambda: not day.oracle.unexpected(day.published()), "the script's events")
            assert day.oracle.problems(day.published(), history) == []
            active = (await day.ask("alarms", state="active"))["data"]["alarms"]
            assert [(each["alarm_type"], each["shelved_by"]) for each in active] == [(OFFLINE, "Li")]
            topics = [
                topic for topic, body in (await retained(day.broker, "fleet2mqtt/alarm/active/#")).items() if body
            ]
            assert topics == [f"fleet2mqtt/alarm/active/{VOIP}/{OFFLINE}"]
            for device, shown in zip(DEVICES, ("on", "off"), strict=True):
                await day.hass.wait_state(f"binary_sensor.{device}_alarm_active", partial(is_in_state, shown))
            assert not day.oracle.problems(day.published(), history)
            await wait_until(lambda: day.told() == day.announced(), lambda: f"{day.announced()}, not {day.told()}")
            await wait_until(lambda: not day.mail_problems(), lambda: str(day.mail_problems()))
        assert day.mail_problems() == []


def is_in_state(wanted: str, state: dict[str, Any]) -> bool:
    return bool(state["state"] == wanted)


def body(seq: int, type_: str, alarm: str = OFFLINE) -> dict[str, Any]:
    return {"seq": seq, "id": "hq:1", "type": type_, "alarm_type": alarm}


PUBLISHED = [(EVENT, body(1, "raised")), (EVENT, body(2, "acknowledged")), (SUPPRESSED, body(3, "cleared"))]


def test_oracle_accepts_what_is_as_it_should_be() -> None:
    oracle = Oracle(
        [Expected(OFFLINE, "raised"), Expected(OFFLINE, "acknowledged"), Expected(OFFLINE, "cleared", EITHER)]
    )
    assert oracle.problems([*PUBLISHED, PUBLISHED[1]], [each for _, each in PUBLISHED]) == []


def test_oracle_accepts_the_end_of_suppression_after_a_withheld_end_only() -> None:
    oracle = Oracle([Expected(OFFLINE, "raised"), Expected(OFFLINE, "cleared", EITHER)])
    raised, cleared = (EVENT, body(1, "raised")), body(2, "cleared")
    assert oracle.unexpected([raised, (SUPPRESSED, cleared)]) == []
    assert oracle.unexpected([raised, (SUPPRESSED, cleared), (EVENT, body(3, "unsuppressed"))]) == []
    assert oracle.unexpected([raised, (SUPPRESSED, cleared), (SUPPRESSED, body(3, "unsuppressed"))])
    assert oracle.unexpected([raised, (EVENT, cleared), (EVENT, body(3, "unsuppressed"))])


@pytest.mark.parametrize("fault", ["lost", "lost everywhere", "twice", "torn", "order", "topic", "history"])
def test_oracle_finds_what_is_lost_or_twice(fault: str) -> None:
    oracle = Oracle(
        [Expected(OFFLINE, "raised"), Expected(OFFLINE, "acknowledged"), Expected(OFFLINE, "cleared", SUPPRESSED)]
    )
    published, history = deepcopy(PUBLISHED), [deepcopy(each) for _, each in PUBLISHED]
    assert oracle.problems(published, history) == []
    match fault:
        case "lost":
            del published[1]
        case "lost everywhere":
            del published[1], history[1]
        case "twice":  # under a number of its own
            published.append((EVENT, body(4, "acknowledged")))
            history.append(body(4, "acknowledged"))
        case "torn":
            published.append((EVENT, body(2, "raised")))
        case "order":
            published[0][1]["seq"], published[1][1]["seq"] = 2, 1
            history[0]["seq"], history[1]["seq"] = 2, 1
        case "topic":
            published[1] = (SUPPRESSED, published[1][1])
        case "history":
            del history[2]
    assert oracle.problems(published, history)


def shown(time: str, seq: int | None) -> dict[str, Any]:
    attributes = {} if seq is None else {"seq": seq}
    return {"data": {"new_state": {"entity_id": "event.gw_alarm", "state": time, "attributes": attributes}}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([("1", 7), ("2", 8)], [7, 8]),
        ([("1", 7), ("1", 8)], [7, 8]),  # in the same millisecond
        ([("1", 7), ("2", 7)], [7, 7]),  # delivered again
        ([("1", 7), ("unavailable", None), ("1", 7)], [7]),
        ([("unknown", None)], []),
    ],
)
def test_shown_events_are_those_of_each_change(changes: list[tuple[str, int | None]], expected: list[int]) -> None:
    assert shown_events([shown(*each) for each in changes]) == expected


SCRIPT = [Expected(OFFLINE, "raised"), Expected(OFFLINE, "acknowledged"), Expected("up", "cleared")]
MAILS = [Mail(OFFLINE, "raised", "hq:1"), Mail(OFFLINE, "cleared", "hq:1")]


@pytest.mark.parametrize(
    ("mails", "right"),
    [
        (MAILS, True),
        ([MAILS[0], *MAILS], True),  # again after the crash
        ([MAILS[0], *MAILS, MAILS[1]], False),
        (MAILS[:1], False),
        (MAILS[::-1], False),
        ([*MAILS, Mail(LINE, "raised", "hq:2")], False),
        ([Mail(OFFLINE, "raised", "hq:0"), *MAILS], False),
    ],
)
def test_oracle_finds_what_is_wrong_with_mails(mails: list[Mail], *, right: bool) -> None:
    problems = mail_problems(SCRIPT, mails, 1, {"up": OFFLINE})
    assert (not problems) is right, problems


def test_withheld_changes_have_no_mail() -> None:
    script = [Expected(OFFLINE, "raised", SUPPRESSED), Expected(OFFLINE, "unsuppressed"), Expected(OFFLINE, "shelved")]
    assert mail_problems(script, MAILS[:1], 0, {}) == []
    assert mail_problems(script[:1], [], 0, {}) == []
