"""A snapshot of the outbox is whole, whatever is being written."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt.errors import OutboxError
from fleet2mqtt.outbox import open_outbox
from fleet2mqtt.outbox.sqlite.snapshot import copy
from tests.sample_alarms import add

if TYPE_CHECKING:
    from pathlib import Path


async def test_snapshots_while_it_is_written_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    async with open_outbox(path) as outbox:
        written = 0

        async def write_on() -> None:
            nonlocal written
            while True:
                await add(outbox, *range(written, written + 50))
                written += 50

        writing = asyncio.create_task(write_on())
        for number in range(10):
            known = written
            folder = tmp_path / str(number)
            folder.mkdir()
            async with open_outbox(await asyncio.to_thread(copy, path, folder)) as copied:
                events, _ = await copied.history(0, 1_000_000)
                assert known <= len(events) <= written + 50
                assert [event.seq for event in events] == list(range(1, len(events) + 1))
            assert not list(folder.glob("*.corrupt-*"))
        writing.cancel()


async def test_copy_during_which_the_log_moved_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, folder = tmp_path / "outbox.sqlite", tmp_path / "copy"
    folder.mkdir()
    async with open_outbox(path) as outbox:
        await add(outbox, 1)
        real, copies = shutil.copyfile, list[str]()

        def copyfile(source: Path, target: Path) -> Any:
            copies.append(source.name)
            if len(copies) == 1:
                with path.open("ab") as file:  # as a checkpoint does
                    file.write(b"")
                path.touch()
            return real(source, target)

        monkeypatch.setattr(shutil, "copyfile", copyfile)
        copy(path, folder)
    assert copies == ["outbox.sqlite", "outbox.sqlite-wal"] * 2


async def test_missing_outbox_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutboxError, match="no bridge has run"):
        copy(tmp_path / "outbox.sqlite", tmp_path)
