"""Wheel and sdist as they are released, built once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.site import ROOT


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a wheel and an sdist."""
    folder = tmp_path_factory.mktemp("distributions")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def wheel(distributions: Path) -> Path:
    """The wheel."""
    (found,) = distributions.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def wheels(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and all that requirements.txt names, for the Python of the small system.

    The processes of a test run download them once.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "wheels"
    with (shared / "wheels.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            part = tmp_path_factory.mktemp("wheels")
            _download(part)
            shutil.copy(wheel, part)
            part.rename(folder)
    return folder


def _download(folder: Path) -> None:
    (base,) = subprocess.run([ROOT / "scripts/base"], check=True, capture_output=True, text=True).stdout.splitlines()
    (library,) = {path.name for path in Path(base, "usr/lib").glob("python3.*")}
    source = 'cd "$1"; shift; source scripts/installer.sh; install_uv >&2; pip "$@"'
    pip = ("bash", "-euc", source, "bash", str(ROOT))
    options = ("--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", str(folder))
    python = ("--python-version", library.removeprefix("python"))
    subprocess.run(
        [*pip, "download", *options, *python, "--requirement", "requirements.txt"], check=True, capture_output=True
    )
