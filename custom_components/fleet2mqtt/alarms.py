"""Alarm events on Home Assistant's bus: each once, including those that came while Home Assistant was down.

The bridge numbers its alarms (`seq`). The number last fired is kept on disk, and what came after it is read back from
the bridge: after a start, when the bridge is back, and whenever a number is missing.

A bridge that lost its outbox goes on from a much larger number and tells once more what its vendors still list; one
whose outbox came from a backup counts from a lower one. Hence what was fired is remembered by `id` and `type`, too, and
when the last was received.

An event that the bridge withheld (`suppressed`) is in what is read back, but is not fired: what of it still holds is
announced by an event of its own when suppression ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import voluptuous as vol
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.start import async_at_started
from homeassistant.helpers.storage import Store

from .const import DOMAIN, EVENT_ALARM, HISTORY_TIMEOUT, LOGGER
from .errors import failure
from .link import Link
from .models import Json, moment

Spawn = Callable[[Coroutine[Any, Any, None]], object]

PAGE = 100
REMEMBERED = 1_000
SAVE_DELAY = 1.0
VERSION = 1
RAISED = "raised"
_STATES = (RAISED, "cleared")
_OPERATED = ("acknowledged", "unacknowledged", "shelved", "unshelved", "closed")
"""Types of changes by operators."""
_PAGE = vol.Schema(
    {
        vol.Required("alarms"): [
            vol.Schema({vol.Required("seq"): int, vol.Required("id"): str}, extra=vol.ALLOW_EXTRA)
        ],
        vol.Required("more"): bool,
        vol.Required("first_seq"): int,
        vol.Required("last_seq"): int,
    },
    extra=vol.ALLOW_EXTRA,
)


def store(hass: HomeAssistant, entry_id: str) -> Store[dict[str, Any]]:
    """Return the store of the number last fired, and of the keys of events fired before."""
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
        self._fired: dict[str, None] = {}
        self._received: datetime | None = None
        self._last_key: str | None = None
        self.last: int | None = None
        """The number last fired; None before the first contact with the bridge."""

    async def load(self) -> None:
        """Load the progress from disk."""
        if known := await self._store.async_load():
            self.last = known["seq"]
            self._fired = dict.fromkeys(known.get("fired", ()))
            self._received = moment(known.get("received_at"))
            self._last_key = known.get("key")

    async def end(self) -> None:
        """Stop firing and save the progress: what comes from now on is read back later."""
        self._started = False
        if self.last is not None:
            await self._store.async_save(self._mark())

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
        """Accept an alarm that was just published."""
        seq = alarm.get("seq")
        if not isinstance(seq, int) or (self.last is not None and seq <= self.last and not self._is_new(alarm)):
            return
        if self._may_fire and not self._reading and self.last is not None and seq == self.last + 1:
            self._fire(alarm, published=True)
        else:
            self.catch_up()

    @callback
    def reached(self, seq: Any) -> None:
        """Read back if the bridge has given a higher number than the last one fired."""
        if isinstance(seq, int) and (self.last is None or seq > self.last):
            self.catch_up()

    @callback
    def catch_up(self) -> None:
        """Read back and fire what came after the last number; repeated at the bridge's next message if it fails."""
        self._wanted = True
        if self._may_fire and not self._reading:
            self._reading = True
            self._spawn(self._read())

    @property
    def _may_fire(self) -> bool:
        """True while automations run: not before Home Assistant has started, nor while it stops."""
        return self._started and not self._hass.is_stopping

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
        """Read page by page; without a last number only the newest, so that a first set-up fires nothing old."""
        if last is None:
            self._move((await self._ask(0, 1))["last_seq"])
            return
        more = True
        while more:
            page = await self._ask(max(last - 1, 0), PAGE)  # with the last, to see that the number still means it
            reached = await self._fire_page(page, last)
            more = page["more"] and reached > last
            last = reached

    async def _ask(self, after: int, limit: int) -> Json:
        arguments = {"after": after, "limit": limit}
        answer = await self._link.request(None, "alarms", arguments, HISTORY_TIMEOUT)
        if not self._may_fire:
            raise failure("not_loaded", name=DOMAIN)
        try:
            page: Json = _PAGE(answer)
        except vol.Invalid as invalid:
            raise failure("bad_answer", action="alarms", message=str(invalid)) from invalid
        return page

    async def _fire_page(self, page: Json, last: int) -> int:
        """Fire a page; return the number reached."""
        known = [_key(alarm) for alarm in page["alarms"] if alarm["seq"] == last]
        later = [alarm for alarm in page["alarms"] if alarm["seq"] > last]
        if page["last_seq"] < last or (known and self._last_key not in (None, *known)):
            LOGGER.info("the bridge numbers its alarms anew")
            await self._read_anew()
        elif later:
            for alarm in later:
                self._fire(alarm)
        else:
            self._move(max(last, page["first_seq"] - 1))
        return self.last if self.last is not None else last

    async def _read_anew(self) -> None:
        """Fire what was received since the last event that was fired: the bridge numbers anew."""
        since, reached, more = self._received, 0, self._received is not None
        while more:
            page = await self._ask(reached, PAGE)
            for alarm in page["alarms"]:
                if _is_since(since, alarm):
                    self._fire(alarm)
                reached = alarm["seq"]
            more = page["more"] and bool(page["alarms"])
        self._move(reached or (await self._ask(0, 1))["last_seq"])

    def _is_new(self, alarm: Json) -> bool:
        """Return True for an event that was not fired, whatever its number."""
        return _is_since(self._received, alarm) and _key(alarm) not in self._fired

    @callback
    def _fire(self, alarm: Json, *, published: bool = False) -> None:
        """Fire an alarm once; one from before the bridge's time only if the bridge publishes it."""
        key = _key(alarm)
        if key not in self._fired and (published or not (alarm.get("backlog") or alarm.get("suppressed"))):
            self._hass.bus.async_fire(EVENT_ALARM, _event_data(alarm))
            self._fired[key] = None
            while len(self._fired) > REMEMBERED:
                del self._fired[next(iter(self._fired))]
            self._received = moment(alarm.get("received_at")) or self._received
        self._move(alarm["seq"], key)

    @callback
    def _move(self, seq: int, key: str | None = None) -> None:
        if seq != self.last:
            self.last, self._last_key = seq, key
            self._store.async_delay_save(self._mark, SAVE_DELAY)

    def _mark(self) -> dict[str, Any]:
        received = self._received.isoformat() if self._received else None
        return {"seq": self.last, "key": self._last_key, "received_at": received, "fired": list(self._fired)}


def _key(alarm: Json) -> str:
    """Return the identity of an event: a clear has the `id` of its raise.

    A change has it as well, and may come more than once for an alarm: its number tells it from others of its type.
    """
    type_, event = alarm.get("type", RAISED), alarm.get("id")
    return f"{type_} {event}" if type_ in _STATES else f"{type_} {event} {alarm.get('seq')}"


def _event_data(alarm: Json) -> dict[str, Any]:
    """Return the data of the bus event: `severity` only where an alarm is raised, cleared or announced late.

    An automation that filters by severity alone would otherwise run again for what an operator does.
    """
    severity = alarm.get("severity")
    return {**alarm, "severity": None if alarm.get("type") in _OPERATED else severity, "alarm_severity": severity}


def _is_since(since: datetime | None, alarm: Json) -> bool:
    received = moment(alarm.get("received_at"))
    return received is not None and since is not None and received >= since
