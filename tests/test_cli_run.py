"""`fleet2mqtt run` as a process: how it begins, how it ends, and that it keeps secrets."""

from __future__ import annotations

import json
import re
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.broker import HOST, Broker, free_port
from tests.commandline import OM50, fleet2mqtt, get, get_text, post, simulator, write
from tests.process import BRIDGE, Process, running
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartBroker
    from tests.recording import Recording

STATE = "fleet2mqtt/bridge/state"
INSIDE = 1883
SN = "172DE6AC9832DE"
GATEWAY = f"branch_{SN.lower()}"


def mqtt(broker: Broker, **more: Any) -> dict[str, Any]:
    return {"host": HOST, "port": broker.port, **more}


async def address(bridge: Process, option: str) -> str:
    """Where the bridge says that it listens."""
    line = await bridge.says(f"{option} listens on")
    return f"http://{line.split()[-1]}"


# How it begins and ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_after_a_goodbye(number: signal.Signals, broker: Broker, tmp_path: Path) -> None:
    async with broker.record(STATE) as seen:
        async with running(*BRIDGE, "run", "-c", write(tmp_path, mqtt=mqtt(broker))) as bridge:
            await seen.wait(lambda message: message.text == "online")
            bridge.process.send_signal(number)
            assert await bridge.ends() == 0
        await seen.wait(lambda message: message.text == "offline")
    assert [message.text for message in seen.messages] == ["online", "offline"]
    assert (await broker.retained(STATE))[STATE].payload == b"offline"
    own = [line for line in broker.log().splitlines() if re.search(r"(from|to) fleet2mqtt-", line)]
    published = [(at, line) for at, line in enumerate(own) if "Received PUBLISH" in line]
    at, last = published[-1]
    mid = re.search(rf"r1, (m\d+), '{STATE}'", last)
    assert mid, last
    assert [line for line in own[at:] if "Sending PUBACK" in line and f"({mid[1]}," in line]
    assert "Received DISCONNECT" in own[-1], "so that the broker forgets the will"
    assert "Traceback" not in bridge.output


async def test_it_ends_as_well_without_a_broker(tmp_path: Path) -> None:
    async with running(*BRIDGE, "run", "-c", write(tmp_path)) as bridge:
        await bridge.says("no connection to")
        bridge.process.terminate()
        assert await bridge.ends() == 0
    assert "Traceback" not in bridge.output


async def test_a_wrong_password_is_said_with_its_remedy_and_tried_again(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    broker = await start_broker(users={"fleet": "right-one"})
    path = write(tmp_path, mqtt=mqtt(broker, username="fleet", password="wrong-one"))
    async with running(*BRIDGE, "run", "-c", path) as bridge:
        line = await bridge.says("the broker refuses us")
        assert "check mqtt.username, mqtt.password" in line
        assert "trying again" in line
        assert "wrong-one" not in bridge.output


async def test_without_an_mqtt_block_a_broker_for_this_machine_only_is_started(tmp_path: Path) -> None:
    await wait_until(lambda: not accepts(HOST, INSIDE), f"port {INSIDE} to be free: stop the broker there", 60)
    async with running(*BRIDGE, "run", "-c", write(tmp_path, mqtt=None)) as bridge:
        line = await bridge.says("no mqtt: block")
        assert f"started on {HOST}:{INSIDE}, for this machine only" in line
        await bridge.says(f"connected to {HOST}:{INSIDE}")
        assert accepts(HOST, INSIDE)
        assert not accepts("127.0.0.2", INSIDE), "all of 127/8 answers to a listener on every address"
        second = await fleet2mqtt("run", "-c", write(tmp_path, mqtt=None, data_dir="other"))
        assert second.code == 2
        assert second.errors.splitlines()[-1].startswith(f"port {INSIDE} is in use: ")
        bridge.process.terminate()
        assert await bridge.ends() == 0
    assert "Traceback" not in bridge.output


def accepts(host: str, port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((host, port)) == 0


async def test_a_log_in_json_is_json_in_every_line(broker: Broker, tmp_path: Path) -> None:
    path = write(tmp_path, mqtt=mqtt(broker))
    async with running(*BRIDGE, "run", "-c", path, "--log-format", "json", "--log-level", "debug") as bridge:
        await bridge.says("connected to")
        await bridge.says("hq: devices fails")
        bridge.process.terminate()
        assert await bridge.ends() == 0
    lines = [json.loads(line) for line in bridge.lines]
    assert all(line.keys() >= {"ts", "level", "logger", "message"} for line in lines)
    assert {"info", "warning"} <= {line["level"] for line in lines}


# Secrets ---------------------------------------------------------------------------------------------------------

SECRETS = {
    "mqtt password": "canary-mqtt-1f0c",
    "push secret": "canary-push-2a7d",
    "header": "canary-header-3b91",
    "included": "canary-included-4c55",
    "pass": "canary-pass-5d20",
    "passwd": "canary-passwd-6e83",
    "wifiKey": "canary-wifikey-70aa",
    "unreadable": "canary-unreadable-8f14",
    "page": "canary-page-9c3e",
    "set": "canary-set-a1b2",
    "set key": "canary-setkey-b6d7",
}


def leaks(where: str, text: str) -> list[str]:
    return [f"{name} in {where}" for name, secret in SECRETS.items() if secret in text]


async def test_no_secret_comes_out_anywhere(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = await start_broker(users={"fleet": SECRETS["mqtt password"]})
    push_port, folder = free_port(), tmp_path / "site"
    folder.mkdir()
    push = f"http://{HOST}:{push_port}/push/hq/{SECRETS['push secret']}"
    async with (
        simulator("ums", "--still", "--push", push) as (ums, _),
        simulator("smart_gateway", "--still") as (branch, _),
        broker.record("#") as seen,
    ):
        path = secretive(folder, broker, push_port, {"hq": ums, "branch": branch})
        await plant(branch)
        check = await fleet2mqtt("check", "-c", path, "--log-level", "debug")
        dumps = [await fleet2mqtt("dump", name, "-c", path, "--log-level", "debug") for name in ("hq", "branch")]
        assert [ended.code for ended in (check, *dumps)] == [0, 0, 0]
        async with running(*BRIDGE, "run", "-c", path, "--log-level", "debug") as bridge:
            web = await address(bridge, "web")
            sent = await provoke(broker, seen, ums)
            shown = [await get_text(f"{web}/{page}") for page in ("", "api/status", "metrics", "readyz")]
            bridge.process.terminate()
            assert await bridge.ends() == 0
    found = leaks("the log", bridge.output)
    for ended in (check, *dumps):
        found += leaks("a look", ended.output + ended.errors)
    for page in shown:
        found += leaks("a page", page)
    for message in seen.messages:
        if message.topic not in sent:
            found += leaks(message.topic, message.payload.decode("utf-8", "replace"))
    for file in (folder / "data").iterdir():
        found += leaks(file.name, file.read_bytes().decode("utf-8", "replace"))
    assert found == []


def secretive(folder: Path, broker: Broker, push_port: int, urls: dict[str, str]) -> str:
    """A configuration with a secret wherever one can be."""
    included = f"Bearer {SECRETS['included']}"
    (folder / "secrets.yaml").write_text(yaml.safe_dump({"token": included}))
    headers = {"Authorization": "TOKEN", "X-Key": SECRETS["header"]}
    secret = {"secret": SECRETS["push secret"]}
    path = write(
        folder,
        mqtt=mqtt(broker, username="fleet", password=SECRETS["mqtt password"]),
        push={"host": HOST, "port": push_port},
        backends={
            "hq": {"platform": "ums", "url": urls["hq"], "headers": headers, "push": secret},
            "branch": {"platform": "smart_gateway", "url": urls["branch"], "headers": headers},
        },
    )
    file = folder / "fleet2mqtt.yaml"
    file.write_text(file.read_text().replace("TOKEN", "!secret token"))
    return path


async def plant(branch: str) -> None:
    """Put secrets where the vendor shows them."""
    gateways = (await get(f"{branch}/_sim/state"))["gateways"]
    by_wifi = [
        (sn, key) for sn, each in gateways.items() for key, it in each["channel"].items() if "wifiKey" in (it or {})
    ]
    assert by_wifi
    for sn, key in by_wifi:
        await post(f"{branch}/_sim/gateway", {"sn": sn, "channel": {key: {"wifiKey": SECRETS["wifiKey"]}}})
    await post(f"{branch}/_sim/gateway", {"sn": SN, "network": {"hotspot": {"passwd": SECRETS["passwd"]}}})


async def provoke(broker: Broker, seen: Recording, ums: str) -> set[str]:
    """Have every secret pass through a running bridge; gives the topics that were published here."""
    answers: list[str] = []

    async def request(name: str, **arguments: Any) -> dict[str, Any]:
        topic = f"fleet2mqtt/bridge/request/{name}"
        await broker.publish(topic, {"transaction": f"t{len(answers)}", **arguments})
        answers.append(topic)
        told = await seen.wait(lambda m: m.topic == topic.replace("/request/", "/response/"))
        answer: dict[str, Any] = told.json["data"]
        return answer

    await seen.wait(lambda message: message.topic == f"fleet2mqtt/device/{GATEWAY}/state" and bool(message.payload))
    device = {"device_mac": OM50, "connection_status": "online", "pass": SECRETS["pass"]}
    broken = f'{{"device_mac": 5, "pass": "{SECRETS["unreadable"]}", '
    (good,) = await post(f"{ums}/_sim/push", {"kind": "device", "body": device})
    (bad,) = await post(f"{ums}/_sim/push", {"kind": "event", "body": broken})
    assert (good["status"], bad["status"]) == (200, 400)
    (letter,) = (await request("dead_letters"))["dead_letters"]
    assert '"pass"' in letter["body"]
    page = f"<html>passwd: '{SECRETS['page']}'"
    await post(f"{ums}/_sim/faults", {"kind": "garbage", "path": "/s1/device", "text": page})
    echo = f"unknown token Bearer {SECRETS['included']}"
    await post(f"{ums}/_sim/faults", {"kind": "error", "path": "/s1/device/status", "code": 7, "text": echo})
    refresh = (await request("refresh", backend="hq"))["backends"]["hq"]
    assert not refresh["devices"]["ok"]
    assert "unknown token" in refresh["status"]["error"]
    await broker.publish(f"fleet2mqtt/device/{GATEWAY}/set", {"hotspot_passwd": SECRETS["set"], "transaction": "s1"})
    result = f"fleet2mqtt/device/{GATEWAY}/result"
    first = await seen.wait(lambda message: message.topic == result)
    await broker.publish(f"fleet2mqtt/device/{GATEWAY}/set/hotspot_passwd", SECRETS["set key"])
    second = await seen.wait(lambda message: message.topic == result and message.payload != first.payload)
    assert [first.json["status"], second.json["status"]] == ["confirmed", "confirmed"]
    return {*answers, f"fleet2mqtt/device/{GATEWAY}/set", f"fleet2mqtt/device/{GATEWAY}/set/hotspot_passwd"}
