"""The command line's check and dump: looking without touching anything."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.broker import HOST, Broker, free_port
from tests.commandline import fleet2mqtt, get, post, simulator, write
from tests.process import BRIDGE, running
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import StartBroker

MODELS = {"smart_gateway": ("IG200",), "ums": ("OM50", "MX100G", "HX4G")}


async def test_check_of_everything_reachable_ends_with_0_and_changes_nothing(broker: Broker, tmp_path: Path) -> None:
    async with simulator("ums", "--still") as (ums, _), simulator("smart_gateway", "--still") as (branch, _):
        backends = {
            "hq": {"platform": "ums", "url": ums},
            "branch": {"platform": "smart_gateway", "url": branch},
        }
        path = write(tmp_path, mqtt={"host": HOST, "port": broker.port, "will_delay": 0}, backends=backends)
        async with broker.record("#") as seen:
            ended = await fleet2mqtt("check", "-c", path)
            await broker.publish("after", "all")
            await seen.wait(lambda message: message.topic == "after")
        assert ended.code == 0, ended
        assert ended.output.splitlines() == [
            f"{path}: valid",
            f"mqtt {HOST}:{broker.port}, MQTT 5: ok",
            "hq (ums, devices): ok",
            "branch (smart_gateway, devices): ok",
        ]
        assert ended.errors == ""
        assert [message.topic for message in seen.messages] == ["after"]
        assert await broker.retained() == {}
        paths = {call["path"] for url in (ums, branch) for call in await get(f"{url}/_sim/calls")}
        assert paths == {"/s1/device", "/api/v1/devices/list"}
    assert not (tmp_path / "data").exists()


async def test_check_with_a_typo_in_allow_ends_with_2_and_names_the_line(tmp_path: Path) -> None:
    backend = {"platform": "smart_gateway", "url": "http://127.0.0.1:1"}
    ended = await fleet2mqtt("check", "-c", write(tmp_path, backends={"b": backend | {"allow": ["maping_delete"]}}))
    assert (ended.code, ended.output) == (2, "")
    assert "there is no action maping_delete; did you mean mapping_delete?" in ended.errors
    assert re.match(r".*fleet2mqtt\.yaml:\d+: backends\.b\.allow\[0\]: ", ended.errors)


async def test_check_with_the_action_of_another_platform_warns_and_goes_on(tmp_path: Path) -> None:
    backend = {"platform": "smart_gateway", "url": "http://127.0.0.1:1"}
    path = write(tmp_path, mqtt=None, backends={"b": backend | {"allow": ["user_logout"]}})
    ended = await fleet2mqtt("check", "-c", path)
    assert ended.code == 1
    warning, valid, *_ = ended.output.splitlines()
    assert "user_logout is an action of sangfor_ac and has no effect here" in warning
    assert warning.endswith("(warning)")
    assert valid == f"{path}: valid"


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "ascii", "utf-8"])
async def test_dump_in_any_locale_prints_utf8(encoding: str, tmp_path: Path) -> None:
    async with simulator("ums", "--still") as (url, _):
        path = write(tmp_path, backends={"hq": {"platform": "ums", "url": url}})
        program = await asyncio.create_subprocess_exec(
            "env", f"PYTHONIOENCODING={encoding}", *BRIDGE, "dump", "hq", "-c", path, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await program.communicate()
    assert program.returncode == 0
    assert "层机房" in output.decode("utf-8")
    assert json.loads(output)["backend"] == "hq"


async def test_check_with_failing_backends_prints_a_line_for_each(broker: Broker, tmp_path: Path) -> None:
    async with simulator("smart_gateway", "--still") as (branch, _):
        nobody = f"http://{HOST}:{free_port()}"
        backends = {
            "hq": {"platform": "ums", "url": nobody},
            "branch": {"platform": "smart_gateway", "url": branch},
        }
        ended = await fleet2mqtt(
            "check", "-c", write(tmp_path, mqtt={"host": HOST, "port": broker.port}, backends=backends)
        )
    assert ended.code == 1
    assert ended.errors == ""
    _, mqtt, hq, other = ended.output.splitlines()
    assert (mqtt, other) == (f"mqtt {HOST}:{broker.port}, MQTT 5: ok", "branch (smart_gateway, devices): ok")
    assert hq.startswith(f"hq (ums, devices): device_list: no connection to {nobody}")


async def test_check_with_the_broker_down_says_so(tmp_path: Path) -> None:
    port = free_port()
    ended = await fleet2mqtt("check", "-c", write(tmp_path, mqtt={"host": HOST, "port": port}, backends={}))
    assert ended.code == 1
    assert ended.errors == ""
    assert ended.output.splitlines()[1:] == [f"mqtt {HOST}:{port}: Connection refused"]


async def test_check_with_a_wrong_password_says_so(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = await start_broker(users={"fleet": "right-one"})
    mqtt = {"host": HOST, "port": broker.port, "username": "fleet", "password": "wrong-one"}
    ended = await fleet2mqtt("check", "-c", write(tmp_path, mqtt=mqtt, backends={}))
    assert ended.code == 1
    assert ended.errors == ""
    (line,) = ended.output.splitlines()[1:]
    assert re.fullmatch(
        rf"mqtt {HOST}:{broker.port}: the broker refuses us: not authorized; check mqtt.username.*", line
    )


async def test_check_with_something_that_is_no_broker_says_so(tmp_path: Path) -> None:
    visits = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        visits += 1
        writer.close()

    async with await asyncio.start_server(hang_up, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        ended = await fleet2mqtt("check", "-c", write(tmp_path, mqtt={"host": HOST, "port": port}, backends={}))
    assert ended.code == 1
    assert ended.errors == ""
    (line,) = ended.output.splitlines()[1:]
    assert line.startswith(f"mqtt {HOST}:{port}: the broker closed the connection in place of an answer")
    assert visits == 3, "twice with MQTT 5, then with 3.1.1"


async def test_check_without_mqtt_block_needs_no_broker(tmp_path: Path) -> None:
    path = tmp_path / "fleet2mqtt.yaml"
    path.write_text("backends: {}")
    ended = await fleet2mqtt("check", "-c", str(path))
    assert (ended.code, ended.output.splitlines()[1:]) == (0, ["mqtt (the embedded broker): ok"])


@pytest.mark.parametrize("platform", MODELS)
async def test_dump_of_a_backend_prints_its_inventory_as_json(platform: str, tmp_path: Path) -> None:
    async with simulator(platform, "--still", "--devices", "3") as (url, _):
        path = write(tmp_path, backends={"hq": {"platform": platform, "url": url}})
        ended = await fleet2mqtt("dump", "hq", "-c", path)
        calls = await get(f"{url}/_sim/calls")
    assert (ended.code, ended.errors) == (0, "")
    found = json.loads(ended.output)
    assert (found["backend"], found["platform"], found["faults"]) == ("hq", platform, {})
    gateways = [device for device in found["devices"] if device["model"] in MODELS[platform]]
    assert len(gateways) == 3
    assert all(device["state"] for device in gateways)
    assert gateways[0]["id"] in {device["via"] for device in found["devices"]}
    assert calls
    assert not (tmp_path / "data").exists()


async def test_dump_with_the_vendor_down_says_so(tmp_path: Path) -> None:
    ended = await fleet2mqtt("dump", "hq", "-c", write(tmp_path))
    assert ended.code == 1
    found = json.loads(ended.output)
    assert found["devices"] == []
    assert "no connection to" in found["faults"]["devices"]


async def test_dump_of_an_unknown_backend_names_the_known_ones(tmp_path: Path) -> None:
    path = write(tmp_path)
    ended = await fleet2mqtt("dump", "hp", "-c", path)
    assert (ended.code, ended.output) == (2, "")
    assert ended.errors == f"{path}: there is no backend hp; there is hq\n"


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["foreground", "background"])
def started_in(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the tests as a shell does in the foreground or, ignoring Ctrl-C, in the background."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("started_in")
async def test_ctrl_c_during_check_or_dump_is_no_success(tmp_path: Path) -> None:
    async with simulator("ums", "--still") as (url, _):
        await post(f"{url}/_sim/faults", {"kind": "hang", "path": "/s1/*"})
        path = write(tmp_path, backends={"hq": {"platform": "ums", "url": url, "timeout": 60}})
        async with running(*BRIDGE, "dump", "hq", "-c", path) as process:

            async def asked() -> Any:
                return await get(f"{url}/_sim/calls")

            await wait_for_answer(asked, "a call")
            process.process.send_signal(signal.SIGINT)
            assert await process.ends() == 130
        assert process.output == ""
