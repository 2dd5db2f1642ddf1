"""No secret of any platform comes out anywhere: log, topics, HTTP answers, looks, dead letters, files."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from aiohttp import ClientSession, TCPConnector

from fleet2mqtt.errors import Unreachable
from fleet2mqtt.sdk.http_client import Envelope, HttpClient
from fleet2mqtt.sdk.rate_limiter import RateLimiter
from fleet2mqtt.storage.inventory_file import load
from tests.commandline import OM50
from tests.process import ran
from tests.secrecy import (
    ACTIONS,
    ASKED,
    BACKENDS,
    CONFIGURED,
    SHOWN,
    SN,
    TOLD,
    Echo,
    Scene,
    configuration,
    ended,
    learnt,
    scattered,
    scene,
    vendors,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartBroker

GATEWAY = f"branch_{SN.lower()}"


async def test_secrets_appear_in_no_output(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = await start_broker(users={"fleet": CONFIGURED["mqtt password"]})
    outputs: dict[str, str] = {}
    async with vendors() as (found, urls):
        path = configuration(tmp_path, broker, urls)
        outputs |= await look(path, list(BACKENDS), 0)
        async with scene(broker, path, found) as here:
            await everyday(here)
            await people(here)
            for echo in (Echo.STATUS, Echo.GARBAGE, Echo.REFUSAL, Echo.DENIAL):
                await misfortune(here, echo)
            assert await ended(here) == 0
        for vendor in found.values():
            vendor.echo = Echo.REFUSAL
        outputs |= await look(path, ["cabinets", "admins"], 1)
        secrets = CONFIGURED | SHOWN | TOLD | learnt(found)
        traffic = "\n".join(vendor.traffic for vendor in found.values())
    outputs |= {"the log": here.process.output, "a page": "\n".join(here.pages)}
    for message in here.seen.messages:
        if message.topic not in here.mine | here.confidential:
            outputs[message.topic] = outputs.get(message.topic, "") + message.payload.decode("utf-8", "replace")
    outputs |= files(tmp_path / "data")
    assert scattered(secrets | ASKED, outputs) == []
    answers = "\n".join(m.text for m in here.seen.messages if m.topic in here.confidential)
    assert scattered(secrets, {"an answer": answers}) == []
    assert {name for name, text in ASKED.items() if text not in answers} == set()
    assert {name for name, text in (secrets | ASKED).items() if text not in traffic} == NOT_FROM_VENDORS
    assert echoed(found) == set()


NOT_FROM_VENDORS = {
    "mqtt password",
    *(f"push secret of {name}" for name in BACKENDS),
    *("pass", "pass of an alarm", "unreadable", "unreadable webhook"),
    *(f"{what} of a notification" for what in ("password", "token", "header")),
    *("key of the AC", "password of omstation", "token of the asset server", "view key", "view secret"),
}
"""What goes between the bridge and its broker, or into it, or out as a hash only; all else has passed by a vendor."""


def echoed(found: Any) -> set[str]:
    """The backends whose vendor was to repeat a secret and got none."""
    return {name for name, vendor in found.items() if not vendor.echoed & set(CONFIGURED.values())}


LOOK = """
import sys
from fleet2mqtt.cli.parser import main
path, *names = sys.argv[1:]
for command in (["check"], *(["dump", name] for name in names), ["notify", "test"]):
    print(main([*command, "-c", path, "--log-level", "debug"]))
"""


async def look(path: str, names: list[str], code: int) -> dict[str, str]:
    """Run commands that end by themselves, in one process, as each takes a second to start; return their output."""
    shown = await ran(sys.executable, "-c", LOOK, path, *names)
    lines = shown.output.splitlines()
    assert [line for line in lines if line.isdigit()] == [str(code)] * (len(names) + 1) + ["1"], shown
    assert {"pager: HTTP 403", "deaf: it does not speak TLS as expected"} <= set(lines)
    dumps = [json.loads(line) for line in lines if line.startswith("{")]
    assert [bool(dump["devices"]) for dump in dumps] == [not code] * len(names)
    return {f"a look ({code})": shown.output + shown.errors}


def files(folder: Path) -> dict[str, str]:
    """Return the content of all files but those of tokens, which only the bridge may read."""
    tokens = list(folder.glob("*.token.json"))
    assert {file.name for file in tokens} == {f"{name}.token.json" for name in ("cabinets", "things", "admins")}
    assert {file.stat().st_mode & 0o777 for file in tokens} == {0o600}
    assert scattered(CONFIGURED, {file.name: file.read_text() for file in tokens}) == []
    assert load(folder / "inventory.json").devices
    kept = (file for file in folder.iterdir() if file not in tokens)
    return {file.name: file.read_bytes().decode("utf-8", "replace") for file in kept}


async def everyday(here: Scene) -> None:
    """Use the bridge as on every day: polls, pushes, commands, and pushes that cannot be parsed."""
    assert all(source["ok"] for sources in (await here.refresh()).values() for source in sources.values())
    things = here.vendors["things"].simulator
    device = next(iter(things.devices))
    alarm = {"id": "1", "metric_history_producer": OM50, "pass": SHOWN["pass of an alarm"]}
    assert await here.post("hq", "event", alarm) == 200
    assert await here.post("hq", "device", {"device_mac": OM50, "pass": SHOWN["pass"]}) == 200
    assert await here.post("hq", "device", f'{{"device_mac": 5, "pass": "{SHOWN["unreadable"]}", ') == 400
    named = {"device": {"id": device}, "ts": 1_700_000_000_000}
    assert await here.post("things", "attributes", named | {"attributes": {"wifiKey": SHOWN["an attribute"]}}) == 200
    assert await here.post("things", "event", named | {"event": {"method": "m", "params": {}}}) == 200
    assert await here.post("things", "alarm", f'{{"access_token": "{SHOWN["unreadable webhook"]}"') == 400
    assert await here.post("hq", "event", alarm, CONFIGURED["push secret of things"]) == 404
    assert await here.post("hq", "none", alarm) == 404
    letters = (await here.ask("bridge", "dead_letters"))["data"]["dead_letters"]
    kept = {letter["kind"]: letter["body"] for letter in letters}
    assert '"pass"' in kept["device"]
    assert '"access_token"' in kept["alarm"]
    await here.tell(f"fleet2mqtt/device/{GATEWAY}/set", {"hotspot_passwd": TOLD["set"], "transaction": "s1"})
    await here.hears(lambda m: m.topic == f"fleet2mqtt/device/{GATEWAY}/result" and m.json["status"] == "confirmed")
    await here.tell(f"fleet2mqtt/device/{GATEWAY}/set/hotspot_passwd", TOLD["set key"])
    await here.hears(lambda m: m.topic == f"fleet2mqtt/device/{GATEWAY}/result" and m.json.get("transaction") != "s1")
    for name, reason in (("pager", "HTTP 403"), ("deaf", "it does not speak TLS as expected")):
        await here.process.says(f"notify.{name}: a notification waits: {reason}")
    for name in ("health", "devices", "alarms", "announce"):
        assert (await here.ask("bridge", name))["status"] == "ok"
    await here.look()


async def people(here: Scene) -> None:
    """Actions about people, where they may be asked for, and where not."""
    things = here.vendors["things"].simulator
    ids = {"DEVICE": next(iter(things.devices)), "CUSTOMER": next(iter(things.customers))}
    for backend, actions in ACTIONS.items():
        for name, arguments in actions.items():
            here.confidential.add(f"fleet2mqtt/backend/{backend}/response/{name}")
            given = {key: ids.get(value, value) for key, value in arguments.items()}
            answer = await here.ask(f"backend/{backend}", name, **given)
            assert (answer["status"] == "ok") is (name not in {"customer_auth", "login"}), answer
    for name in ("device_get", "device_list", "alarm_logs"):
        arguments = {"device_id": ids["DEVICE"]} if name == "device_get" else {}
        assert (await here.ask("backend/things", name, **arguments))["status"] == "ok"
    before = len(here.vendors["admins"].heard)
    for name in ("customers", "admin"):
        answer = await here.ask("backend/admins", name)
        assert answer["error"]["code"] == "not_allowed"
    assert not any("/customers" in said or "/admin " in said for said in here.vendors["admins"].heard[before:])


async def misfortune(here: Scene, echo: Echo) -> None:
    """Every vendor repeats what it was sent, in one way or another, to polls and to a command."""
    for vendor in here.vendors.values():
        vendor.echo = echo
    for _ in range(2):
        report = await here.refresh()
        assert not [name for name, sources in report.items() if all(source["ok"] for source in sources.values())]
    await here.ask("backend/hq", "device_list")
    answer = await here.ask("backend/things", "project")
    assert answer["status"] == "error"
    await here.look()


class Deaf(TCPConnector):
    """Nobody answers, not even the first packet."""

    async def connect(self, *_: Any, **__: Any) -> NoReturn:
        raise TimeoutError


async def test_url_of_failed_call_is_not_logged() -> None:
    """A signature in the log that was never used could be used by its reader."""
    async with ClientSession(connector=Deaf()) as session:
        api = HttpClient(
            session=session,
            write_session=session,
            base="http://ac.example.com",
            envelope=Envelope(),
            rate_limiter=RateLimiter(concurrency=1),
        )
        with pytest.raises(Unreachable, match="the host does not answer") as raised:
            await api.call("GET", "/v1/status", params={"random": "r", "md5": "canary-signature"})
    assert "canary-signature" in str(raised.value.__cause__)
    assert "canary-signature" not in str(raised.value)
