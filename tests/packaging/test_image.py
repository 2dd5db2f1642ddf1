"""packaging/Containerfile, built by buildah on the small system of scripts/base, and run as compose.yaml says.

No registry is needed: isolation is `chroot` and storage is `vfs`, so this works wherever root may mount. The container
is one of systemd-nspawn, with the options that do what compose.yaml asks for.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import shlex
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.broker import HOST, Broker, free_port
from tests.documented import commands
from tests.packaging.machine import AS_ROOT, as_root, descendants, name_of, storage
from tests.packaging.site import INSTALLS, ROOT, open_site
from tests.process import Ended, ran, running
from tests.waiting import wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

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
    folder = storage(tmp_path_factory.getbasetemp())
    buildah = Buildah(folder=folder)
    try:
        build_image(buildah, wheels)
        yield buildah
    finally:
        subprocess.run([*AS_ROOT, "rm", "-rf", folder], check=True)


def build_image(buildah: Buildah, wheels: Path) -> None:
    """Build the image, on an image of the small system."""
    folder = buildah.folder
    base = subprocess.run([ROOT / "scripts/base"], check=True, capture_output=True, text=True).stdout.strip()
    system = buildah.run("from", "scratch")
    subprocess.run([*AS_ROOT, "cp", "--archive", f"{base}/.", buildah.run("mount", system)], check=True)
    buildah.run("commit", "--quiet", "--rm", system, "localhost/base")
    (folder / "pip.conf").write_text(PIP, "utf-8")
    volumes = ("--volume", f"{wheels}:/wheels:ro", "--volume", f"{folder}/pip.conf:/etc/pip.conf:ro")
    arguments = ("--build-arg", "BASE=localhost/base", "--build-arg", "VERSION=1.2.3")
    options = ("--isolation", "chroot", "--format", "docker", "--pull-never", "--network", "host")
    file = ("--file", str(PACKAGING / "Containerfile"), "--tag", IMAGE)
    buildah.run("build", *options, *volumes, *arguments, *file, str(ROOT))


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
        root = Path(buildah.run("mount", buildah.run("from", "--pull-never", IMAGE)))
        await as_root("touch", f"{root}/etc/fleet2mqtt/fleet2mqtt.yaml")  # Docker, too, makes what it mounts on
        options = (*limits(service), *map(bind, volumes))
        container = Container(image=buildah, root=root, options=options, variables=variables)
        unhealthy = await container.healthcheck()
        assert (unhealthy.code, "/readyz: Cannot connect" in unhealthy.output) == (1, True), unhealthy
        async with container.started() as process:
            await site.device()

            async def is_healthy() -> bool:
                return (await container.healthcheck(process)).code == 0

            await wait_for_answer(is_healthy, "HEALTHCHECK to succeed")
            assert root_is_read_only(process)
            status = status_of(process)
            assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
            assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
            assert re.search(r"^Uid:\t10001\t10001\t", status, re.MULTILINE)
            stored = (await as_root("ls", "-ln", str(state))).output
            assert " 10001 10001 " in stored
            assert "outbox.sqlite" in stored
        await site.offline()


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The image in a container of systemd-nspawn, with the network of this machine."""

    image: Buildah
    root: Path
    options: tuple[str, ...]
    variables: dict[str, str]

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Return what runs a program of the image in a new container."""
        config = configuration_of(self.image)
        name = f"--machine=fleet2mqtt-{secrets.token_hex(4)}"
        own = (name, "--register=no", "--keep-unit", "--console=pipe", "--resolv-conf=off", "--timezone=off", "--quiet")
        set_by_image = (f"--directory={self.root}", f"--user={config['User'].split(':')[0]}")
        environment = [f"--setenv={each}" for each in (*config["Env"], *self._set())]
        working = f"--chdir={config['WorkingDir']}"
        return (*AS_ROOT, "systemd-nspawn", *own, *set_by_image, working, *environment, *self.options, *arguments)

    @asynccontextmanager
    async def started(self) -> AsyncIterator[int]:
        """Run the command of the image; return its process, which ends by SIGTERM, as under Docker."""
        config = configuration_of(self.image)
        command = self.command("/usr/bin/env", *config["Entrypoint"], *config["Cmd"])
        async with running(*command, measured=False) as nspawn:

            def process() -> int | None:
                assert not nspawn.silent, nspawn.output
                found = descendants(nspawn.process.pid)
                return next((each for each in found if name_of(each) == "fleet2mqtt"), None)

            bridge = await wait_until(process, lambda: f"a process in the container: {nspawn.output}")
            yield bridge
            await as_root("kill", "-TERM", str(bridge))
            assert await nspawn.ends() == 0, nspawn.output

    async def healthcheck(self, process: int | None = None) -> Ended:
        """Run the health check beside a process, or in a container without one."""
        config = configuration_of(self.image)
        _, *check = config["Healthcheck"]["Test"]
        if process is None:
            return await ran(*self.command("/usr/bin/env", *check), patience=INSTALLS)
        enter = (*AS_ROOT, "nsenter", "--target", str(process), "--all", "--setuid", "10001", "--setgid", "10001")
        return await ran(*enter, "env", "--ignore-environment", *config["Env"], *self._set(), *check, patience=INSTALLS)

    def _set(self) -> tuple[str, ...]:
        return tuple(f"{name}={value}" for name, value in self.variables.items())


def limits(service: dict[str, Any]) -> Iterator[str]:
    """Yield the options of systemd-nspawn that do what these of a service of compose do."""
    assert service["read_only"]
    yield "--read-only"
    assert service["cap_drop"] == ["ALL"]
    yield "--drop-capability=all"
    assert service["security_opt"] == ["no-new-privileges:true"]
    yield "--no-new-privileges=yes"
    yield from (f"--tmpfs={path}" for path in service["tmpfs"])


def bind(volume: str) -> str:
    """Return the option of systemd-nspawn for a volume."""
    source, target, *mode = volume.split(":")
    return f"--bind{'-ro' if mode == ['ro'] else ''}={source}:{target}"


def status_of(process: int) -> str:
    """Return the status of a process in /proc."""
    return Path(f"/proc/{process}/status").read_text("utf-8")


def root_is_read_only(process: int) -> bool:
    """Return whether a process cannot write to its root file system."""
    mounts = [line.split() for line in Path(f"/proc/{process}/mountinfo").read_text("utf-8").splitlines()]
    return "ro" in next(fields[5].split(",") for fields in reversed(mounts) if fields[4] == "/")


def test_options_of_docker_run_are_those_of_compose() -> None:
    compose = yaml.safe_load((PACKAGING / "compose.yaml").read_text("utf-8"))
    service = compose["services"]["fleet2mqtt"]
    build, run = commands("docs/install.md", "docker build -f").replace("\\\n", " ").splitlines()
    assert shlex.split(build)[2:4] == ["-f", service["build"]["dockerfile"]]
    arguments = shlex.split(run)
    given = [(option, value) for option, value in itertools.pairwise(arguments) if option.startswith("-")]
    options: dict[str, list[str]] = {}
    for option, value in given:
        options.setdefault(option, []).append(value)
    assert options["--tmpfs"] == service["tmpfs"]
    assert options["--cap-drop"] == service["cap_drop"]
    assert service["read_only"] is ("--read-only" in arguments)
    assert [each.replace("$PWD/", "./") for each in reversed(options["-v"])] == service["volumes"]
    assert set(options["-p"]) < set(service["ports"])
    assert {each.split("=")[0] for each in options["-e"]} < service["environment"].keys()


def test_compose_files_mount_what_there_is() -> None:
    services: dict[str, Any] = {}
    volumes: set[str] = set()
    for name in ("compose.yaml", "compose.homeassistant.yaml"):
        compose = yaml.safe_load((PACKAGING / name).read_text("utf-8"))
        services |= compose["services"]
        volumes |= compose["volumes"].keys()
    used = [volume.split(":") for service in services.values() for volume in service["volumes"]]
    files = {source for source, *_ in used if source.startswith(".")}
    assert files - {"./fleet2mqtt.yaml"} == {"./mosquitto.conf", "../custom_components/fleet2mqtt"}
    assert all((PACKAGING / file).exists() for file in files - {"./fleet2mqtt.yaml"})  # that one is the user's
    assert {source for source, *_ in used} - files == volumes
    needed = {each for service in services.values() for each in service.get("depends_on", ())}
    assert needed <= services.keys()
    bridge = services["fleet2mqtt"]
    assert bridge["environment"]["FLEET2MQTT__MQTT__HOST"] in services
    context = (PACKAGING / bridge["build"]["context"]).resolve()
    assert (context / bridge["build"]["dockerfile"]).is_file()
    exposed = re.search(r"^EXPOSE (.+)$", (PACKAGING / "Containerfile").read_text("utf-8"), re.MULTILINE)
    assert exposed
    assert {port.rpartition(":")[2] for port in bridge["ports"]} == set(exposed[1].split())


def test_commands_for_a_checkout_are_those_of_the_image() -> None:
    containerfile = (PACKAGING / "Containerfile").read_text("utf-8")
    shown = commands("docs/install.md", "python3 -m venv /opt/fleet2mqtt\n/opt/fleet2mqtt/bin/pip install --require")
    for command in shown.replace(" -r ", " --requirement ").splitlines():
        assert command in containerfile.replace("--no-cache-dir ", ""), command


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
