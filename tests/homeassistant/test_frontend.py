"""The frontend in a real browser: the bridge is discovered, set up and used by clicking, in both languages.

The pictures of the documents are taken here: `FLEET2MQTT_PICTURES=1 scripts/test tests/homeassistant/test_frontend.py`.
"""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from fleet2mqtt import __version__
from tests.homeassistant.browser import HEIGHT, WIDTH, Frontend, frontend
from tests.homeassistant.fleet import Fleet, fleet
from tests.homeassistant.hass import PROJECT, Hass
from tests.waiting import wait_for_answer, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.broker import Broker

DOMAIN = "fleet2mqtt"
IMAGES = PROJECT / "docs/images"
INFO = "fleet2mqtt/bridge/info"
GATEWAY, MAC = "ums_000ea93d022e", "000EA93D022E"
CHANNEL = "smart_gateway_172de6ac9832de_channel_0"
ALARM = "FXO 线路断开"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Texts of the page in a language; entities are pairs of name and value."""

    language: str
    found: tuple[str, ...]
    health: str
    figures: tuple[tuple[str, str], ...]
    alarm: tuple[tuple[str, str], ...]
    channel: tuple[tuple[str, str], ...]
    switch: str
    action: tuple[str, ...]


ENGLISH = Words(
    language="en",
    found=("Bridge found", "A fleet2mqtt bridge speaks below the topic fleet2mqtt."),
    health="fleet2mqtt health",
    figures=(("Connectivity", "Connected"), ("Critical alarms active", ""), ("Oldest alarm waiting", "0 s")),
    alarm=(("Last alarm", ALARM), ("Last alarm severity", "major"), ("Connection", "Connected")),
    channel=(("Signal", "-30 dBm"), ("Round-trip time", "100 ms"), ("Operator", "CMCC")),
    switch="Enabled",
    action=("Answers all port mapping rules", "Bridge", "Backend"),
)
CHINESE = Words(
    language="zh-Hans",
    found=("发现网桥", "主题 fleet2mqtt 下有一个 fleet2mqtt 网桥。"),
    health="fleet2mqtt 健康状况",
    figures=(("连接", "已连接"), ("当前紧急告警", ""), ("最早待发告警时长", "0 s")),
    alarm=(("最近告警", ALARM), ("最近告警级别", "major"), ("连接状态", "已连接")),
    channel=(("信号强度", "-30 dBm"), ("往返时延", "100 ms"), ("运营商", "CMCC")),
    switch="启用",
    action=("返回智能网关后端的全部端口映射规则", "网桥", "后端"),
)


@dataclass(frozen=True, slots=True)
class Desk:
    """A user at a browser, and the fleet."""

    hass: Hass
    page: Frontend
    fleet: Fleet
    bridge: str
    """Its identity."""
    words: Words
    folder: Path

    async def picture(self, name: str) -> None:
        """Keep what is shown; in the documents, too, if they have such a picture and it is to be renewed."""
        path = self.folder / f"{name}-{self.words.language}.png"
        await self.page.picture(path)
        if os.environ.get("FLEET2MQTT_PICTURES") and (IMAGES / path.name).exists():
            shutil.copy(path, IMAGES)
        head = path.read_bytes()[:24]
        assert (head[:8], head[16:20], head[20:]) == (b"\x89PNG\r\n\x1a\n", WIDTH.to_bytes(4), HEIGHT.to_bytes(4))

    async def open_device(self, domain: str, identifier: str) -> None:
        """The page of a device once it is there."""

        async def device() -> str | None:
            listed = await self.hass.devices()
            return next((each["id"] for each in listed if [domain, identifier] in each["identifiers"]), None)

        id_ = await wait_for_answer(device, f"the device {identifier}")
        await self.page.open(f"/config/devices/device/{id_}")

    async def set_up(self) -> dict[str, Any]:
        """Add what was found, by clicking; answers the entry."""
        await self.page.open("/config/integrations/dashboard")
        await self.page.part("ha-config-flow-card ha-button").click()
        await self.page.reads(*self.words.found)
        await self.picture("found")
        await self.page.part("step-flow-form mwc-button").click()
        await self.page.reads(self.words.health, within="step-flow-create-entry")
        await self.page.part("step-flow-create-entry mwc-button").click()
        await self.page.reads(DOMAIN, __version__)  # the integration's page, where that leads
        (entry,) = await self.hass.ws("config_entries/get", domain=DOMAIN)
        assert entry["state"] == "loaded"
        found: dict[str, Any] = entry
        return found

    async def look_at_health(self) -> None:
        """The integration's own device, as the integration names it."""
        await self.open_device(DOMAIN, self.bridge)
        await self.page.reads(self.words.health)
        await self.page.shows(*self.words.figures)
        await self.picture("health")

    async def look_at_an_alarm(self) -> None:
        """A gateway whose vendor has just raised an alarm."""
        await self.open_device("mqtt", f"fleet2mqtt_{GATEWAY}")
        await self.page.shows(self.words.alarm[-1])
        await self.fleet.steer("ums", "alarm", {"mac": MAC, "level": "warning", "desc": ALARM})
        await self.page.shows(*self.words.alarm)
        await self.page.reads("major", within="hui-event-entity-row")
        await self.picture("alarm")

    async def switch_a_channel(self) -> None:
        """Click on a switch; wait until the vendor has the value and the page shows it."""
        await self.open_device("mqtt", f"fleet2mqtt_{CHANNEL}")
        await self.page.shows(*self.words.channel)
        switch = self.page.part("hui-toggle-entity-row", self.words.switch).locator("ha-switch")
        await switch.click()
        await self.hass.wait_state(f"switch.{CHANNEL}_enable", lambda state: state["state"] == "on")
        await switch.locator("input:checked").wait_for(state="attached")
        channels = (await self.fleet.vendor_state("smart_gateway"))["gateways"]["172DE6AC9832DE"]["channel"]
        assert channels["0"]["enable"] == 1
        await self.picture("channel")

    async def perform_an_action(self, entry: dict[str, Any]) -> None:
        """An action in the editor, which shows what the vendor answers."""
        action = {"action": f"{DOMAIN}.mapping_list", "data": {"config_entry_id": entry["entry_id"]}}
        await self.page.remember(**{"panel-dev-action-state-service-data": action})
        await self.page.open("/developer-tools/action")
        await self.page.reads(*self.words.action, within="developer-tools-action")
        await self.page.part("developer-tools-action ha-progress-button").click()
        await self.page.reads("NMS_TCPPort", within="developer-tools-action ha-card")
        await self.picture("action")


@asynccontextmanager
async def only_bridge(hass: Hass, broker: Broker) -> AsyncIterator[str]:
    """Of all bridges that Home Assistant ever found only the one that runs; in the end it is not set up."""

    async def said() -> str | None:
        retained = await broker.retained(INFO)
        return retained[INFO].json["id"] if INFO in retained else None

    async def found() -> list[dict[str, Any]] | None:
        flows = [flow for flow in await hass.ws("config_entries/flow/progress") if flow["handler"] == DOMAIN]
        return flows if any(flow["context"].get("unique_id") == bridge for flow in flows) else None

    bridge = await wait_for_answer(said, "the bridge to say who it is")
    for flow in await wait_for_answer(found, "the bridge to be found"):
        if flow["context"].get("unique_id") != bridge:
            await hass.rest("DELETE", f"/api/config/config_entries/flow/{flow['flow_id']}")
    try:
        yield bridge
    finally:
        for entry in await hass.ws("config_entries/get", domain=DOMAIN):
            await hass.rest("DELETE", f"/api/config/config_entries/entry/{entry['entry_id']}")


async def renamed(hass: Hass, broker: Broker, words: Words) -> None:
    """Have Home Assistant take the names anew, which it keeps as they were first: tests before had another language.

    Returns when it is subscribed again to what is not retained.
    """

    async def announced() -> bool:
        retained = await broker.retained("homeassistant/device/+/config")
        found = {
            component["name"] for each in retained.values() for component in each.json.get("components", {}).values()
        }
        return found >= {name for name, _ in (*words.alarm, *words.channel)}

    await wait_for_answer(announced, "everything to be announced")
    (entry,) = await hass.ws("config_entries/get", domain="mqtt")
    begin = len(broker.log())
    await hass.rest("POST", f"/api/config/config_entries/entry/{entry['entry_id']}/reload")
    events = f"\tfleet2mqtt/alarm/event/+/{GATEWAY} (QoS"
    await wait_until(lambda: events in broker.log()[begin:], "the alarms to be subscribed to")


@pytest.mark.parametrize("words", [ENGLISH, CHINESE], ids=lambda words: words.language)
async def test_integration_from_discovery_to_use(hass: Hass, hass_broker: Broker, words: Words, tmp_path: Path) -> None:
    before = (await hass.rest("GET", "/api/config"))["language"]
    await hass.ws("config/core/update", language=words.language)
    await hass_broker.publish(INFO, "", retain=True)  # what the bridge of another test has left
    try:
        async with (
            fleet(hass_broker, tmp_path, words.language) as running,
            only_bridge(hass, hass_broker) as bridge,
            frontend(hass, tmp_path / "profile", words.language) as page,
        ):
            await renamed(hass, hass_broker, words)
            desk = Desk(hass, page, running, bridge, words, tmp_path)
            entry = await desk.set_up()
            await desk.look_at_health()
            await desk.look_at_an_alarm()
            await desk.switch_a_channel()
            await desk.perform_an_action(entry)
            assert page.errors == []
    finally:
        await hass.ws("config/core/update", language=before)
