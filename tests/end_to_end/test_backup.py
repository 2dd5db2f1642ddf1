"""Backup and restore as docs/backup.md says."""

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
    documented = re.search(
        r"^tar -C /var/lib -czf fleet2mqtt-data\.tar\.gz fleet2mqtt$", PAGE.read_text(), re.MULTILINE
    )
    assert documented is not None
    async with open_site(tmp_path) as site:
        async with site.bridge(branch=None) as bridge:
            await bridge.settle()
            kept = await raise_alarm(site, bridge)
            identity = (await bridge.ask("alarms"))["data"]["alarms"][-1]["id"]
            info = bridge.seen.latest("fleet2mqtt/bridge/info")
        (tmp_path / "data").rename(tmp_path / "fleet2mqtt")
        command = (
            documented[0].replace("/var/lib", str(tmp_path)).replace("fleet2mqtt-data", f"{tmp_path}/backup").split()
        )
        assert (await ran(*command)).code == 0
        (tmp_path / "fleet2mqtt").rename(tmp_path / "lost")
        assert (await ran("tar", "-C", str(tmp_path), "-xzf", f"{tmp_path}/backup.tar.gz")).code == 0
        async with site.bridge(branch=None, data_dir="fleet2mqtt") as bridge:
            await bridge.settle()
            again = bridge.seen.latest("fleet2mqtt/bridge/info")
            assert info is not None
            assert again is not None
            assert again.json["id"] == info.json["id"]
            assert VOIP in await bridge.devices()
            stored = (await bridge.ask("alarms"))["data"]["alarms"]
            assert (stored[-1]["id"], stored[-1]["seq"]) == (identity, kept)
            assert await raise_alarm(site, bridge) == kept + 1
