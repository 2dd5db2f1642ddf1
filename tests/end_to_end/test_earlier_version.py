"""A data directory of version 0.1.0: what it has is announced once, and its active alarms can be managed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.bridge_under_test import open_site, wait_retained
from tests.waiting import PATIENCE, wait_until

VERSION_1 = Path(__file__).parents[1] / "outbox" / "sqlite" / "version_1.sql"
TOPIC = "fleet2mqtt/alarm/active/hq_voip_2/window"
PENDING = "hq:7"
"""The only event that version 0.1.0 had not published."""


async def test_alarms_of_an_earlier_version_stay_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with closing(sqlite3.connect(tmp_path / "data" / "outbox.sqlite")) as connection:
        connection.executescript(VERSION_1.read_text(encoding="utf-8"))
    async with open_site(tmp_path) as site, site.broker.record("fleet2mqtt/alarm/#") as seen:

        def events() -> list[tuple[str, str, int]]:
            found = [*seen.all("fleet2mqtt/alarm/event/#"), *seen.all("fleet2mqtt/alarm/suppressed/#")]
            bodies = [each.json for each in found if each.json["backend"] == "hq"]
            return [(each["id"], each["type"], each["seq"]) for each in bodies]

        async with site.bridge(branch=None) as bridge:
            await wait_until(events, "the event that was not published", PATIENCE)
            [alarm] = (await bridge.ask("alarms", state="active", backend="hq"))["data"]["alarms"]
            assert (alarm["id"], alarm["state"], alarm["acknowledged"]) == ("hq:4", "active", False)
            assert alarm["alarm_type"] == alarm["name"]
            assert seen.latest(TOPIC)
            history = (await bridge.ask("alarms", backend="hq"))["data"]
            assert [(each["seq"], each["acknowledged"]) for each in history["alarms"]] == [
                (4, False), (5, False), (6, False), (7, False),
            ]  # fmt: skip
            await bridge.crash()
        async with site.bridge(branch=None) as bridge:
            await bridge.settle()
            answer = await bridge.ask("alarm_acknowledge", id="hq:4", operator="Li")
            acknowledged = ("hq:4", "acknowledged", answer["data"]["seq"])
            await wait_until(lambda: acknowledged in events(), lambda: str(events()), PATIENCE)
        # A crash may repeat an event, with its seq.
        assert set(events()) == {(PENDING, "raised", 7), acknowledged}
        async with site.bridge(branch=None) as bridge:
            closed = await bridge.ask("alarm_close", device="hq_voip_2", alarm="window")
            assert closed["data"]["changed"]
            await wait_retained(site.broker, {TOPIC: b""})
