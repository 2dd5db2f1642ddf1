"""A file of an earlier schema is migrated: nothing is lost, announced again or numbered twice."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox import Stored, open_outbox
from tests.sample_alarms import add, alarm, ids, nameless


def make(path: Path, version: int) -> Path:
    """Make a file as that version of the schema wrote it."""
    dump = Path(__file__).with_name(f"version_{version}.sql")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump.read_text(encoding="utf-8"))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(tmp_path / "outbox.db", 1)


async def test_file_of_version_1_keeps_its_content(path: Path) -> None:
    for _ in range(2):  # migrated, then as it is
        async with open_outbox(path) as outbox:
            assert (outbox.first_seq, outbox.last_seq, outbox.depth, outbox.size) == (4, 7, 1, 363)
            assert outbox.oldest is not None
            events, more = await outbox.history(0, 10)
            assert ([event.seq for event in events], more) == ([4, 5, 6, 7], False)
            assert events[0].body["description"] == "IP 分机离线"
            assert [event.backlog for event in events] == [False, True, False, False]
            assert await outbox.unpublished(0) == [events[3]]
            assert ids(await outbox.active_alarms()) == ["hq:4"]
            last = await outbox.last()
            assert {device: event.id for device, event in last.items()} == {
                "hq_voip_1": "hq:6",
                "hq_voip_2": "hq:4",
                "hq_voip_3": "hq:7",
            }
            summary = await outbox.summary(datetime.fromtimestamp(26921395 * 60, UTC))
            assert (summary["last_day"]["critical"], summary["last_day"]["minor"]) == (5, 1)
            assert outbox.checkpoint("hq", "hq_voip_1") == "10"
            assert [letter.error for letter in await outbox.dead_letters(0, 10)] == ["no id"]
            assert await outbox.setting("instance", lambda: "made anew") == "made"
            assert await outbox.managed() == {}


async def test_events_of_version_2_that_were_not_acknowledged_are_still_to_be_published(tmp_path: Path) -> None:
    path = make(tmp_path / "outbox.db", 2)
    async with open_outbox(path) as outbox:
        assert (outbox.last_seq, outbox.depth, outbox.size) == (6, 3, 3 * 404)
        assert ids(await outbox.unpublished(0)) == ["hq:2", "hq:4", "hq:6"]
        assert ids(await outbox.unpublished(2, limit=1)) == ["hq:4"]
        await outbox.published([2, 6])
        assert (outbox.depth, outbox.size) == (1, 404)
        assert await add(outbox, 1, 4, 5) == ()
    async with open_outbox(path) as outbox:
        assert ids(await outbox.unpublished(0)) == ["hq:4"]
        assert (outbox.depth, outbox.size) == (1, 404)


async def test_identities_and_numbers_of_version_1_continue(path: Path) -> None:
    async with open_outbox(path) as outbox:
        assert await add(outbox, 1, 2, 4, 5, 6, 7) == ()
        assert await outbox.add([alarm(3, cleared=True)], nameless) == Stored()
        assert [(event.id, event.seq) for event in await add(outbox, 3, 8)] == [("hq:3", 8), ("hq:8", 9)]
        await outbox.published([7, 8, 9])
        assert outbox.depth == 0


async def test_number_of_version_1_continues_without_identities(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("DELETE FROM event; DELETE FROM seen; DELETE FROM pending;")
    async with open_outbox(path) as outbox:
        assert outbox.last_seq == 7
        assert [event.seq for event in await add(outbox, 1)] == [8]


async def test_unreadable_event_of_version_1_is_set_aside(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("UPDATE event SET body = CAST('no JSON' AS BLOB) WHERE seq = 5;")
    async with open_outbox(path) as outbox:
        assert outbox.depth == 0
    assert list(path.parent.glob("*.corrupt-*"))


async def test_interrupted_migration_is_done_at_the_next_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "fleet2mqtt.outbox.sqlite.schema.FROM_VERSION_1", "BEGIN; DROP TABLE seen; INSERT INTO nowhere VALUES (1);"
        )
        with pytest.raises(OutboxError, match="nowhere"):
            async with open_outbox(path):
                pass
    async with open_outbox(path) as outbox:
        assert outbox.last_seq == 7
        assert await add(outbox, 1) == ()
