"""Nothing acknowledged is lost, whoever is killed: some rounds of what `scripts/soak` does for hundreds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.soak import Outage, Tally, soak

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
    assert tally.answered, tally.table()
    assert tally.outages.keys() == set(Outage), tally.table()


def test_tally_finds_what_was_answered_and_never_published() -> None:
    tally = Tally(acknowledged={"hq:1"}, heard={"hq:1"}, answered={("hq:1", 2)})
    assert tally.lost == {"hq:1 2"}
    tally.changes["hq:1", 2] += 1
    assert tally.lost == set()
    tally.published["hq:3", 2] += 1
    assert tally.shared == {2: ["hq:3", "hq:1"]}
