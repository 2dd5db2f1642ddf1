"""The table of faults names tests that exist, and every test of this folder stands in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (HERE / "README.md").read_text(encoding="utf-8"))


def defined_in(path: Path) -> set[str]:
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    functions = (node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {name for name in functions if name.startswith("test_")}


def test_named_tests_exist() -> None:
    assert len(NAMED) > 50
    assert [(file, name) for file, name in NAMED if name not in defined_in(ROOT / file)] == []


def test_fault_has_row() -> None:
    here = {name for path in HERE.glob("test_*.py") if path.name != "test_readme.py" for name in defined_in(path)}
    assert here - {name for _, name in NAMED} == set()
