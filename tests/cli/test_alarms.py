"""`fleet2mqtt alarms test`, beside a bridge that goes on storing alarms, and without one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import yaml

from tests.bridge_under_test import MAC, VOIP, Site, open_site
from tests.commandline import fleet2mqtt, write

if TYPE_CHECKING:
    from pathlib import Path

RULES: dict[str, Any] = {
    "recovers": [{"raised": 33, "by": 34}],
    "severity": {35: "minor"},
    "ignore": [36],
    "clear_after": {35: 60},
    "texts": {35: {"en": "Nothing but a test", "zh-Hans": "仅测试"}},
    "conditions": {"gateway_offline": {"on_delay": 3600, "severity": "warning"}},
}


def with_rules(site: Site) -> str:
    """A second configuration file: that of the bridge, with rules."""
    options = yaml.safe_load((site.folder / "fleet2mqtt.yaml").read_text())
    options["backends"]["hq_voip"]["alarms"] = RULES
    path = site.folder / "rules.yaml"
    path.write_text(yaml.safe_dump(options))
    return str(path)


async def push_on(site: Site) -> None:
    while True:
        await site.push(site.ums.raise_alarm(MAC, push=False, event_id=37, name="eEMS_NOTIFY_OTHER"))


async def test_rules_are_tried_beside_a_running_bridge(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, site.bridge(branch=None, alarms={"conditions": {}}) as bridge:
        await bridge.settle()
        for code in (33, 34, 33, 35, 36, 36):
            await site.push(site.ums.raise_alarm(MAC, push=False, event_id=code, name=f"eEMS_NOTIFY_{code}"))
        for online, active in ((False, "ON"), (True, "OFF")):
            site.ums.set_online(MAC, online, push=False)
            await bridge.refresh(backend="hq_voip")
            await bridge.shows(VOIP, "alarm_active", active)
        pushing = asyncio.create_task(push_on(site))
        try:
            ended = await fleet2mqtt("alarms", "test", "-c", with_rules(site))
        finally:
            pushing.cancel()
            await asyncio.gather(pushing, return_exceptions=True)
        assert (ended.code, ended.errors) == (0, "")
        lines = ended.output.splitlines()
        assert "hq_voip: 33 eEMS_NOTIFY_33: 2 times: severity critical, active 2 times" in lines, ended.output
        assert "hq_voip: 34 eEMS_NOTIFY_34: 1 times: ends an alarm 1 times" in lines
        assert "hq_voip: 36 eEMS_NOTIFY_36: 2 times: ignored" in lines
        [minor] = [line for line in lines if "NOTIFY_35" in line]
        assert minor.endswith(
            "severity minor (was critical), active 1 times, cleared after 60 s, text: Nothing but a test"
        )
        [condition] = [line for line in lines if "condition gateway_offline" in line]
        assert condition.endswith(
            "raised 2 times: severity warning (was critical), 1 of them not: they lasted less than on_delay (3600 s)"
        )
        assert (await bridge.ask("alarms", device=VOIP))["status"] == "ok"
        site_file = with_rules(site)
    # And without a bridge, from the same file.
    ended = await fleet2mqtt("alarms", "test", "-c", site_file)
    assert ended.code == 0
    assert "hq_voip: 36 eEMS_NOTIFY_36: 2 times: ignored" in ended.output


async def test_data_dir_without_an_outbox_is_named(tmp_path: Path) -> None:
    ended = await fleet2mqtt("alarms", "test", "-c", write(tmp_path))
    assert ended.code == 1
    assert "no bridge has run with this data_dir" in ended.errors
