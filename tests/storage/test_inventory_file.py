"""The file that outlives a restart: whole, or set aside; never a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.devices.conditions import WaitingChange
from fleet2mqtt.devices.model import Component, EntityCategory, StateMeta, UpdateOrigin
from fleet2mqtt.storage import inventory_file
from fleet2mqtt.storage.inventory_file import Snapshot
from tests.sample_devices import SIGNAL, device, row

if TYPE_CHECKING:
    from pathlib import Path

ROWS = (
    SIGNAL,
    row("net", Component.SELECT, options=("auto", "sa"), category=EntityCategory.CONFIG, enabled=False, precision=2),
    row("key", Component.TEXT, secret=True, pattern="[a-z]+", minimum=1, maximum=8),
)
SNAPSHOT = Snapshot(
    devices=(
        device("hq_1", entities=ROWS, connections=(("mac", "00:0e:a9:3d:02:2e"),), attributes={"net": {"raw": 3}}),
        device("hq_2", entities=ROWS, available=False, via="hq_1", alarms=True),
        device("hq_3", state={"signal": None, "gps": {"latitude": 1.5, "longitude": 2}}),
    ),
    removed_components={"hq_1": {"old": "switch"}},
    pending_deletions=frozenset(("fleet2mqtt/device/hq_0/state",)),
    assignments={"hq_1": "hq\x1f1"},
    state_meta={"hq_1": StateMeta(UpdateOrigin.PUSH, "2026-11-22T08:00:00.000+00:00")},
    waiting={"hq_1": {"weak": WaitingChange(since="2026-11-22T08:00:00+00:00", waited=1.5, clears=False)}},
)


def test_saved_inventory_is_loaded_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "inventory.json"
    inventory_file.save(file, SNAPSHOT)
    assert inventory_file.load(file) == SNAPSHOT
    assert file.stat().st_mode & 0o777 == 0o600


def test_entity_tables_are_stored_and_loaded_once(tmp_path: Path) -> None:
    file = tmp_path / "inventory.json"
    inventory_file.save(file, SNAPSHOT)
    first, second, third = inventory_file.load(file).devices
    assert first.entities is second.entities
    assert first.entities is not third.entities
    assert file.read_text().count('"secret":true') == 1


def test_missing_file_is_empty_inventory(tmp_path: Path) -> None:
    assert inventory_file.load(tmp_path / "inventory.json") == Snapshot()


def test_truncated_file_is_set_aside_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "inventory.json"
    inventory_file.save(file, SNAPSHOT)
    whole = file.read_bytes()
    for length in (*range(0, len(whole), 23), len(whole) - 1):
        file.write_bytes(whole[:length])
        caplog.clear()
        assert inventory_file.load(file) == Snapshot()
        assert not file.exists()
        assert "inventory.json cannot be used" in caplog.text


@pytest.mark.parametrize("content", ["null", "[]", "{}", '{"version": 99}', '{"version": 1, "tables": 5}', "\x00\x00"])
def test_foreign_file_is_set_aside(tmp_path: Path, content: str) -> None:
    file = tmp_path / "inventory.json"
    file.write_text(content)
    assert inventory_file.load(file) == Snapshot()
    assert [found.read_text() for found in tmp_path.iterdir()] == [content]


def test_failed_save_keeps_old_file(tmp_path: Path) -> None:
    file = tmp_path / "inventory.json"
    inventory_file.save(file, SNAPSHOT)
    (tmp_path / "inventory.json.new").mkdir()
    with pytest.raises(OSError, match="inventory"):
        inventory_file.save(file, Snapshot())
    assert inventory_file.load(file) == SNAPSHOT
