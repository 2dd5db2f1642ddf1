"""scripts/setup on machines that lack something. Interpreters and uv are stand-ins, so nothing is downloaded."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process import Ended, ran

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[1]
TOOLS = ("bash", "cat", "dirname", "env", "mkdir", "rm", "sed", "sha256sum")
MIRROR = "https://mirror.invalid/simple"
# Answers what scripts/setup asks an interpreter: is it of this version, and where.
PYTHON = """case "$*" in *"{condition}"*) echo "$0" ;; "-c ") ;; *) exit 1 ;; esac"""
PIP = f"""case "$*" in *" config list") echo "global.index-url='{MIRROR}'" ;; esac"""
UV = """echo "$UV_PYTHON_DOWNLOADS $UV_DEFAULT_INDEX $*" >>"{log}"
for environment; do :; done
case "$*" in
    venv*) mkdir -p "$environment/bin" && echo '#!/bin/sh' >"$environment/bin/python" &&
        chmod +x "$environment/bin/python" ;;
    *"python find"*) [ -e "{python}" ] && echo "{python}" ;;
    *"python install"*) {install} ;;
esac"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A checkout on a machine with an installer, and with the interpreters that a test puts there."""

    folder: Path

    @property
    def calls(self) -> list[str]:
        """The calls of uv, each with UV_PYTHON_DOWNLOADS and UV_DEFAULT_INDEX before its arguments."""
        log = self.folder / "uv.log"
        return log.read_text().splitlines() if log.exists() else []

    def program(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!{shutil.which('bash')}\n{text}\n")
        file.chmod(0o755)
        return file

    def uv(self, install: str = "exit 1") -> None:
        """Provide uv; `install` is what it does to install a Python."""
        python = self.folder / "managed/python"
        self.program("uv/bin/uv", UV.format(log=self.folder / "uv.log", python=python, install=install))

    async def setup(self, *arguments: str) -> Ended:
        names = {"UV": "uv", "": "venv", "PHACC": "phacc", "HA": "ha"}
        folders = {f"FLEET2MQTT_{name}_VENV".replace("__", "_"): self.folder / each for name, each in names.items()}
        variables = {"PATH": self.folder / "bin", "HOME": self.folder, "PYENV_ROOT": self.folder / "pyenv", **folders}
        settings = [f"{name}={value}" for name, value in variables.items()]
        return await ran("env", "-i", *settings, str(self.folder / "project/scripts/setup"), *arguments)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(folder=tmp_path)
    shutil.copytree(ROOT / "scripts", tmp_path / "project/scripts")
    for file in (*ROOT.glob("requirements*.txt"), ROOT / "pyproject.toml"):
        shutil.copy(file, tmp_path / "project")
    (tmp_path / "bin").mkdir()
    for tool in (*TOOLS, "chmod"):
        (tmp_path / "bin" / tool).symlink_to(found(tool))
    machine.program("bin/c++", "")
    machine.program("bin/python3", PYTHON.format(condition="(3, 11)"))
    machine.program("uv/bin/python", PIP)
    lock = ROOT / "requirements-uv.txt"
    checksum = hashlib.sha256(lock.read_bytes()).hexdigest()
    (tmp_path / "uv/.made-from").write_text(f"{checksum}  {lock.name}\n")
    machine.uv()
    return machine


def found(tool: str) -> str:
    path = shutil.which(tool)
    assert path, tool
    return path


def downloading(calls: Sequence[str]) -> list[str]:
    """The calls that may download an interpreter."""
    return [call for call in calls if not call.startswith("never ")]


async def test_setup_without_ensurepip_says_what_to_install(machine: Machine) -> None:
    machine.program("bin/python3", "exit 1")
    ended = await machine.setup()
    assert ended.code == 1
    assert "apt-get install python3 python3-venv" in ended.errors
    assert machine.calls == []


async def test_setup_twice_does_nothing_the_second_time(machine: Machine) -> None:
    assert (await machine.setup()).code == 0
    done = machine.calls
    assert [call.split()[2:4] for call in done] == [["venv", "--quiet"], ["pip", "sync"], ["pip", "install"]]
    assert "--require-hashes" in done[1]
    assert downloading(done) == []
    assert (await machine.setup()).code == 0
    assert machine.calls == done


async def test_setup_after_a_changed_lock_renews_the_environment(machine: Machine) -> None:
    await machine.setup()
    with (machine.folder / "project/requirements-demo.txt").open("a") as lock:
        lock.write("# newer\n")
    before = len(machine.calls)
    assert (await machine.setup()).code == 0
    assert [call.split()[3] for call in machine.calls[before:]] == ["sync", "install"]


async def test_setup_hands_over_the_package_index_of_pip(machine: Machine) -> None:
    await machine.setup()
    assert {call.split()[1] for call in machine.calls} == {MIRROR}


async def test_setup_finds_the_python_of_pyenv(machine: Machine) -> None:
    python = machine.program("pyenv/versions/3.13.0/bin/python", PYTHON.format(condition="(3, 13)"))
    ended = await machine.setup("check")
    assert ended.code == 0, ended.errors
    assert [call for call in machine.calls if "venv" in call and str(python) in call]
    assert downloading(machine.calls) == []


async def test_setup_without_python_3_13_lets_uv_install_one(machine: Machine) -> None:
    python = machine.folder / "managed/python"
    machine.uv(install=f'mkdir -p "{python.parent}" && : >"{python}"')
    ended = await machine.setup("check")
    assert ended.code == 0, ended.errors
    assert [call.partition(" python ")[2] for call in downloading(machine.calls)] == [
        "install --no-progress --no-bin 3.13"
    ]
    assert [call for call in machine.calls if " venv " in call and str(python) in call]


async def test_setup_where_uv_cannot_install_python_3_13_says_what_to_install(machine: Machine) -> None:
    ended = await machine.setup("check")
    assert ended.code == 1
    assert "requires Python 3.13" in ended.errors
    assert "pyenv install 3.13" in ended.errors
    assert not (machine.folder / "phacc").exists()


async def test_setup_with_an_unknown_level_names_the_known(machine: Machine) -> None:
    ended = await machine.setup("tests")
    assert ended.code == 1
    assert "unknown level 'tests'" in ended.errors
