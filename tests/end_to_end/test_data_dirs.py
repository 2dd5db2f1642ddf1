"""The data directory of every earlier version is opened: nothing is lost, nothing is announced under another id.

tests/data_dirs has a folder for each, written by that version: scripts/keep_data_dir.py.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.bridge_under_test import run_bridge, state_topic
from tests.broker import HOST, Broker, free_port
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path for path in (ROOT / "tests" / "data_dirs").iterdir() if path.is_dir())


def options(broker: Broker) -> dict[str, Any]:
    """The configuration with which the folders were written; no vendor responds any more."""
    login = {"app_id": "app-demo", "access_key": "demo-access-key", "secret_key": "demo-secret-key"}
    backends = {
        "hq_voip": {"platform": "ums"},
        "branch": {"platform": "smart_gateway"},
        "things": {"platform": "thingscloud", **login},
        "cabinets": {"platform": "omstation", "username": "admin", "password": "123456"},
        "office": {"platform": "sangfor_ac", "key": "fleet2mqtt-sim"},
    }
    return {
        "mqtt": {"host": HOST, "port": broker.port, "discovery_rate": 100_000},
        "data_dir": "data",
        "push": {"host": HOST, "port": free_port()},
        "web": {"host": HOST, "port": free_port()},
        "backends": {name: {"url": f"http://{HOST}:1", **each} for name, each in backends.items()},
    }


def undelivered(folder: Path) -> list[int]:
    """The numbers of the alarm events that the version has not published."""
    with closing(sqlite3.connect(folder / "outbox.sqlite")) as connection:
        return [seq for (seq,) in connection.execute("SELECT seq FROM pending ORDER BY seq")]


@pytest.mark.parametrize("kept", FOLDERS, ids=lambda path: path.name)
async def test_data_directory_of_an_earlier_version_is_opened(kept: Path, broker: Broker, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(kept, data)
    stored = {each["id"]: each for each in json.loads((kept / "inventory.json").read_text("utf-8"))["devices"]}
    missing = undelivered(data)
    assert stored
    assert missing
    async with run_bridge(broker, tmp_path, options(broker)) as bridge:
        alarms = await bridge.event_count(len(missing))
        await wait_until(
            lambda: all(bridge.state(each) for each in stored),
            lambda: f"states of {[each for each in stored if not bridge.state(each)]}",
        )
        info = bridge.seen.latest("fleet2mqtt/bridge/info")
        assert info is not None
        assert info.json["id"] == (kept / "instance").read_text("utf-8").strip()
        assert sorted({each["seq"] for each in alarms})[: len(missing)] == missing
        assert {each["device"] for each in alarms} & stored.keys()
        for id_, device in stored.items():
            if device["scope"] not in {"backend", "bridge"}:  # their states say what is now
                shown = bridge.state(id_)
                assert {key: shown.get(key) for key in device["state"]} == device["state"], id_
        states = bridge.seen.all(state_topic("+"))
        assert {message.topic.split("/")[2] for message in states if message.payload} == stored.keys()
    assert not list(data.glob("*.corrupt-*"))
    assert undelivered(data) == []


def test_data_directory_of_every_released_version_is_kept() -> None:
    """While something is unreleased, the newest version is an earlier one, too."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    unreleased, *released = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    versions = [re.match(r"\[([\d.]+)\]", section) for section in released]
    assert all(versions)
    earlier = versions if "### " in unreleased else versions[1:]
    assert {path.name for path in FOLDERS} >= {each[1] for each in earlier if each}
