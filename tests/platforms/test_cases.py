"""Case folders of the platforms: the vendor's responses as files, and the output that is expected of the platform.

A new case is a new folder in tests/platforms/<platform>/cases/. `replay(folder)` of the platform's replay.py returns
the actual output of its files. What is compared is described in expectations.py; `scripts/test --update-cases`
regenerates the expected output.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

from fleet2mqtt.sdk.api import platforms
from tests.platforms import expectations

FOLDERS = sorted(path for path in Path(__file__).parent.glob("*/cases/*") if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parents[1].name}-{folder.name}")
def test_case(folder: Path, *, update_cases: bool) -> None:
    replayed = import_module(f"tests.platforms.{folder.parents[1].name}.replay").replay(folder)
    actual = json.loads(json.dumps(replayed, ensure_ascii=False))
    if update_cases:
        expectations.update(folder, actual)
    found = expectations.check(folder, actual)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("platform", sorted(platforms()))
def test_platform_has_at_most_one_full_state_case(platform: str) -> None:
    folders = [folder for folder in FOLDERS if folder.parents[1].name == platform]
    assert folders
    assert len([folder for folder in folders if expectations.is_full_state(folder)]) <= 1
