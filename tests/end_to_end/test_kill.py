"""Nothing acknowledged is lost, whoever is killed: some rounds of what `scripts/soak` does for hundreds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.soak import Outage, soak

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 20
SEED = 4711


async def test_acknowledged_alarm_is_published_under_one_sequence_number(tmp_path: Path) -> None:
    tally = await soak(tmp_path, ROUNDS, SEED)
    assert tally.lost == set()
    assert tally.torn == {}
    assert tally.shared == {}
    assert len(tally.acknowledged) >= ROUNDS, tally.table()
    assert tally.outages.keys() == set(Outage), tally.table()
