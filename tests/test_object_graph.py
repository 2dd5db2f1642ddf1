"""Rules of the object graph: no component is reached through another, and none is completed after its construction."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1] / "bridge" / "fleet2mqtt"
COMPONENTS = frozenset(
    (
        "alarm_publisher",
        "commands",
        "hub",
        "mqtt",
        "outbox",
        "publisher",
        "registry",
        "replies",
        "requests",
        "router",
        "status",
        "topics",
        "unit",
    )
)
PLATFORM_CODE = ("platforms", "simulators")


def reached_through_another(source: str) -> Iterator[str]:
    """Yield expressions such as `self._hub.registry`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr.lstrip("_") in COMPONENTS:
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else ""
            if owner.lstrip("_") in COMPONENTS:
                yield ast.unparse(node)


def completed_later(source: str) -> Iterator[str]:
    """Yield assignments to attributes of what a function `build` constructs."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        if function.name == "build":
            assignments = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
            targets = [target for node in assignments for target in node.targets]
            yield from (ast.unparse(target) for target in targets if isinstance(target, ast.Attribute))


def core() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] not in PLATFORM_CODE]


@pytest.mark.parametrize("path", core(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_component_is_not_reached_through_another(path: Path) -> None:
    assert list(reached_through_another(path.read_text("utf-8"))) == []


def test_component_is_complete_after_its_construction() -> None:
    assert list(completed_later((ROOT / "app.py").read_text("utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("self._hub.registry.devices", ["self._hub.registry"]),
        ("application.hub.publisher", ["application.hub.publisher"]),
        ("self._registry.devices", []),
        ("hub.accept(update)", []),
    ],
)
def test_rule_finds_a_component_reached_through_another(source: str, found: list[str]) -> None:
    assert list(reached_through_another(source)) == found


def test_rule_finds_a_component_completed_later() -> None:
    assert list(completed_later("def build():\n  requests = R()\n  requests.after = f\n")) == ["requests.after"]
