"""Case folders of the platforms: the vendor's answers as files, and in expected.json what the platform makes of them.

A new case is a new folder in tests/platforms/<platform>/cases/. `replay(folder)` of the platform's replay.py puts its
files through the platform.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

FOLDERS = sorted(path for path in Path(__file__).parent.glob("*/cases/*") if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parents[1].name}-{folder.name}")
def test_case(folder: Path) -> None:
    said = import_module(f"tests.platforms.{folder.parents[1].name}.replay").replay(folder)
    came = json.dumps(said, indent=2, ensure_ascii=False)
    assert json.loads(came) == json.loads((folder / "expected.json").read_text("utf-8")), came


def test_platforms_have_cases() -> None:
    assert {folder.parents[1].name for folder in FOLDERS} >= {"ums"}
