"""Home Assistant's frontend in a real Chromium: what a user reads there, clicks, and takes pictures of.

    async with frontend(hass, tmp_path, "zh-Hans") as page:
        await page.open("/config/integrations/dashboard")
        await page.reads("fleet2mqtt")

It is the system's Chromium, which scripts/setup installed, without a window, on an empty profile. It reaches nothing
but this Home Assistant.
"""

from __future__ import annotations

import json
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from playwright.async_api import Error, Locator, Page, Route, async_playwright

from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.homeassistant.hass import Hass

WIDTH, HEIGHT = 1000, 960
FAR_AWAY = 4_102_444_800  # the year 2100: the frontend does not ask for another token until then
FORMATS = {"number_format": "language", "time_format": "24", "date_format": "language", "first_weekday": "language"}
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
# As the frontend itself does when a link is clicked; loading it anew takes seconds.
NAVIGATE = """path => {
    history.pushState(null, "", path);
    window.dispatchEvent(new CustomEvent("location-changed", {detail: {replace: false}}));
}"""
REMEMBER = "kept => Object.entries(kept).forEach(([key, value]) => localStorage.setItem(key, value))"
PAINTED = "() => document.fonts.ready.then(() => new Promise(done => requestAnimationFrame(done)))"


@dataclass(frozen=True, slots=True)
class Frontend:
    """An administrator's browser. What does not come in time raises playwright's TimeoutError, which names it."""

    page: Page
    errors: list[str] = field(default_factory=list)
    """What the frontend's own code raised."""

    async def open(self, path: str) -> None:
        """Go to a path of the frontend."""
        await self.page.evaluate(NAVIGATE, path)

    def part(self, selector: str, *texts: str) -> Locator:
        """The first element that fits, is shown and has all the texts; in whatever shadow root."""
        found = self.page.locator(selector).filter(visible=True)
        for text in texts:
            found = found.filter(has_text=text)
        return found.first

    async def reads(self, *texts: str, within: str = "home-assistant") -> None:
        """Wait until each of these is to be read."""
        for text in texts:
            await self.page.locator(within).get_by_text(text).filter(visible=True).first.wait_for()

    async def shows(self, *rows: tuple[str, str]) -> None:
        """Wait for entities, each with its name and its value, in a card."""
        for row in rows:
            await self.part("hui-generic-entity-row", *row).wait_for()

    async def picture(self, path: Path) -> None:
        """Take a picture of the page as a PNG, once nothing is being loaded."""
        rows = self.page.locator("hui-generic-entity-row").filter(visible=True)
        await rows.filter(has_not=self.page.locator("svg path[d]")).first.wait_for(state="hidden")
        await self.part("ha-spinner, ha-circular-progress").wait_for(state="hidden")
        await self.page.evaluate(PAINTED)
        await self.page.screenshot(path=path, animations="disabled", caret="hide")

    async def remember(self, **kept: object) -> None:
        """Put what a page remembers into the browser's storage."""
        await self.page.evaluate(REMEMBER, {key: json.dumps(value) for key, value in kept.items()})


@asynccontextmanager
async def frontend(hass: Hass, profile: Path, language: str) -> AsyncIterator[Frontend]:
    """The frontend of a running Home Assistant in one of its languages, logged in, without its menu."""
    # The language is the user's, not the browser's, as soon as one was used.
    await hass.ws("frontend/set_user_data", key="language", value={"language": language, **FORMATS})
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            profile,
            executable_path=chromium(),
            args=[*ARGUMENTS],
            viewport={"width": WIDTH, "height": HEIGHT},
            locale=language,
            timezone_id="UTC",
            service_workers="block",
            reduced_motion="reduce",
        )
        try:
            context.set_default_timeout(PATIENCE * 1000)
            await context.route(lambda url: not url.startswith(hass.url), refuse)
            page = Frontend(context.pages[0])
            page.page.on("pageerror", lambda error: page.errors.append(str(error)))
            # Of the same origin, and none of the frontend's code runs there yet.
            await page.page.goto(f"{hass.url}/manifest.json")
            await page.remember(hassTokens=tokens(hass), dockedSidebar="always_hidden")
            await page.page.goto(f"{hass.url}/profile", wait_until="domcontentloaded")
            await page.part("home-assistant-main").wait_for(state="attached")
            yield page
        except Error:
            await page.page.screenshot(path=profile.with_name("failed.png"))
            raise
        finally:
            await context.close()


def tokens(hass: Hass) -> dict[str, object]:
    """Return the tokens as the frontend stores them after a login."""
    return {
        "hassUrl": hass.url,
        "clientId": f"{hass.url}/",
        "access_token": hass.token,
        "refresh_token": "",
        "token_type": "Bearer",
        "expires_in": FAR_AWAY,
        "expires": FAR_AWAY * 1000,
    }


def chromium() -> str:
    """Return the path of the system's Chromium, by one of its names."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        raise FileNotFoundError("the tests need Chromium: run scripts/setup test")
    return path


async def refuse(route: Route) -> None:
    """Brands' images, for instance, are somewhere else."""
    await route.abort()
