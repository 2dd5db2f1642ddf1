"""A storm through the outbox is sent in one digest that has every event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.notify.storm import STORM_COUNT, Storm, storm

if TYPE_CHECKING:
    from pathlib import Path


async def test_storm_is_told_in_one_digest(tmp_path: Path) -> None:
    came = await storm(tmp_path, events=2_000, seconds=0, within=8)
    assert came.events == 2_000
    assert came.problems == []
    assert came.mails == STORM_COUNT + 1


@pytest.mark.parametrize(("told", "digests"), [(99, 1), (100, 2), (100, 0)])
def test_storm_that_is_not_told_whole_has_problems(told: int, digests: int) -> None:
    assert Storm(events=100, told=told, digests=digests, mails=21, cpu=0, longest_gap=0).problems
