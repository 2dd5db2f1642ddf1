"""packaging/Containerfile, built by buildah on the small system of scripts/base, and run as compose.yaml says.

No registry is needed: isolation is `chroot` and storage is `vfs`, so this works wherever root may mount.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.broker import HOST, Broker, free_port
from tests.packaging.machine import AS_ROOT, as_root, descendants, name_of
from tests.packaging.site import INSTALLS, ROOT, open_site
from tests.process import Ended, ran, running
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGING = ROOT / "packaging"
PIP = "[global]\nno-index = true\nfind-links = /wheels\n"
IMAGE = "localhost/fleet2mqtt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Buildah:
    """buildah with a storage of its own."""

    folder: Path

    @property
    def command(self) -> tuple[str, ...]:
        storage = ("--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run"))
        return (*AS_ROOT, "buildah", "--storage-driver", "vfs", *storage)

    def run(self, *arguments: str) -> str:
        done = subprocess.run([*self.command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout.strip()


@pytest.fixture(scope="module")
def buildah(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """The image, built without a network from the wheels of requirements.txt."""
    folder = tmp_path_factory.mktemp("buildah")
    buildah = Buildah(folder=folder)
    base = subprocess.run([ROOT / "scripts/base"], check=True, capture_output=True, text=True).stdout.strip()
    archive = folder / "base.tar"
    subprocess.run([*AS_ROOT, "tar", "--directory", base, "--create", "--file", archive, "."], check=True)
    system = buildah.run("from", "scratch")
    buildah.run("add", "--quiet", system, str(archive), "/")
    buildah.run("commit", "--quiet", "--rm", system, "localhost/base")
    (folder / "pip.conf").write_text(PIP, "utf-8")
    volumes = ("--volume", f"{wheels}:/wheels:ro", "--volume", f"{folder}/pip.conf:/etc/pip.conf:ro")
    arguments = ("--build-arg", "BASE=localhost/base", "--build-arg", "VERSION=1.2.3")
    options = ("--isolation", "chroot", "--format", "docker", "--pull-never", "--network", "host")
    file = ("--file", str(PACKAGING / "Containerfile"), "--tag", IMAGE)
    buildah.run("build", *options, *volumes, *arguments, *file, str(ROOT))
    yield buildah
    subprocess.run([*AS_ROOT, "rm", "-rf", folder], check=True)


def configuration_of(buildah: Buildah) -> Any:
    return json.loads(buildah.run("inspect", "--type", "image", IMAGE))["Docker"]["config"]


def test_image_names_user_health_check_state_and_origin(buildah: Buildah) -> None:
    config = configuration_of(buildah)
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"] == ["CMD", "fleet2mqtt", "healthcheck"]
    assert "STATE_DIRECTORY=/var/lib/fleet2mqtt" in config["Env"]
    assert config["Labels"]["org.opencontainers.image.version"] == "1.2.3"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert (config["Entrypoint"], config["Cmd"]) == (["fleet2mqtt"], ["run"])


async def test_image_as_in_compose_bridges_a_device(buildah: Buildah, tmp_path: Path) -> None:
    compose = yaml.safe_load((PACKAGING / "compose.yaml").read_text("utf-8"))
    service = compose["services"]["fleet2mqtt"]
    broker = Broker(directory=tmp_path / "broker", extra=persistence(tmp_path))
    async with open_site(tmp_path, broker) as site:
        # All containers share this machine's network: the services' names and fixed ports do not exist there.
        here = {"MQTT__HOST": HOST, "MQTT__PORT": str(broker.port), "WEB__PORT": str(free_port())}
        variables = service["environment"] | {f"FLEET2MQTT__{name}": value for name, value in here.items()}
        assert variables.keys() - service["environment"].keys() == {"FLEET2MQTT__WEB__PORT"}
        backend = {"platform": "ums", "url": site.url}
        file = tmp_path / "fleet2mqtt.yaml"
        file.write_text(yaml.safe_dump({"push": {"port": 0}, "backends": {"hq": backend}}), "utf-8")
        state = tmp_path / "state"
        await as_root("install", "-d", "-m", "0700", "-o", "10001", "-g", "10001", str(state))
        sources = {"./fleet2mqtt.yaml": str(file), "fleet2mqtt": str(state)}
        volumes = [":".join((sources[name], *rest)) for name, *rest in (each.split(":") for each in service["volumes"])]
        container = buildah.run("from", "--pull-never", IMAGE)
        root = Path(buildah.run("mount", container))
        marker = tmp_path / "marker"
        marker.touch()
        command = [*buildah.command, "run", "--isolation", "chroot", "--network", "host"]
        command += [f"--env={name}={value}" for name, value in variables.items()]
        command += [f"--volume={each}" for each in volumes]

        async def program(*arguments: str) -> Ended:
            return await ran(*command, container, "--", "fleet2mqtt", *arguments, patience=INSTALLS)

        async def is_healthy() -> bool:
            return (await program("healthcheck")).code == 0

        assert (await program("healthcheck")).code == 1
        config = configuration_of(buildah)
        started = (*command, container, "--", *config["Entrypoint"], *config["Cmd"])
        async with running(*started, measured=False) as bridge:
            await site.device()
            await wait_for_answer(is_healthy, "HEALTHCHECK to succeed")
            assert service["read_only"]
            written = await as_root("find", str(root), "-xdev", "-type", "f", "-newer", str(marker))
            changed = [name.removeprefix(str(root)) for name in written.output.splitlines()]
            assert [name for name in changed if not name.startswith(("/etc/", "/run/"))] == [], bridge.output
            stored = (await as_root("ls", "-ln", str(state))).output
            assert " 10001 10001 " in stored
            assert "outbox.sqlite" in stored
            names = {name_of(each): each for each in descendants(bridge.process.pid)}
            await as_root("sh", "-c", f"kill -TERM {names['fleet2mqtt']}")
            await site.seen.wait(
                lambda message: message.topic == "fleet2mqtt/bridge/state" and message.text == "offline"
            )


def persistence(folder: Path) -> str:
    """Return what mosquitto.conf of the compose file adds to a broker of the tests, which brings its own listener."""
    lines = (PACKAGING / "mosquitto.conf").read_text("utf-8").splitlines()
    own = ("#", "listener ", "allow_anonymous ", "persistence true")
    return "\n".join(line.replace("/mosquitto/data/", f"{folder}/") for line in lines if not line.startswith(own))


async def test_sbom_lists_what_the_image_installs(tmp_path: Path) -> None:
    file = tmp_path / "fleet2mqtt.cdx.json"
    environment = f"PATH={os.environ['PATH']}"
    ended = await ran("env", environment, str(ROOT / "scripts/sbom"), str(file), patience=INSTALLS)
    assert ended.code == 0, ended.errors
    bom = json.loads(file.read_text("utf-8"))
    lock = (ROOT / "requirements.txt").read_text("utf-8")
    locked = {line.split(" ")[0] for line in lock.splitlines() if line[:1].isalpha()}
    assert {f"{each['name']}=={each['version']}" for each in bom["components"]} == locked
    assert bom["metadata"]["component"]["name"] == "fleet2mqtt"
    assert all(each["purl"].startswith("pkg:pypi/") for each in bom["components"])


def test_build_context_has_no_more_than_the_image_needs() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignored[0] == "*"
    copied = {
        source
        for line in (PACKAGING / "Containerfile").read_text("utf-8").splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert {line.removeprefix("!/").removesuffix("/") for line in ignored[1:-1]} == copied
