"""The rules of docs/architecture.md that a reader relies on without looking: who imports whom, and how long things are.

Each rule answers the violations it finds. It is held against the project, and against a small tree that breaks it.
"""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.source import Module, Modules, parse, read_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Rule = Callable[[Modules], Iterable[str]]

# A part imports only what stands before it in a chain that both are in. A part in no chain is free to stand anywhere.
CHAINS = (
    (("errors",), ("model", "pace", "rows", "wire"), ("backend",), ("api",), ("backends",)),
    (
        ("errors",),
        ("model", "pace", "rows", "wire"),
        ("topics", "standard"),
        ("backend",),
        ("registry", "discovery", "outbox"),
        ("hub",),
        ("polling", "ingress", "commands"),
        ("app",),
        ("demo",),
        ("__main__",),
    ),
)
PLATFORMS_MAY_IMPORT = {"errors", "model", "pace", "backend", "wire", "rows", "api", "files", "failures"}
SIMULATORS_MAY_IMPORT = {"mischief"}
LIBRARIES_BELONG_TO = {
    "msgspec": {"rows"},
    "paho": {"mqtt"},
    "sqlite3": {"outbox"},
    "pydantic": {"wire", "api", "backends"},
    "homeassistant": set[str](),
}
LINES = 300
LINES_OF_TABLES = 400
TABLES = ("entities", "models", "simulator_data")
LINES_OF_FUNCTIONS = 40

ROOT = Path(__file__).parents[1]
PROJECT = read_tree(ROOT, "bridge", "custom_components")
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def inner_imports(modules: Modules) -> Iterator[tuple[Module, str, str]]:
    """Each import of one of the bridge's modules by another of them: who, what, and which part that is."""
    for module in modules.values():
        for target in sorted(module.imports):
            root, *rest = target.split(".")
            if module.name.split(".")[0] == root == "bridge" and rest:
                yield module, target, rest[0]


def imports_point_one_way(modules: Modules) -> Iterator[str]:
    ranks = [{part: rank for rank, parts in enumerate(chain) for part in parts} for chain in CHAINS]
    placed = {part for rank in ranks for part in rank}
    for module, target, part in inner_imports(modules):
        allowed = any(rank.get(part, 99) < rank.get(module.part, -1) for rank in ranks)
        if part != module.part and {part, module.part} <= placed and not allowed:
            yield f"{module.name} imports {target}"


def imports_form_no_cycle(modules: Modules) -> Iterator[str]:
    """A row names the type of what it writes to, which holds the table: that is no cycle, it is a row."""
    graph = {module.name: module.loads & (modules.keys() - {module.name}) for module in modules.values()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield " is imported by ".join(error.args[1])


def core_imports_no_platform(modules: Modules) -> Iterator[str]:
    for module, target, part in inner_imports(modules):
        if part == "backends" and module.part != "backends":
            yield f"{module.name} imports {target}"


def platforms_keep_to_themselves(modules: Modules) -> Iterator[str]:
    for module, target, part in inner_imports(modules):
        own = f"bridge.backends.{module.platform}"
        if module.platform is None or module.is_simulator or part in PLATFORMS_MAY_IMPORT:
            continue
        if target != own and not target.startswith(f"{own}."):
            yield f"{module.name} imports {target}"


def simulators_import_nothing_of_ours(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        for target in sorted(module.imports if module.is_simulator else ()):
            sibling = target.startswith(f"bridge.backends.{module.platform}.simulator")
            part = (*target.split("."), "")[1]
            if target.split(".")[0] == "bridge" and part not in SIMULATORS_MAY_IMPORT and not sibling:
                yield f"{module.name} imports {target}"


def libraries_have_one_home(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        for library in sorted({target.split(".")[0] for target in module.imports}):
            if module.name.startswith("bridge") and module.part not in LIBRARIES_BELONG_TO.get(library, {module.part}):
                yield f"{module.name} imports {library}"


def bridge_and_integration_are_strangers(modules: Modules) -> Iterator[str]:
    forbidden = {"bridge": {"custom_components"}, "custom_components": {"bridge", "paho"}}
    for module in modules.values():
        roots = {target.split(".")[0] for target in module.imports}
        yield from (f"{module.name} imports {root}" for root in sorted(roots & forbidden[module.name.split(".")[0]]))


def modules_are_short(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        limit = LINES_OF_TABLES if module.name.split(".")[-1] in TABLES else LINES
        if module.lines > limit:
            yield f"{module.name} has {module.lines} lines of {limit}"


def functions_are_short(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        for name, lines in module.functions:
            if lines > LINES_OF_FUNCTIONS:
                yield f"{module.name}.{name} has {lines} lines of {LINES_OF_FUNCTIONS}"


# Each rule with trees that break it in the ways that matter, and the violation that must come out.
BROKEN: tuple[tuple[Rule, dict[str, str], str], ...] = (
    (imports_point_one_way, {"bridge.errors": "from bridge.model import Device"}, "bridge.errors imports bridge.model"),
    (imports_point_one_way, {"bridge.model": "", "bridge.errors": "from bridge import model"}, "bridge.errors imports"),
    (imports_point_one_way, {"bridge.model": "", "bridge.errors": "from . import model"}, "bridge.errors imports"),
    (imports_point_one_way, {"bridge.model": "def f():\n  import bridge.backend"}, "bridge.model imports"),
    (imports_point_one_way, {"bridge.registry": "from bridge.hub import Hub"}, "bridge.registry imports bridge.hub"),
    (imports_point_one_way, {"bridge.registry": "import bridge.discovery"}, "bridge.registry imports bridge.discovery"),
    (imports_point_one_way, {"bridge.commands": "import bridge.polling"}, "bridge.commands imports bridge.polling"),
    (imports_point_one_way, {"bridge.hub": "from bridge.api import Api"}, "bridge.hub imports bridge.api"),
    (imports_point_one_way, {"bridge.outbox.store": "import bridge.app"}, "bridge.outbox.store imports bridge.app"),
    (
        imports_form_no_cycle,
        {"bridge.mqtt": "import bridge.clock", "bridge.clock": "from .mqtt import x"},
        "bridge.mqtt is imported by",
    ),
    (
        core_imports_no_platform,
        {"bridge.demo": "from bridge.backends.ums.simulator import application"},
        "bridge.demo imports bridge.backends.ums.simulator",
    ),
    (
        platforms_keep_to_themselves,
        {"bridge.backends.ums.client": "from bridge.hub import Hub"},
        "bridge.backends.ums.client imports bridge.hub",
    ),
    (
        platforms_keep_to_themselves,
        {"bridge.backends.ums.__init__": "import bridge.mqtt"},
        "bridge.backends.ums imports",
    ),
    (
        platforms_keep_to_themselves,
        {"bridge.backends.ums.client": "import bridge.backends.ums_other.client"},
        "bridge.backends.ums.client imports bridge.backends.ums_other",
    ),
    (
        simulators_import_nothing_of_ours,
        {"bridge.backends.ums.simulator": "from .models import Gateway"},
        "bridge.backends.ums.simulator imports bridge.backends.ums.models",
    ),
    (
        simulators_import_nothing_of_ours,
        {"bridge.backends.ums.simulator_state": "from bridge import __version__"},
        "bridge.backends.ums.simulator_state imports bridge",
    ),
    (
        simulators_import_nothing_of_ours,
        {"bridge.backends.ums.simulator.pages": "import bridge.wire"},
        "bridge.backends.ums.simulator.pages imports bridge.wire",
    ),
    (libraries_have_one_home, {"bridge.app": "import paho.mqtt.client"}, "bridge.app imports paho"),
    (
        libraries_have_one_home,
        {"bridge.backends.ums.state": "import sqlite3"},
        "bridge.backends.ums.state imports sqlite3",
    ),
    (libraries_have_one_home, {"bridge.config": "from pydantic import BaseModel"}, "bridge.config imports pydantic"),
    (libraries_have_one_home, {"bridge.discovery": "import homeassistant.const"}, "bridge.discovery imports"),
    (
        bridge_and_integration_are_strangers,
        {"custom_components.fleet2mqtt.const": "from bridge.topics import Topics"},
        "custom_components.fleet2mqtt.const imports bridge",
    ),
    (bridge_and_integration_are_strangers, {"bridge.app": "import custom_components.fleet2mqtt"}, "bridge.app imports"),
    (modules_are_short, {"bridge.hub": "\n" * 301}, "bridge.hub has 301 lines of 300"),
    (
        modules_are_short,
        {"bridge.backends.ums.entities": "\n" * 401},
        "bridge.backends.ums.entities has 401 lines of 400",
    ),
    (
        functions_are_short,
        {"bridge.hub": "class A:\n  async def f(self):\n" + "    pass\n" * 40},
        "bridge.hub.f has 41",
    ),
)
SOUND = {
    "bridge.__init__": "from importlib.metadata import version",
    "bridge.errors": "",
    "bridge.model": "from bridge.errors import BridgeError",
    "bridge.mischief": "",
    "bridge.mqtt": "import paho.mqtt.client\nfrom bridge import __version__, model",
    "bridge.outbox.store": "import sqlite3\nfrom . import schema",
    "bridge.outbox.schema": "",
    "bridge.polling": "import bridge.hub",
    "bridge.hub": "from .outbox import store",
    "bridge.backends.ums.__init__": "from .client import Client\nimport bridge.api",
    "bridge.backends.ums.client": "from . import models\n",
    "bridge.backends.ums.models": "import pydantic\n" + "\n" * 399,
    "bridge.backends.ums.simulator": "from bridge import mischief\nfrom .simulator_data import MAC",
    "custom_components.fleet2mqtt.__init__": "import homeassistant",
    "bridge.app": "def f():\n" + "  pass\n" * 39,
}
RULES = tuple(dict.fromkeys(rule for rule, _, _ in BROKEN))


@pytest.mark.parametrize("rule", RULES)
def test_the_project_keeps_the_rule(rule: Rule) -> None:
    assert list(rule(PROJECT)) == []


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_allows_what_is_sound(rule: Rule) -> None:
    assert list(rule(parse(SOUND))) == []


@pytest.mark.parametrize(("rule", "tree", "violation"), BROKEN)
def test_the_rule_catches(rule: Rule, tree: dict[str, str], violation: str) -> None:
    found = list(rule(parse(tree)))
    assert len(found) == 1
    assert found[0].startswith(violation)


def test_the_project_is_what_is_looked_at() -> None:
    assert {"bridge", "bridge.model", "bridge.errors", "bridge.backends"} <= PROJECT.keys()
    assert "bridge.errors" in PROJECT["bridge.wire"].imports


def test_every_module_of_the_core_is_on_the_page() -> None:
    """With a package's modules in its own row."""
    told = {name for first in re.findall(r"^\| (`.*)", PAGE, re.MULTILINE) for name in re.findall(r"`(\w+)", first)}
    core = {module for module in PROJECT.values() if module.name.startswith("bridge.") and module.part != "backends"}
    assert sorted(module.name for module in core if module.name.split(".")[-1] not in told) == []


def test_the_page_tells_what_a_platform_may_import() -> None:
    told = PAGE.partition("A platform imports ")[2].partition(" and itself")[0]
    assert set(re.findall(r"`(\w+)`", told)) == PLATFORMS_MAY_IMPORT
    libraries = {library for library, homes in LIBRARIES_BELONG_TO.items() if homes}
    assert {library for library in libraries if not re.search(rf"\b{library} only in ", PAGE)} == set()
