"""Every folder under cases/<platform>/: what the vendor said, as files, and in expected.json what came of it.

A new case is a new folder. `replay(folder)` of tests/backends/<platform>/replay.py puts the files through the platform.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "cases"
FOLDERS = sorted(path for path in CASES.glob("*/*") if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_case(folder: Path) -> None:
    said = import_module(f"tests.backends.{folder.parent.name}.replay").replay(folder)
    came = json.dumps(said, indent=2, ensure_ascii=False)
    assert json.loads(came) == json.loads((folder / "expected.json").read_text("utf-8")), came


def test_platforms_have_cases() -> None:
    assert {folder.parent.name for folder in FOLDERS} >= {"ums"}
