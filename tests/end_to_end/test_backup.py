"""Backup and restore by the commands of docs/backup.md."""

from __future__ import annotations

import re
from pathlib import Path

from tests.bridge_under_test import MAC, VOIP, RunningBridge, Site, open_site
from tests.process import ran

PAGE = Path(__file__).parents[2] / "docs" / "backup.md"


async def raise_alarm(site: Site, bridge: RunningBridge) -> int:
    before = len(bridge.events())
    site.ums.raise_alarm(MAC, push=False)
    await bridge.refresh(backend="hq_voip")
    return int((await bridge.event_count(before + 1))[-1]["seq"])


async def test_restored_data_directory_goes_on_where_the_backup_ended(tmp_path: Path) -> None:
    archive, unpack = (
        re.search(
            rf"^tar -C /var/lib/fleet2mqtt -{mode}zf fleet2mqtt-data\.tar\.gz( \.)?$", PAGE.read_text(), re.MULTILINE
        )
        for mode in "cx"
    )
    assert archive is not None
    assert unpack is not None

    def here(documented: re.Match[str]) -> list[str]:
        folders = documented[0].replace("/var/lib/fleet2mqtt", str(tmp_path / "data"))
        return folders.replace("fleet2mqtt-data", f"{tmp_path}/backup").split()

    async with open_site(tmp_path) as site:
        async with site.bridge(branch=None) as bridge:
            await bridge.settle()
            kept = await raise_alarm(site, bridge)
            identity = (await bridge.ask("alarms"))["data"]["alarms"][-1]["id"]
            info = bridge.seen.latest("fleet2mqtt/bridge/info")
        assert (await ran(*here(archive))).code == 0
        (tmp_path / "data").rename(tmp_path / "lost")
        (tmp_path / "data").mkdir()
        assert (await ran(*here(unpack))).code == 0
        async with site.bridge(branch=None) as bridge:
            await bridge.settle()
            again = bridge.seen.latest("fleet2mqtt/bridge/info")
            assert info is not None
            assert again is not None
            assert again.json["id"] == info.json["id"]
            assert VOIP in await bridge.devices()
            stored = (await bridge.ask("alarms"))["data"]["alarms"]
            assert (stored[-1]["id"], stored[-1]["seq"]) == (identity, kept)
            assert await raise_alarm(site, bridge) == kept + 1
