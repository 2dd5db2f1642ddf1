"""Alarm events on Home Assistant's bus: each once, also those that came while Home Assistant was away.

The bridge numbers its alarms (`seq`). The number last fired is kept on disk, and what came after it is read back from
the bridge: after a start, when the bridge is back, and whenever a number is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

import voluptuous as vol
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.start import async_at_started
from homeassistant.helpers.storage import Store

from .const import DOMAIN, EVENT_ALARM, HISTORY_TIMEOUT, LOGGER
from .errors import failure
from .link import Link
from .models import Json

Spawn = Callable[[Coroutine[Any, Any, None]], object]

PAGE = 100
SAVE_DELAY = 1.0
VERSION = 1
_PAGE = vol.Schema(
    {
        vol.Required("alarms"): [vol.Schema({vol.Required("seq"): int}, extra=vol.ALLOW_EXTRA)],
        vol.Required("more"): bool,
        vol.Required("first_seq"): int,
        vol.Required("last_seq"): int,
    },
    extra=vol.ALLOW_EXTRA,
)


def store(hass: HomeAssistant, entry_id: str) -> Store[dict[str, int]]:
    """Where the number last fired is kept."""
    return Store(hass, VERSION, f"{DOMAIN}.{entry_id}")


class Alarms:
    """The alarms of one bridge. A crash within a second of an alarm can fire it again, with the same `id`."""

    def __init__(self, hass: HomeAssistant, link: Link, entry_id: str, spawn: Spawn) -> None:
        self._hass = hass
        self._link = link
        self._spawn = spawn
        self._store = store(hass, entry_id)
        self._started = False
        self._reading = False
        self._wanted = False
        self._failing = False
        self.last: int | None = None
        """The number last fired; None before the first contact with the bridge."""

    async def load(self) -> None:
        """Read the number from disk."""
        known = await self._store.async_load()
        self.last = known["seq"] if known else None

    async def save(self) -> None:
        """Write the number now."""
        if self.last is not None:
            await self._store.async_save({"seq": self.last})

    @callback
    def begin(self) -> CALLBACK_TYPE:
        """Fire from now on, or from when Home Assistant has started: no automation listens earlier."""

        @callback
        def started(_: HomeAssistant) -> None:
            self._started = True
            self.catch_up()

        return async_at_started(self._hass, started)

    @callback
    def take(self, alarm: Json) -> None:
        """An alarm that was just published."""
        seq = alarm.get("seq")
        if not isinstance(seq, int) or (self.last is not None and seq <= self.last):
            return
        if self._started and not self._reading and self.last is not None and seq == self.last + 1:
            self._fire(alarm)
        else:
            self.catch_up()

    @callback
    def reached(self, seq: Any) -> None:
        """The bridge has given out numbers up to this one."""
        if isinstance(seq, int) and (self.last is None or seq > self.last):
            self.catch_up()

    @callback
    def catch_up(self) -> None:
        """Fire what came after the last number. What gets no answer is asked again with the bridge's next sign."""
        self._wanted = True
        if self._started and not self._reading:
            self._reading = True
            self._spawn(self._read())

    async def _read(self) -> None:
        try:
            while self._wanted:
                self._wanted = False
                await self._read_after(self.last)
        except HomeAssistantError as error:
            level = logging.DEBUG if self._failing else logging.INFO
            LOGGER.log(level, "the alarms after %s cannot be read yet: %s", self.last, error)
            self._failing = True
        else:
            self._failing = False
        finally:
            self._reading = False

    async def _read_after(self, last: int | None) -> None:
        """Page by page; without a last number only the newest, so that a first set-up fires nothing old."""
        if last is None:
            self._move((await self._ask(0, 1))["last_seq"])
            return
        more = True
        while more:
            page = await self._ask(last, PAGE)
            reached = self._fire_page(page, last)
            more = page["more"] and reached > last
            last = reached

    async def _ask(self, after: int, limit: int) -> Json:
        arguments = {"after": after, "limit": limit}
        answer = await self._link.request(None, "alarms", arguments, HISTORY_TIMEOUT)
        try:
            page: Json = _PAGE(answer)
        except vol.Invalid as invalid:
            raise failure("bad_answer", action="alarms", message=str(invalid)) from invalid
        return page

    @callback
    def _fire_page(self, page: Json, last: int) -> int:
        """The number reached."""
        if page["last_seq"] < last:
            LOGGER.info("the bridge numbers its alarms anew; going on after %s", page["last_seq"])
            self._move(page["last_seq"])
        elif not page["alarms"]:
            self._move(max(last, page["first_seq"] - 1))
        for alarm in page["alarms"]:
            if alarm["seq"] > last:
                self._fire(alarm)
        return self.last if self.last is not None else last

    @callback
    def _fire(self, alarm: Json) -> None:
        self._hass.bus.async_fire(EVENT_ALARM, dict(alarm))
        self._move(alarm["seq"])

    @callback
    def _move(self, seq: int) -> None:
        if seq != self.last:
            self.last = seq
            self._store.async_delay_save(lambda: {"seq": seq}, SAVE_DELAY)
