"""Import rules of docs/architecture.md: layers of packages, platforms and simulators apart, one home per library.

Each rule yields the violations it finds. It is checked against the project, and against small trees that break it.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.source import Module, Modules, parse, read_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Rule = Callable[[Modules], Iterable[str]]

# A package imports only packages of the layers before its own.
LAYERS = (
    ("errors", "aio", "network", "redaction", "__version__"),
    ("tracing",),
    ("devices",),
    ("outbox", "storage", "mqtt"),
    ("sdk",),
    ("config", "contract", "platforms", "simulators"),
    ("publishing",),
    ("alarms",),
    ("hub",),
    ("polling", "push", "commands", "notify"),
    ("ops",),
    ("cluster",),
    ("web",),
    ("unit",),
    ("bridge_unit",),
    ("unit_role", "reload"),
    ("app",),
    ("leased_unit",),
    ("node",),
    ("cli",),
    ("__main__",),
)
PLATFORMS_MAY_IMPORT = {"errors", "devices", "sdk", "redaction", "storage"}
LIBRARIES_BELONG_TO = {
    "apprise": {"config", "notify"},
    "jinja2": {"config", "notify"},
    "msgspec": {"sdk"},
    "paho": {"mqtt"},
    "psycopg": {"outbox", "cluster"},
    "mqtt5": {"mqtt"},
    "amqtt": {"mqtt"},
    "sqlite3": {"outbox"},
    "pydantic": {"sdk", "platforms"},
    "opentelemetry": {"tracing"},
    "homeassistant": set[str](),
}

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def inner_imports(modules: Modules) -> Iterator[tuple[Module, str, str]]:
    """Yield each import of one of the bridge's modules by another: module, target, and the target's package."""
    for module in modules.values():
        for target in sorted(module.imports):
            root, *rest = target.split(".")
            if module.root == root == "fleet2mqtt" and rest:
                yield module, target, rest[0]


def packages_import_lower_layers_only(modules: Modules) -> Iterator[str]:
    rank = {package: number for number, layer in enumerate(LAYERS) for package in layer}
    for module, target, package in inner_imports(modules):
        if package != module.package and module.package and rank.get(package, 99) >= rank.get(module.package, -1):
            yield f"{module.name} imports {target}"


def imports_form_no_cycle(modules: Modules) -> Iterator[str]:
    graph = {module.name: module.loads & (modules.keys() - {module.name}) for module in modules.values()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield " is imported by ".join(error.args[1])


def core_imports_no_platform(modules: Modules) -> Iterator[str]:
    for module, target, package in inner_imports(modules):
        if package in {"platforms", "simulators"} and module.package != package:
            yield f"{module.name} imports {target}"


def platforms_keep_to_themselves(modules: Modules) -> Iterator[str]:
    for module, target, package in inner_imports(modules):
        if module.package != "platforms" or package in PLATFORMS_MAY_IMPORT:
            continue
        if not f"{target}.".startswith(f"fleet2mqtt.platforms.{module.part}."):
            yield f"{module.name} imports {target}"


def simulators_import_only_simulators(modules: Modules) -> Iterator[str]:
    """A simulator knows its vendor's document: nothing of the client, nothing of another vendor."""
    for module in modules.values():
        for target in sorted(module.imports if module.package == "simulators" else ()):
            shared = target.startswith(("fleet2mqtt.simulators.fault_injection", "fleet2mqtt.simulators.control"))
            own = f"{target}.".startswith(f"fleet2mqtt.simulators.{module.part}.")
            if target.split(".")[0] == "fleet2mqtt" and not shared and not own:
                yield f"{module.name} imports {target}"


def libraries_have_one_home(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        for library in sorted({target.split(".")[0] for target in module.imports}):
            homes = LIBRARIES_BELONG_TO.get(library)
            if module.root == "fleet2mqtt" and homes is not None and module.package not in homes:
                yield f"{module.name} imports {library}"


def bridge_and_integration_are_separate(modules: Modules) -> Iterator[str]:
    forbidden = {"fleet2mqtt": {"custom_components"}, "custom_components": {"fleet2mqtt", "paho"}}
    for module in modules.values():
        roots = {target.split(".")[0] for target in module.imports}
        yield from (f"{module.name} imports {root}" for root in sorted(roots & forbidden[module.root]))


# Each rule with trees that break it in the ways that matter, and the violation that must come out.
BROKEN: tuple[tuple[Rule, dict[str, str], str], ...] = (
    (
        packages_import_lower_layers_only,
        {"fleet2mqtt.errors": "from fleet2mqtt.devices.model import Device"},
        "fleet2mqtt.errors imports fleet2mqtt.devices.model",
    ),
    (
        packages_import_lower_layers_only,
        {"fleet2mqtt.hub": "", "fleet2mqtt.errors": "from . import hub"},
        "fleet2mqtt.errors imports fleet2mqtt.hub",
    ),
    (
        packages_import_lower_layers_only,
        {"fleet2mqtt.devices.model": "def f():\n  import fleet2mqtt.sdk.api"},
        "fleet2mqtt.devices.model imports fleet2mqtt.sdk.api",
    ),
    (
        packages_import_lower_layers_only,
        {"fleet2mqtt.commands.queue": "import fleet2mqtt.polling.poller"},
        "fleet2mqtt.commands.queue imports",
    ),
    (
        packages_import_lower_layers_only,
        {"fleet2mqtt.outbox.store": "import fleet2mqtt.app"},
        "fleet2mqtt.outbox.store imports fleet2mqtt.app",
    ),
    (
        imports_form_no_cycle,
        {"fleet2mqtt.mqtt.a": "import fleet2mqtt.mqtt.b", "fleet2mqtt.mqtt.b": "from .a import x"},
        "fleet2mqtt.mqtt.",
    ),
    (
        core_imports_no_platform,
        {"fleet2mqtt.cli.demo": "from fleet2mqtt.simulators.ums.app import create"},
        "fleet2mqtt.cli.demo imports fleet2mqtt.simulators.ums.app",
    ),
    (
        core_imports_no_platform,
        {"fleet2mqtt.cli.demo": "import fleet2mqtt.platforms.ums"},
        "fleet2mqtt.cli.demo imports fleet2mqtt.platforms.ums",
    ),
    (
        platforms_keep_to_themselves,
        {"fleet2mqtt.platforms.ums.client": "from fleet2mqtt.hub import Hub"},
        "fleet2mqtt.platforms.ums.client imports fleet2mqtt.hub",
    ),
    (
        platforms_keep_to_themselves,
        {"fleet2mqtt.platforms.ums.__init__": "import fleet2mqtt.mqtt"},
        "fleet2mqtt.platforms.ums imports",
    ),
    (
        platforms_keep_to_themselves,
        {"fleet2mqtt.platforms.ums.client": "import fleet2mqtt.platforms.ums_other.client"},
        "fleet2mqtt.platforms.ums.client imports fleet2mqtt.platforms.ums_other",
    ),
    (
        simulators_import_only_simulators,
        {"fleet2mqtt.simulators.ums.app": "from fleet2mqtt.platforms.ums.models import Gateway"},
        "fleet2mqtt.simulators.ums.app imports fleet2mqtt.platforms.ums.models",
    ),
    (
        simulators_import_only_simulators,
        {"fleet2mqtt.simulators.ums.state": "from fleet2mqtt import __version__"},
        "fleet2mqtt.simulators.ums.state imports fleet2mqtt",
    ),
    (
        simulators_import_only_simulators,
        {"fleet2mqtt.simulators.ums.app": "import fleet2mqtt.simulators.omstation.data"},
        "fleet2mqtt.simulators.ums.app imports fleet2mqtt.simulators.omstation.data",
    ),
    (libraries_have_one_home, {"fleet2mqtt.app": "import paho.mqtt.client"}, "fleet2mqtt.app imports paho"),
    (
        libraries_have_one_home,
        {"fleet2mqtt.platforms.ums.state": "import sqlite3"},
        "fleet2mqtt.platforms.ums.state imports sqlite3",
    ),
    (
        libraries_have_one_home,
        {"fleet2mqtt.config.loader": "from pydantic import BaseModel"},
        "fleet2mqtt.config.loader imports pydantic",
    ),
    (
        libraries_have_one_home,
        {"fleet2mqtt.contract.discovery": "import homeassistant.const"},
        "fleet2mqtt.contract.discovery imports",
    ),
    (
        bridge_and_integration_are_separate,
        {"custom_components.fleet2mqtt.const": "from fleet2mqtt.contract.topics import Topics"},
        "custom_components.fleet2mqtt.const imports fleet2mqtt",
    ),
    (
        bridge_and_integration_are_separate,
        {"fleet2mqtt.app": "import custom_components.fleet2mqtt"},
        "fleet2mqtt.app imports",
    ),
)
SOUND = {
    "fleet2mqtt.__init__": "from importlib.metadata import version",
    "fleet2mqtt.errors": "",
    "fleet2mqtt.devices.model": "from fleet2mqtt.errors import BridgeError",
    "fleet2mqtt.simulators.fault_injection": "",
    "fleet2mqtt.mqtt.client": "import paho.mqtt.client\nfrom fleet2mqtt import __version__, errors",
    "fleet2mqtt.outbox.store": "import sqlite3\nfrom . import schema",
    "fleet2mqtt.outbox.schema": "",
    "fleet2mqtt.polling.poller": "import fleet2mqtt.hub",
    "fleet2mqtt.hub": "from .outbox import store",
    "fleet2mqtt.platforms.ums.__init__": "from .client import Client\nimport fleet2mqtt.sdk.api",
    "fleet2mqtt.platforms.ums.client": "from . import models\n",
    "fleet2mqtt.platforms.ums.models": "import pydantic\n",
    "fleet2mqtt.simulators.ums.app": "from fleet2mqtt.simulators import fault_injection\nfrom .data import MAC",
    "custom_components.fleet2mqtt.__init__": "import homeassistant",
}
RULES = tuple(dict.fromkeys(rule for rule, _, _ in BROKEN))


@pytest.fixture(scope="module")
def project() -> Modules:
    """The project's own modules; not read in each process that only collects tests."""
    return read_tree({"fleet2mqtt": ROOT / "bridge", "custom_components": ROOT})


@pytest.mark.parametrize("rule", RULES)
def test_project_keeps_the_rule(project: Modules, rule: Rule) -> None:
    assert list(rule(project)) == []


@pytest.mark.parametrize("rule", RULES)
def test_rule_allows_a_sound_tree(rule: Rule) -> None:
    assert list(rule(parse(SOUND))) == []


@pytest.mark.parametrize(("rule", "tree", "violation"), BROKEN)
def test_rule_finds_the_violation(rule: Rule, tree: dict[str, str], violation: str) -> None:
    found = list(rule(parse(tree)))
    assert len(found) == 1
    assert found[0].startswith(violation)


def test_rules_look_at_the_project(project: Modules) -> None:
    assert {"fleet2mqtt", "fleet2mqtt.devices.model", "fleet2mqtt.errors", "fleet2mqtt.platforms"} <= project.keys()
    assert "fleet2mqtt.errors" in project["fleet2mqtt.sdk.vendor_json"].imports


def test_every_package_has_a_layer(project: Modules) -> None:
    placed = {package for layer in LAYERS for package in layer}
    packages = {module.package for module in project.values() if module.root == "fleet2mqtt"}
    assert packages - placed == {""}
