"""Print what a Home Assistant release needs, besides itself, to run the integrations that the tests load.

    scripts/home_assistant_requirements.py WHEEL

Home Assistant installs the requirements of its integrations while it starts. The tests start it with `--skip-pip`, so
that it neither waits for the network nor takes other versions on another day: scripts/lock pins everything that it
will load.
"""

from __future__ import annotations

import ast
import json
import sys
import zipfile

LOADED_BY_TESTS = ("mqtt", "frontend", "history", "logbook", "system_health", "diagnostics", "repairs", "person")
# Imported by integrations that do not declare them as dependencies.
LOADED_UNDECLARED = ("stream", "hassio", "isal")


def constants(source: str, name: str) -> set[str]:
    """Return every string inside the module-level value assigned to `name`."""
    assigned = [
        node.value
        for node in ast.parse(source).body
        if (isinstance(node, ast.AnnAssign) and getattr(node.target, "id", None) == name)
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == name)
    ]
    nodes = [node for value in assigned if value is not None for node in ast.walk(value)]
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def members(source: str, enumeration: str) -> set[str]:
    """Return the string values of one enumeration's members."""
    classes = [n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == enumeration]
    values = [n.value for c in classes for n in c.body if isinstance(n, ast.Assign)]
    return {v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)}


def requirements(wheel: zipfile.ZipFile) -> set[str]:
    """Return the requirements of the integrations that the tests or bootstrap load, and of their dependencies.

    Entity platforms belong to them: describing the actions to the frontend imports each one.
    """
    bootstrap = wheel.read("homeassistant/bootstrap.py").decode()
    platforms = members(wheel.read("homeassistant/const.py").decode(), "Platform")
    defaults = constants(bootstrap, "DEFAULT_INTEGRATIONS")
    if not platforms or not defaults:
        sys.exit(f"{wheel.filename}: this release declares its platforms or default integrations elsewhere")
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


if __name__ == "__main__":
    with zipfile.ZipFile(sys.argv[1]) as archive:
        sys.stdout.write("".join(f"{requirement}\n" for requirement in sorted(requirements(archive))))
