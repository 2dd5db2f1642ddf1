"""The page in a real Chromium: in both languages, at three widths, and checked by axe.

`FLEET2MQTT_PICTURES=DIRECTORY` keeps a picture of each view.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import async_playwright, expect

from fleet2mqtt.alarms.maintenance import Selector, new_window
from fleet2mqtt.alarms.manager import Operator
from fleet2mqtt.devices.model import Severity, UpdateOrigin
from fleet2mqtt.devices.selection import Rule
from fleet2mqtt.web.stream import Streams
from tests.homeassistant.browser import ARGUMENTS, chromium
from tests.sample_alarms import alarm
from tests.waiting import PATIENCE
from tests.web.web_bench import CLUSTER, Bench, Vendor, bench, device

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

WIDTHS = (360, 768, 1280)
LANGUAGES = ("en", "zh-Hans")
GATEWAY = "hq_0002"
OVERFLOW = """() => [document.documentElement, ...document.querySelectorAll("section")]
    .filter(part => part.scrollWidth > part.clientWidth).map(part => part.textContent)"""
BROKEN = """() => [...document.querySelectorAll(".summary td a")]
    .filter(word => word.getClientRects().length > 1).map(word => word.textContent)"""
pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def patient() -> None:
    expect.set_options(timeout=PATIENCE * 1000)


def fleet() -> Vendor:
    long = (
        "A gateway with a name that is much longer than a column of the page would like to have it 总部语音网关一号楼"
    )
    gateways = [device(1, name="Branch 10"), device(2, name="Branch 2"), device(3, name=long, available=False)]
    lines = [device(n, name=f"Line {n - 10}", via=GATEWAY, kind="line", model=None) for n in range(11, 23)]
    return Vendor("hq", devices=(*gateways, *lines))


async def with_alarms(parts: Bench, vendor: Vendor) -> None:
    """Active alarms of each severity, one acknowledged and one shelved; one has ended, and one has no end."""
    moment = datetime(2026, 11, 28, 22, 0, tzinfo=UTC)
    alarms = [
        alarm(
            n, device=GATEWAY, severity=severity, active=True, alarm_key=f"condition_{severity}", raised_at=moment,
            name=f"condition_{severity}", description=f"{severity}：线路注册失败", source=UpdateOrigin.CONDITION,
            description_en=f"{severity}: line registration failed", line="4",
        )
        for n, severity in enumerate(Severity, 1)
        if severity is not Severity.CLEARED
    ]  # fmt: skip
    over = alarm(20, device=GATEWAY, active=True, alarm_key="over", raised_at=moment, name="gateway_offline")
    ended = alarm(
        21, device=GATEWAY, active=True, alarm_key="over", cleared=True, raised_at=moment, name="gateway_offline"
    )
    await parts.hub.accept(vendor.update(alarms=(*alarms, over, alarm(30, device="hq_0001", raised_at=moment))))
    await parts.hub.accept(vendor.update(alarms=(ended,)))
    await parts.alarms.acknowledge(await parts.alarms.find(event="hq:2"), Operator(name="Li Wei"))
    later = datetime.now(UTC) + timedelta(hours=2)
    await parts.alarms.shelve(await parts.alarms.find(event="hq:3"), later, Operator(name="Ana"))
    now, day = datetime.now(UTC), timedelta(days=1)
    branches = Selector(rule=Rule(name="Branch 1*"))
    for each in (
        new_window(selector=Selector(device="hq_0001"), start=now, end=None, operator="Li Wei", text="new cables"),
        new_window(
            selector=branches,
            start=now + day,
            end=now + 2 * day,
            recurrence="FREQ=WEEKLY;BYDAY=SA",
            time_zone="Asia/Shanghai",
        ),
    ):
        await parts.windows.add(each)


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=chromium(), args=[*ARGUMENTS])
        try:
            yield running
        finally:
            await running.close()


@asynccontextmanager
async def opened(running: Browser, language: str, width: int = 1280, expected: str = "\n") -> AsyncIterator[Page]:
    """A page; its errors, those of its content security policy included, fail the test unless they are `expected`."""
    errors = list[str]()
    context = await running.new_context(viewport={"width": width, "height": 900}, locale=language, timezone_id="UTC")
    context.set_default_timeout(PATIENCE * 1000)
    page = await context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    await context.close()
    assert [error for error in errors if expected not in error] == []


def url(parts: Bench, path: str) -> str:
    return str(parts.client.make_url(path))


@pytest.mark.parametrize("language", LANGUAGES)
async def test_views_are_readable_and_accessible_at_each_width(tmp_path: Path, language: str) -> None:
    vendor, axe = fleet(), Axe()
    pictures = os.environ.get("FLEET2MQTT_PICTURES")
    views = {
        "overview": ("/", "#rows tr"),
        "alarms": ("/alarms", "#alarm-rows tr"),
        "past": ("/alarms?state=past", "#alarm-rows tr"),
        "alarm": ("/alarm?id=hq:2", "#alarm-changes tr"),
        "device": (f"/device?id={GATEWAY}", "#device-past tr"),
    }
    async with bench(tmp_path, vendor, Vendor("branch")) as parts, browser() as running:
        await with_alarms(parts, vendor)
        parts.status.cluster = lambda: CLUSTER
        for width in WIDTHS:
            async with opened(running, language, width) as page:
                for name, (path, row) in views.items():
                    await page.goto(url(parts, path))
                    await page.locator(row).first.wait_for()
                    assert await page.evaluate(OVERFLOW) == [], (name, width)
                    assert await page.evaluate(BROKEN) == [], (name, width)
                    for scheme in ("dark", "light") if width == WIDTHS[-1] else ("light",):
                        await page.emulate_media(color_scheme=scheme)
                        results = await axe.run(page)
                        assert results.violations_count == 0, (name, width, scheme, results.generate_report())
                    if pictures:
                        await page.screenshot(path=Path(pictures) / f"{name}-{language}-{width}.png", full_page=True)


async def test_alarms_are_filtered_by_the_url_and_follow_changes(tmp_path: Path) -> None:
    vendor = fleet()
    async with bench(tmp_path, vendor, streams=Streams(interval=0.05)) as parts, browser() as running:
        await with_alarms(parts, vendor)
        async with opened(running, "en") as page:
            await page.goto(url(parts, "/alarms?severity=major"))
            rows = page.locator("#alarm-rows tr")
            await expect(rows).to_have_count(1)
            await expect(rows).to_contain_text("acknowledged by Li Wei")
            await page.get_by_label("Severity").select_option("critical")
            await expect(rows).to_contain_text("not acknowledged")
            assert page.url.endswith("/alarms?severity=critical")
            await parts.alarms.acknowledge(await parts.alarms.find(event="hq:1"), Operator(name="Sun"))
            await expect(rows).to_contain_text("acknowledged by Sun")
            await page.get_by_label("Search").fill("nothing like it")
            await expect(page.get_by_text("No active alarm matches.")).to_be_visible()
            await page.get_by_role("link", name="中文").click()
            await expect(page.get_by_text("没有匹配的活动告警。")).to_be_visible()
            assert "severity=critical" in page.url
            assert "lang=zh-Hans" in page.url


async def test_changes_of_an_alarm_and_maintenance_windows_are_shown(tmp_path: Path) -> None:
    vendor = fleet()
    async with bench(tmp_path, vendor, streams=Streams(interval=0.05)) as parts, browser() as running:
        await with_alarms(parts, vendor)
        async with opened(running, "en") as page:
            await page.goto(url(parts, "/alarms?severity=major"))
            windows = page.locator("#window-rows tr")
            await expect(windows).to_have_count(2)
            await expect(windows.first).to_contain_text("in maintenance")
            await expect(windows.first.get_by_role("link", name="Branch 10")).to_be_visible()
            await expect(windows.last).to_contain_text("FREQ=WEEKLY;BYDAY=SA · Asia/Shanghai")
            await parts.windows.remove(next(iter(parts.windows)).id)
            await expect(windows).to_have_count(1)

            await page.get_by_role("link", name="major: line registration failed").click()
            rows = page.locator("#alarm-changes tr")
            await expect(rows).to_have_count(2)
            await expect(rows.last).to_contain_text("acknowledged")
            await expect(rows.last).to_contain_text("Li Wei")
            await expect(page.locator("#alarm-facts")).to_contain_text("condition_major")
            record = await parts.alarms.find(event="hq:2")
            await parts.alarms.unacknowledge(record, Operator(name="Ana", text="not mine"))
            await expect(rows).to_have_count(3)
            await expect(rows.last).to_contain_text("not mine")
            await expect(page.locator("#alarm-facts")).to_contain_text("not acknowledged")
        async with opened(running, "zh-Hans", expected="404") as page:
            await page.goto(url(parts, "/alarm?id=nobody"))
            await expect(page.get_by_text("没有此告警。")).to_be_visible()


async def test_device_is_found_opened_and_followed(tmp_path: Path) -> None:
    vendor = fleet()
    async with bench(tmp_path, vendor, streams=Streams(interval=0.05)) as parts, browser() as running:
        await with_alarms(parts, vendor)
        async with opened(running, "en") as page:
            await page.goto(url(parts, "/"))
            await page.get_by_label("Name, id, MAC address, value, offline").fill("branch hq")
            await expect(page.locator("#rows tr")).to_have_count(2)
            assert "filter=branch+hq" in page.url
            await page.get_by_role("link", name="Branch 2").click()
            await expect(page.locator("#device-name")).to_have_text("Branch 2")
            await expect(page.locator("#sub-rows tr")).to_have_count(12)
            await expect(page.locator("#device-values")).to_contain_text("-70 dBm")
            await expect(page.locator("#device-past")).to_contain_text("gateway_offline")
            changed = device(2, name="Branch 2", state={"signal": -44})
            vendor.devices = (changed,)
            await parts.hub.accept(vendor.update())
            await expect(page.locator("#device-values")).to_contain_text("-44 dBm")
        async with opened(running, "en", expected="404") as page:
            await page.goto(url(parts, "/device?id=nobody"))
            await expect(page.get_by_text("There is no such device.")).to_be_visible()


async def test_page_connects_again_after_an_interruption(tmp_path: Path) -> None:
    vendor = fleet()
    streams = Streams(interval=0.05)
    async with (
        bench(tmp_path, vendor, streams=streams) as parts,
        browser() as running,
        opened(running, "en") as page,
    ):
        await page.goto(url(parts, "/"))
        await expect(page.locator("#rows tr")).to_have_count(15)
        await page.evaluate("document.getElementById('rows').replaceChildren()")
        streams.disconnect()
        await expect(page.locator("#rows tr")).to_have_count(15)
