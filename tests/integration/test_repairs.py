"""Issues come and go with their causes, and the one that can be fixed is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.util import dt as dt_util
from pytest_homeassistant_custom_component.common import MockConfigEntry, async_fire_time_changed

from custom_components.fleet2mqtt.issues import compatible
from custom_components.fleet2mqtt.repairs import async_create_fix_flow
from tests.integration.bridge import VERSION, Bridge, Refusal
from tests.integration.conftest import DOMAIN

DENIED = {"class": "denied", "code": 401, "text": "wrong password", "endpoint": "login"}


def kinds(hass: HomeAssistant) -> list[str]:
    issues = [issue for issue in ir.async_get(hass).issues.values() if issue.domain == DOMAIN]
    return sorted(str(issue.translation_key) for issue in issues)


def issue(hass: HomeAssistant, kind: str) -> ir.IssueEntry:
    return next(each for each in ir.async_get(hass).issues.values() if each.translation_key == kind)


async def pass_time(hass: HomeAssistant, **time: int) -> None:
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(**time))
    await hass.async_block_till_done()


async def test_healthy_bridge_has_no_issue(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    assert kinds(hass) == []


async def test_long_absence_creates_issue(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    bridge.say("bridge/state", "offline")
    await pass_time(hass, minutes=14)
    assert kinds(hass) == []
    await pass_time(hass, minutes=16)
    assert kinds(hass) == ["bridge_offline"]
    bridge.say("bridge/state", "offline")
    bridge.health(uptime=61)
    assert kinds(hass) == ["bridge_offline"]
    bridge.say("bridge/state", "online")
    assert kinds(hass) == []


async def test_short_absence_creates_no_issue(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    bridge.say("bridge/state", "offline")
    bridge.say("bridge/state", "online")
    await pass_time(hass, minutes=16)
    assert kinds(hass) == []


async def test_absence_time_is_an_option(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    hass.config_entries.async_update_entry(loaded, options={"offline_after": {"seconds": 2}})
    bridge.say("bridge/state", "offline")
    await pass_time(hass, seconds=3)
    assert kinds(hass) == ["bridge_offline"]
    placeholders = issue(hass, "bridge_offline").translation_placeholders
    assert placeholders == {"name": "fleet2mqtt", "time": "0:00:02"}
    await hass.config_entries.async_unload(loaded.entry_id)
    assert kinds(hass) == []


async def test_wrong_credentials_create_issue(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    bridge.backend("voip", {**DENIED, "class": "unreachable"})
    assert kinds(hass) == []
    bridge.backend("voip", DENIED)
    bridge.say("backend/ac/health", {"error": None, "sources": {"status": {"error": DENIED}, "odd": 1}})
    assert kinds(hass) == ["wrong_credentials", "wrong_credentials"]
    bridge.backend("voip", None)
    bridge.say("backend/ac/health", "")
    assert kinds(hass) == []


@pytest.mark.parametrize("outbox", [{"depth": 1000}, {"depth": 1, "oldest_age": 900}])
async def test_filling_outbox_creates_issue(
    hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry, outbox: dict[str, int]
) -> None:
    bridge.health(outbox=outbox)
    assert kinds(hass) == ["outbox_filling"]
    bridge.health()
    assert kinds(hass) == []


async def test_incompatible_version_creates_issue(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    bridge.info(version="99.0.0")
    assert kinds(hass) == ["version_mismatch"]
    bridge.info(version=f"{VERSION}9")
    assert kinds(hass) == []


@pytest.mark.parametrize(
    ("mine", "theirs", "fit"), [("0.1.0", "0.1.7", True), ("0.1.0", "0.2.0", False), ("1.2.0", "1.9.3", True)]
)
def test_compatible_versions(mine: str, theirs: str, fit: bool) -> None:
    assert compatible(mine, theirs) is fit


class Letters:
    """The bridge's dead letters; a retry reads those with an even number."""

    def __init__(self, count: int) -> None:
        self.ids = list(range(1, count + 1))

    def answer(self, arguments: dict[str, Any]) -> Any:
        op = arguments.get("op", "list")
        if op == "retry":
            self.ids = [each for each in self.ids if each % 2]
        elif op == "discard":
            self.ids.remove(arguments["id"])
        return {"dead_letters": [{"id": each} for each in self.ids[: arguments.get("limit")]], "total": len(self.ids)}


async def fix(hass: HomeAssistant) -> Any:
    found = issue(hass, "dead_letters")
    assert found.is_fixable
    flow: Any = await async_create_fix_flow(hass, found.issue_id, found.data)
    flow.hass = hass
    flow.flow_id = "1"
    flow.handler = DOMAIN
    menu = await flow.async_step_init()
    assert menu["menu_options"] == ["retry", "discard"]
    return flow


async def test_fix_discards_dead_letters(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    letters = Letters(150)
    bridge.answers["dead_letters"] = letters.answer
    bridge.health(dead_letters=150)
    flow = await fix(hass)
    assert (await flow.async_step_discard())["type"] == "create_entry"
    assert letters.ids == []
    bridge.health(dead_letters=0)
    assert kinds(hass) == []


async def test_fix_retries_dead_letters(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    bridge.answers["dead_letters"] = Letters(3).answer
    bridge.health(dead_letters=3)
    step = await (await fix(hass)).async_step_retry()
    assert (step["reason"], step["description_placeholders"]) == ("still_unreadable", {"count": "2"})


async def test_fix_that_fails_keeps_issue(hass: HomeAssistant, bridge: Bridge, loaded: MockConfigEntry) -> None:
    def refuse(_: dict[str, Any]) -> None:
        raise Refusal("outbox", "the disk is full")

    bridge.answers["dead_letters"] = refuse
    bridge.health(dead_letters=3)
    flow = await fix(hass)
    assert (await flow.async_step_retry())["reason"] == "failed"
    await hass.config_entries.async_unload(loaded.entry_id)
    assert (await flow.async_step_retry())["reason"] == "not_loaded"
