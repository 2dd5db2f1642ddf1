"""The outbox against kill -9, full disks, damaged files and other processes."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest

from fleet2mqtt.devices.model import Severity
from fleet2mqtt.errors import OutboxError, OutboxFull
from fleet2mqtt.outbox import Outbox, Stored, open_outbox
from tests.full_disk import files_end_at
from tests.sample_alarms import RAISED, alarm, nameless
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[3]

ADDS_UNTIL_KILLED = """
import asyncio, itertools, pathlib, sys
from fleet2mqtt.outbox import open_outbox
from tests.sample_alarms import alarm, nameless

async def add(outbox, numbers):
    for number in numbers:
        for event in (await outbox.add([alarm(number)], nameless)).new:
            print(event.seq, event.id, flush=True)
            if number % 3 == 0:
                await outbox.published([event.seq])

async def main():
    async with open_outbox(pathlib.Path(sys.argv[1])) as outbox:
        numbers = itertools.count(int(sys.argv[2]))
        await asyncio.gather(*(add(outbox, numbers) for _ in range(8)))

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


async def acknowledged_before_kill(path: Path, start: int, lines: int) -> dict[int, str]:
    """Return the events that a child process reported as stored before it was killed, after so many lines at least."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ADDS_UNTIL_KILLED, str(path), str(start), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    said = [await asyncio.wait_for(child.stdout.readline(), PATIENCE) for _ in range(lines)]
    child.kill()
    said += (await child.stdout.read()).splitlines(keepends=True)
    await child.wait()
    whole = [line.decode().split() for line in said if line.endswith(b"\n")]
    return {int(seq): id_ for seq, id_ in whole}


async def test_acknowledged_events_survive_kill_9(path: Path) -> None:
    stored: dict[int, str] = {}
    for round_ in range(6):
        said = await acknowledged_before_kill(path, round_ * 100_000, random.randint(1, 400))  # noqa: S311 - a moment
        assert not stored.keys() & said.keys()
        stored |= said
        async with open_outbox(path) as outbox:
            events, more = await outbox.history(0, 100_000)
            held = {event.seq: event.id for event in events}
            assert not more
            assert len(set(held.values())) == len(held)
            assert stored.items() <= held.items()
            assert outbox.depth == len(await outbox.unpublished(0, 100_000))
            stored = held
    assert not set_aside(path)


async def test_full_disk_rejects_and_accepts_again_with_space(path: Path) -> None:
    async with open_outbox(path) as outbox:
        kept = (await outbox.add([alarm(1)], nameless)).new
        wal = path.with_name(f"{path.name}-wal").stat().st_size
        large = [alarm(number, description="x" * 1_000) for number in range(1_000, 1_200)]
        with files_end_at(wal + 100_000):
            answers = await asyncio.gather(
                outbox.add(large, nameless), outbox.add([alarm(2)], nameless), return_exceptions=True
            )
            figures = (outbox.depth, outbox.refused)
        assert isinstance(answers[0], OutboxError)
        assert not isinstance(answers[0], OutboxFull)
        assert isinstance(answers[1], Stored), "what fits is stored although the other call is refused"
        assert figures == (2, {"full": 0, "disk": 200})
        assert await outbox.unpublished(0) == [*kept, *answers[1].new]
        assert len((await outbox.add(large, nameless)).new) == 200
    async with open_outbox(path) as outbox:
        assert outbox.depth == 202


async def test_disk_full_for_long_recovers_with_space(path: Path) -> None:
    async with open_outbox(path) as outbox:
        stored = 0
        with files_end_at(200_000):
            for number in range(2_000):
                try:
                    stored += len((await outbox.add([alarm(number)], nameless)).new)
                except OutboxError:
                    break
            for number in range(10_000, 10_050):
                with pytest.raises(OutboxError):
                    await outbox.add([alarm(number, description="x" * 300_000)], nameless)
            assert outbox.depth == stored == len(await outbox.unpublished(0, 10_000))
        assert 0 < stored < 2_000
        assert outbox.refused["disk"] == 51
        await outbox.published(range(1, stored + 1))
        assert outbox.depth == 0
        assert len((await outbox.add([alarm(3_000)], nameless)).new) == 1


async def test_disk_without_space_for_file_is_named(path: Path) -> None:
    with files_end_at(1_000), pytest.raises(OutboxError, match="cannot be opened"):
        async with open_outbox(path):
            pass
    async with open_outbox(path) as outbox:
        assert outbox.depth == 0


async def exercise(outbox: Outbox) -> None:
    """Every door of an outbox opens, and numbers rise."""
    (event,) = (await outbox.add([alarm(90_000, active=True, alarm_key="door")], nameless)).new
    assert event.seq > 30
    assert event in await outbox.unpublished(event.seq - 1)
    assert event in await outbox.active_alarms()
    await outbox.history(0, 1_000)
    await outbox.last()
    await outbox.summary(event.received_at)
    await outbox.save_checkpoint("hq", "hq_voip_1", "now")
    await outbox.add_dead_letter("hq", "event", "no id", b"{}")
    await outbox.dead_letters(0, 10)
    await outbox.setting("instance", lambda: "made")
    await outbox.published([event.seq])
    await outbox.forget(["hq_voip_1"])


@pytest.fixture
async def used(path: Path) -> Path:
    """A file with something in every table, all of it in the file itself."""
    async with open_outbox(path) as outbox:
        await outbox.add([alarm(n, device=f"hq_{n}", active=True, alarm_key="door") for n in range(30)], nameless)
        await outbox.published(range(1, 20))
        await outbox.save_checkpoint("hq", "hq_voip_1", "10")
        await outbox.add_dead_letter("hq", "event", "no id", b"[]")
        await outbox.setting("instance", lambda: "made")
    return path


def contents(path: Path) -> bytes:
    return path.read_bytes()


def lay(directory: Path, data: bytes, log: bytes | None = None) -> Path:
    """A database file, and its log, with these bytes, in a directory of its own."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    path = directory / "outbox.db"
    path.write_bytes(data)
    if log is not None:
        path.with_name("outbox.db-wal").write_bytes(log)
    return path


def set_aside(path: Path) -> dict[str, bytes]:
    """Return the content of the files set aside beside this one, by the end of their names after the time."""
    found = path.parent.glob(f"{path.name}.corrupt-*")
    return {part.name.partition("Z")[2]: part.read_bytes() for part in found}


async def test_truncated_file_is_set_aside(used: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = contents(used)
    for position in [0, 1, 15, 16, 99, 100, 511, 512, *range(1_000, len(whole), 7_321), len(whole) - 1]:
        caplog.clear()
        torn = lay(tmp_path / "torn", whole[:position])
        async with open_outbox(torn) as outbox:
            assert outbox.depth == 0
            await exercise(outbox)
        assert set_aside(torn)[""] == whole[:position]
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert f"{torn.name}.corrupt-" in caplog.text
        async with open_outbox(torn) as outbox:
            assert outbox.last_seq > 30


async def test_damaged_file_opens_or_is_set_aside(used: Path, tmp_path: Path) -> None:
    whole = contents(used)
    rubbish = random.Random(4711)  # noqa: S311 - the same damage in every run
    for position in range(64, len(whole), 2_503):
        damaged = lay(tmp_path / "damaged", whole[:position] + rubbish.randbytes(200) + whole[position + 200 :])
        async with open_outbox(damaged) as outbox:
            await exercise(outbox)


async def test_truncated_wal_loses_only_its_end(used: Path, tmp_path: Path) -> None:
    async with open_outbox(used) as outbox:
        for number in range(100, 130):
            await outbox.add([alarm(number)], nameless)
        main, log = contents(used), contents(used.with_name("outbox.db-wal"))
    held = []
    for position in range(0, len(log), 9_973):
        torn = lay(tmp_path / "torn", main, log[:position])
        async with open_outbox(torn) as outbox:
            events, _ = await outbox.history(0, 1_000)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            held.append(len(events))
        assert not set_aside(torn)
    assert held == sorted(held)
    assert held[0] == 30
    assert held[-1] > 50


async def test_derived_tables_are_complete_after_a_crash(path: Path, tmp_path: Path) -> None:
    """Alarms are one statement; what is to be published, last and standing alarms and the summary follow, once."""
    raised = {"active": True, "alarm_key": "door"}
    async with open_outbox(path) as outbox:
        await outbox.add([alarm(1, **raised), alarm(2, device="hq_voip_2")], nameless)
        await outbox.published([1])
        await outbox.add([alarm(3, **raised | {"cleared": True, "severity": Severity.CLEARED})], nameless)
        await outbox.add([alarm(4, device="hq_voip_2", **raised)], nameless)
        crashed = lay(tmp_path / "crashed", contents(path), contents(path.with_name("outbox.db-wal")))
    for number in range(2):
        async with open_outbox(crashed) as outbox:
            to_publish = await outbox.unpublished(0)
            assert [event.seq for event in to_publish] == [2, 3, 4][: 3 - number]
            assert (outbox.depth, outbox.size) == (len(to_publish), sum(len(each.data) for each in to_publish))
            assert [event.id for event in await outbox.active_alarms()] == ["hq:4"]
            assert {device: event.id for device, event in (await outbox.last()).items()} == {
                "hq_voip_1": "hq:1",
                "hq_voip_2": "hq:4",
            }
            assert (await outbox.summary(RAISED))["last_day"]["critical"] == 3
            await outbox.published([4])


async def test_foreign_file_is_set_aside_with_its_wal(tmp_path: Path) -> None:
    path = lay(tmp_path / "rubbish", b"not a database" * 1_000, b"rubbish")
    async with open_outbox(path) as outbox:
        await exercise(outbox)
    assert set_aside(path) == {"": b"not a database" * 1_000, "-wal": b"rubbish"}


async def test_another_database_is_set_aside(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE other (x)")
    connection.close()
    async with open_outbox(path) as outbox:
        await exercise(outbox)
    assert set_aside(path)


async def test_unreadable_event_is_detected_at_start(used: Path, caplog: pytest.LogCaptureFixture) -> None:
    connection = sqlite3.connect(used, isolation_level=None)
    connection.execute("UPDATE event SET body = CAST('{}' AS BLOB) WHERE seq = 7")
    connection.close()
    async with open_outbox(used) as outbox:
        await exercise(outbox)
    assert "unreadable row" in caplog.text


async def test_numbers_rise_beyond_those_of_the_file_set_aside(used: Path, tmp_path: Path) -> None:
    async with open_outbox(lay(tmp_path / "torn", contents(used)[:5_000])) as outbox:
        (event,) = (await outbox.add([alarm(1)], nameless)).new
        assert event.seq > 1_000_000
        assert outbox.first_seq == event.seq
    assert event.seq < 2**53, "what JavaScript can count"


async def test_incomplete_last_page_is_damage(path: Path, tmp_path: Path) -> None:
    """SQLite reads zeros there: of an id that stands at its end the last character would be a NUL."""
    async with open_outbox(path) as outbox:
        await outbox.setting("instance", lambda: "x" * 12)
    torn = lay(tmp_path / "torn", contents(path)[:-1])
    async with open_outbox(torn) as outbox:
        assert await outbox.setting("instance", lambda: "made anew") == "made anew"
    assert set_aside(torn)


async def test_file_of_newer_version_is_rejected_unchanged(used: Path) -> None:
    connection = sqlite3.connect(used)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(OutboxError, match="newer version"):
        async with open_outbox(used):
            pass
    assert not set_aside(used)


async def test_second_bridge_on_file_is_rejected(path: Path) -> None:
    async with open_outbox(path):
        with pytest.raises(OutboxError, match="in use by another process"):
            async with open_outbox(path):
                pass
        assert not set_aside(path)


async def test_directory_without_write_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutboxError, match=r"file/data/outbox\.db: cannot be written: Not a directory"):
        async with open_outbox(tmp_path / "file" / "data" / "outbox.db"):
            pass


async def test_path_of_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutboxError, match="cannot be opened"):
        async with open_outbox(tmp_path):
            pass
