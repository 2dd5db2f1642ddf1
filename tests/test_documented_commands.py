"""Commands for operators in README.md, run as they are there beside a bridge, with mosquitto's own clients."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from tests.bridge_under_test import CHANNEL, LINE, MAC, Site, open_site
from tests.broker import HOST
from tests.documented import commands
from tests.process import Ended, ran, running
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.process import Process


def lines(block: str) -> list[str]:
    """Return the commands of a block, without its comments."""
    return [line for line in block.splitlines() if line and not line.startswith("#")]


def environment(site: Site) -> str:
    """Return functions of bash: the programs, with the options that the README adds for another broker."""
    broker = f"-h {HOST} -p {site.broker.port}"
    return f"""
        mosquitto_pub() {{ command mosquitto_pub {broker} "$@"; }}
        mosquitto_sub() {{ exec stdbuf -oL mosquitto_sub {broker} -d "$@"; }}
    """


async def run(site: Site, line: str) -> Ended:
    """Run a command of a page, with the addresses and files of a site."""
    ours = {
        "/opt/fleet2mqtt/bin/fleet2mqtt": f"{shlex.quote(sys.executable)} -m fleet2mqtt",
        "/etc/fleet2mqtt/fleet2mqtt.yaml": shlex.quote(str(site.folder / "fleet2mqtt.yaml")),
        "http://127.0.0.1:8099/": f"http://{HOST}:{site.web_port}/",
    }
    for theirs, mine in ours.items():
        line = line.replace(theirs, mine)
    ended = await ran("bash", "-euc", f"{environment(site)}\n{line}")
    assert ended.code == 0, f"{line}: {ended.output}{ended.errors}"
    return ended


async def test_commands_for_operators_do_what_they_say(tmp_path: Path) -> None:
    told = lines(commands("README.md", "# watch states"))
    subscriptions = [line for line in told if line.startswith("mosquitto_sub")]
    publications = [line for line in told if line.startswith("mosquitto_pub")]
    assert sorted([*subscriptions, *publications]) == sorted(told)
    async with open_site(tmp_path) as site, site.bridge() as bridge, AsyncExitStack() as stack:
        await bridge.settle()
        shown = []
        for line in subscriptions:
            command = ("bash", "-euc", f"{environment(site)}\n{line}")
            shown.append(await stack.enter_async_context(running(*command)))
            await shown[-1].says("received SUBACK")
        states, alarms, results, responses = shown
        await states.says(f"fleet2mqtt/device/{CHANNEL}/state {{")
        site.ums.raise_alarm(MAC, push=False)
        await site.push(b"{")
        await bridge.refresh(backend="hq_voip")
        await alarms.says("fleet2mqtt/alarm/event/critical/")
        assert "backends" in (await outcome(responses, 0))["data"]  # of the refresh
        outcomes: list[Any] = []
        seen = {id(results): 0, id(responses): 1}
        for line in publications:
            await run(site, line)
            subscriber = results if "/set" in line else responses
            outcomes.append(await outcome(subscriber, seen[id(subscriber)]))
            seen[id(subscriber)] += 1
    values = [(each["key"], each["requested"], each["status"]) for each in outcomes[:2]]
    assert values == [("enable", "ON", "confirmed"), ("apn", "ctnet", "confirmed")]
    assert outcomes[1]["transaction"] == "4711"
    assert [each["status"] for each in outcomes[2:]] == ["ok"] * 6
    [letter] = outcomes[3]["data"]["dead_letters"]
    assert letter["id"] == 1
    assert outcomes[5]["data"] == {"discarded": 1}
    assert outcomes[6]["data"] == {"forgotten": [LINE]}
    assert CHANNEL in outcomes[7]["data"]["forgotten"]


async def outcome(subscriber: Process, number: int) -> Any:
    """Return the message that a subscriber has printed after so many others, once it is there."""

    def printed() -> str | None:
        found = [line for line in subscriber.lines if line.startswith("fleet2mqtt/")]
        return found[number] if len(found) > number else None

    line = await wait_until(printed, lambda: f"message {number} in {subscriber.output}")
    return json.loads(line.partition(" ")[2])


async def test_commands_that_look_at_a_bridge_print_what_they_say(tmp_path: Path) -> None:
    readiness, dump, rules = lines(commands("README.md", "curl -s"))
    async with open_site(tmp_path) as site, site.bridge() as bridge:
        await bridge.settle()
        assert json.loads((await run(site, readiness)).output)["ready"] is True
        dumped = json.loads((await run(site, dump)).output)
        assert MAC in json.dumps(dumped)
        site.ums.raise_alarm(MAC, push=False)
        await bridge.refresh(backend="hq_voip")
        await bridge.event_count(1)
        assert "alarm events in the history" in (await run(site, rules)).output
