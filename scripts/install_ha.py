"""Install one Home Assistant release into its own environment, with the pins that the release carries itself.

    python3.13 scripts/install_ha.py ENVIRONMENT VERSION

Home Assistant installs the requirements of its integrations while it starts. The tests start it with `--skip-pip`, so
that it neither waits for the network nor picks other versions on another day: everything it will load is installed
here. pip alone would take newer libraries than the release was made for, hence the release's own constraints.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LOADED_BY_TESTS = ("mqtt", "frontend", "history", "logbook", "system_health", "diagnostics", "repairs", "person")
# Imported by integrations that do not declare them as dependencies.
LOADED_UNDECLARED = ("stream", "hassio", "isal")
# sdists of that time import pkg_resources, which later releases no longer have.
SETUPTOOLS = "setuptools<81"


def constants(source: str, name: str) -> set[str]:
    """Every string inside the module-level value assigned to `name`."""
    assigned = [
        node.value
        for node in ast.parse(source).body
        if (isinstance(node, ast.AnnAssign) and getattr(node.target, "id", None) == name)
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == name)
    ]
    nodes = [node for value in assigned if value is not None for node in ast.walk(value)]
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def members(source: str, enumeration: str) -> set[str]:
    """The string values of one enumeration's members."""
    classes = [n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == enumeration]
    values = [n.value for c in classes for n in c.body if isinstance(n, ast.Assign)]
    return {v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)}


def requirements(wheel: zipfile.ZipFile) -> set[str]:
    """What the integrations need that the tests load, that bootstrap loads by itself, and that those depend on.

    Entity platforms belong to them: describing the actions to the frontend imports each one.
    """
    bootstrap = wheel.read("homeassistant/bootstrap.py").decode()
    platforms = members(wheel.read("homeassistant/const.py").decode(), "Platform")
    defaults = constants(bootstrap, "DEFAULT_INTEGRATIONS")
    if not platforms or not defaults:
        sys.exit("install_ha: this release declares its platforms or default integrations elsewhere")
    shipped = set(wheel.namelist())
    waiting = {*LOADED_BY_TESTS, *LOADED_UNDECLARED, *defaults, *platforms}
    seen: set[str] = set()
    found: set[str] = set()
    while waiting:
        domain = waiting.pop()
        seen.add(domain)
        path = f"homeassistant/components/{domain}/manifest.json"
        if path in shipped:
            manifest = json.loads(wheel.read(path))
            found.update(manifest.get("requirements", ()))
            waiting |= set(manifest.get("dependencies", ())) - seen
    return found


def pip(environment: Path, arguments: Iterable[str]) -> None:
    command = [str(environment / "bin/python"), "-m", "pip", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)  # noqa: S603 - the environment made below, arguments from the release


def install(environment: Path, version: str) -> None:
    """Make the environment anew with this interpreter and install the release into it."""
    venv.create(environment, with_pip=True, clear=True)
    with tempfile.TemporaryDirectory() as scratch:
        only_wheel = ("--no-deps", "--only-binary=:all:", "--dest", scratch)
        pip(environment, ("download", "-qq", *only_wheel, f"homeassistant=={version}"))
        wheel = next(Path(scratch).glob("homeassistant-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            needed = requirements(archive)
            constraints = Path(scratch, "constraints.txt")
            constraints.write_bytes(archive.read("homeassistant/package_constraints.txt"))
        pip(environment, ("install", "-qq", SETUPTOOLS, "wheel"))
        pip(environment, ("install", "-qq", "--constraint", str(constraints), str(wheel), *sorted(needed)))


if __name__ == "__main__":
    install(Path(sys.argv[1]), sys.argv[2])
