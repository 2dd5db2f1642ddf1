"""`fleet2mqtt init`, with the input of an operator who has a vendor system and a broker."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import stat
from typing import TYPE_CHECKING

import pytest
import trustme

from fleet2mqtt.cli.parser import main
from fleet2mqtt.cli.simulate import options_for
from fleet2mqtt.config import example_file
from fleet2mqtt.config.loader import load
from fleet2mqtt.sdk.api import platforms
from tests.broker import HOST, Broker, free_port
from tests.commandline import simulator
from tests.process import BRIDGE, Ended, running
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartBroker


async def answer(folder: Path, *answers: str, options: tuple[str, ...] = ()) -> Ended:
    """Run init with these answers, a line each."""
    command = ("env", "COLUMNS=200", *BRIDGE, "init", "-c", str(folder / "fleet2mqtt.yaml"), *options)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    async with asyncio.timeout(PATIENCE):
        output, errors = await process.communicate("".join(f"{each}\n" for each in answers).encode())
    assert b"Traceback" not in errors
    return Ended(code=process.returncode or 0, output=output.decode(), errors=errors.decode())


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def needed(platform: str, url: str) -> list[str]:
    """The answers about a backend, after its name: what the example sets, with the values of the simulator."""
    values = options_for(platform) | {"url": url}
    return [str(values[option.name]) for option in example_file.set_options(example_file.for_platform(platform))]


@pytest.mark.parametrize("platform", sorted(platforms()))
async def test_answers_become_a_configuration_and_secrets(platform: str, broker: Broker, tmp_path: Path) -> None:
    file = tmp_path / "fleet2mqtt.yaml"
    async with simulator(platform, "--still") as (url, _):
        about_broker = (HOST, "n", str(broker.port), "")
        ended = await answer(tmp_path, platform, "site_1", *needed(platform, url), *about_broker)
        assert ended.code == 0, ended
        assert f"mqtt {HOST}:{broker.port}, MQTT 5: ok" in ended.output
        assert re.search(rf"^site_1 \({platform}, \w+\): ok$", ended.output, re.MULTILINE)
        config = load(file)
        backend = config.backends["site_1"]
        assert (backend.platform, backend.options["url"]) == (platform, url)
        assert (config.language, config.mqtt and config.mqtt.port) == ("en", broker.port)
        for secret in backend.secrets:
            assert secret not in file.read_text("utf-8")
        assert stat.S_IMODE((tmp_path / "secrets.yaml").stat().st_mode) == 0o600


async def test_bridge_runs_with_the_configuration(broker: Broker, tmp_path: Path) -> None:
    file = tmp_path / "fleet2mqtt.yaml"
    async with simulator("ums", "--still") as (url, _):
        ended = await answer(tmp_path, "ums", "site_1", url, HOST, "n", str(broker.port), "")
        assert ended.code == 0, ended
        web = f"web:\n  port: {free_port()}"
        ports = re.sub(r"(?m)^#push:$", f"push:\n  port: {free_port()}\n{web}", file.read_text("utf-8"))
        (tmp_path / "run.yaml").write_text(ports, "utf-8")
        async with running(*BRIDGE, "run", "-c", str(tmp_path / "run.yaml")), broker.record("#") as seen:
            device = re.compile(r"homeassistant/device/fleet2mqtt_site_1_\w+/config")
            await seen.wait(lambda message: bool(device.fullmatch(message.topic)))


async def test_broker_with_a_login_has_its_password_in_secrets(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = await start_broker(users={"fleet": "right: one"})
    (tmp_path / "secrets.yaml").write_text("mqtt_password: of another\nums_push: mine", "utf-8")
    async with simulator("ums", "--still") as (url, _):
        ended = await answer(
            tmp_path,
            "ums",
            "ums",
            url,
            HOST,
            "n",
            str(broker.port),
            "fleet",
            "right: one",
            options=("--language", "zh-Hans"),
        )
    assert ended.code == 0, ended
    config = load(tmp_path / "fleet2mqtt.yaml")
    assert config.mqtt is not None
    assert config.mqtt.password is not None
    assert (config.mqtt.password.reveal(), config.language) == ("right: one", "zh-Hans")
    written = (tmp_path / "secrets.yaml").read_text("utf-8")
    assert written.startswith("mqtt_password: of another\nums_push: mine\n")
    assert "mqtt_password_2: 'right: one'\n" in written
    push = re.search(r"http://<本机地址>:8098/push/ums/(\S+)", ended.output)
    assert push is not None
    assert f"ums_push_2: {push[1]}\n" in written


async def test_system_that_does_not_respond_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    nobody = f"http://{HOST}:{free_port()}"
    ended = await answer(tmp_path, "1", "cabinets", nobody, "me", "secret-word", "", "n", "n")
    assert ended.code == 1
    assert re.search(rf"cabinets \(omstation, stations\): .*no connection to {nobody}", ended.output)
    assert entries(tmp_path) == []
    anyway = await answer(tmp_path, "1", "cabinets", nobody, "me", "secret-word", "", "y")
    assert anyway.code == 0
    assert load(tmp_path / "fleet2mqtt.yaml").mqtt is None


async def test_wrong_answer_is_explained_and_can_be_given_again(tmp_path: Path) -> None:
    async with simulator("ums", "--still") as (url, _):
        wrong = ("seven", "ums", "No name", "hq", "not a url", "", "n", "y")
        ended = await answer(tmp_path, *wrong, "5", "", url, "", "y")
        assert "url: expected a URL such as" in ended.output
        assert "expected a name of a-z 0-9" in ended.output
        assert ended.code == 0
        assert list(load(tmp_path / "fleet2mqtt.yaml").backends) == ["hq_voip"]


async def test_answers_that_end_early_write_nothing(tmp_path: Path) -> None:
    ended = await answer(tmp_path, "ums")
    assert (ended.code, ended.output.splitlines()[-1]) == (1, "The answers ended early; nothing was written.")
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "text"), [("fleet2mqtt.yaml", ""), ("secrets.yaml", "- a list"), ("secrets.yaml", "{")]
)
async def test_file_that_is_there_is_not_touched(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    ended = await answer(tmp_path, "ums")
    assert ended.code == 2
    assert name in ended.errors
    assert (tmp_path / name).read_text() == text


async def test_password_is_not_shown_at_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = (*BRIDGE, "init", "-c", str(tmp_path / "fleet2mqtt.yaml"))
    process = await asyncio.create_subprocess_exec(
        *command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown = ""

    async def after(text: str, reply: str) -> None:
        nonlocal shown
        while text not in shown:
            shown += (await asyncio.to_thread(os.read, ours, 1024)).decode()
        os.write(ours, f"{reply}\n".encode())

    try:
        async with asyncio.timeout(PATIENCE):
            await after("Platform: ", "omstation")
            await after("[cabinets]: ", "")
            await after("api.example.com: ", f"http://{HOST}:{free_port()}")
            await after("[fleet2mqtt]: ", "me")
            await after("password: ", "sesame-sesame")
            await after("its own): ", "")
            await after("all the same?", "n")
            await after("again?", "n")
            assert await process.wait() == 1
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
    assert "sesame" not in shown
    assert "me\r\n" in shown


@pytest.mark.parametrize("platform", sorted(platforms()))
def test_example_of_a_platform_is_a_configuration(
    platform: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["example", platform]) == 0
    printed = capsys.readouterr().out
    file = tmp_path / "fleet2mqtt.yaml"
    file.write_text(printed, "utf-8")
    assert [backend.platform for backend in load(file).backends.values()] == [platform]
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("client.pem", "client-key.pem"):
        (tmp_path / name).touch()
    names = re.findall(r"!secret (\w+)", printed)
    (tmp_path / "secrets.yaml").write_text("".join(f"{name}: json://sesame-sesame\n" for name in names))
    file.write_text(re.sub(r"^( *)#(?=\S)", r"\1", printed, flags=re.MULTILINE), "utf-8")
    secrets = (tmp_path / "secrets.yaml").read_text()
    secrets = re.sub("(?m)^ums_push: .*", "ums_push: sesame-sesame", secrets)
    secrets = re.sub("(?m)^cluster_dsn: .*", "cluster_dsn: postgresql://db/fleet2mqtt", secrets)
    (tmp_path / "secrets.yaml").write_text(secrets)
    assert [backend.platform for backend in load(file).backends.values()] == [platform]


def test_example_without_a_platform_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["example"]) == 0
    assert capsys.readouterr().out == example_file.text()
