"""Import of a SQLite outbox: everything is there, nothing is new again, and a database in use stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.devices.model import Severity
from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox import OutboxLimits, open_outbox
from fleet2mqtt.outbox.postgres import open_database
from fleet2mqtt.outbox.postgres.sqlite_import import import_outbox
from tests.outbox.engines import contents
from tests.sample_alarms import add, alarm, ids, nameless

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIMITS = OutboxLimits(history_rows=4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


async def fill(path: Path) -> None:
    async with open_outbox(path, LIMITS) as outbox:
        await add(outbox, *range(8), active=True, alarm_key="door")
        await add(outbox, 2, cleared=True, active=True, alarm_key="door", severity=Severity.CLEARED)
        await add(outbox, 9, backlog=True, device="hq_voip_2", name="\x00\ud800 \\ \n\t")
        await outbox.published(range(1, 8))
        await outbox.forget(["hq_voip_2"])
        await outbox.add(
            [alarm(10, active=True)], nameless, {("hq", "d1"): "tab\t", ("hq", ""): "\\N"}, {"alarm/a": "{}"}
        )
        await outbox.add_dead_letter("hq", "event", "no id", b"{\x00}")
        await outbox.setting("instance", lambda: "made")


async def test_imported_outbox_is_the_same_and_goes_on(path: Path, dsn: str) -> None:
    await fill(path)
    imported = await import_outbox(path, dsn, LIMITS)
    assert (imported.identities, imported.last_seq, imported.checkpoints, imported.dead_letters) == (11, 11, 2, 1)
    async with open_outbox(path, LIMITS) as before, open_database(dsn, LIMITS, deadline=60) as database:
        outbox = await database.outbox()
        assert await contents(outbox) == await contents(before)
        assert await outbox.managed() == {"alarm/a": "{}"}
        assert (await outbox.setting("instance", lambda: "new"), outbox.dead) == ("made", 1)
        assert ids(await add(outbox, *range(12), active=True, alarm_key="door")) == ["hq:8", "hq:11"]
        assert outbox.last_seq == 13
        first = await before.dead_letters(0, 10)
        assert await outbox.add_dead_letter("hq", "event", "no id", b"[]") > first[0].id


async def test_database_in_use_is_refused(path: Path, dsn: str) -> None:
    await fill(path)
    async with open_database(dsn, LIMITS, deadline=60) as database:
        outbox = await database.outbox()
        await add(outbox, 99)
        with pytest.raises(OutboxError, match="is in use; import into an empty one"):
            await import_outbox(path, dsn, LIMITS)
        assert ids((await outbox.history(0, 100))[0]) == ["hq:99"]


async def test_outbox_of_a_running_bridge_is_refused(path: Path, dsn: str) -> None:
    async with open_outbox(path):
        with pytest.raises(OutboxError, match="in use; stop the bridge"):
            await import_outbox(path, dsn, LIMITS)


async def test_missing_outbox_is_refused(path: Path, dsn: str) -> None:
    with pytest.raises(OutboxError, match="no such file"):
        await import_outbox(path, dsn, LIMITS)
    assert not list(path.parent.iterdir())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5_000])


def overwrite(path: Path) -> None:
    path.write_bytes(b"no database" * 100)


@pytest.mark.parametrize("damage", [cut, overwrite])
async def test_damaged_outbox_is_refused(path: Path, dsn: str, damage: Callable[[Path], None]) -> None:
    await fill(path)
    damage(path)
    with pytest.raises(OutboxError, match="is damaged"):
        await import_outbox(path, dsn, LIMITS)
