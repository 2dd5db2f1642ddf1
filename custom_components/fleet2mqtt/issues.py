"""Repair issues of a bridge; each is deleted when its cause is gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.event import async_call_later
from homeassistant.loader import async_get_integration

from .const import CONF_OFFLINE_AFTER, DEFAULT_OFFLINE_AFTER, DOCUMENTATION, DOMAIN
from .models import Json, Snapshot, figure

OUTBOX_DEPTH = 1_000
OUTBOX_AGE = 15 * 60
DENIED = "denied"
DEAD_LETTERS = "dead_letters"
OFFLINE = "bridge_offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One repair issue; `about` distinguishes issues of the same kind."""

    kind: str
    about: str = ""
    severity: ir.IssueSeverity = ir.IssueSeverity.ERROR
    placeholders: Mapping[str, str]

    @property
    def fixable(self) -> bool:
        return self.kind == DEAD_LETTERS


def offline_after(entry: ConfigEntry[Any]) -> timedelta:
    """Return the time after which an offline bridge is a repair issue."""
    chosen = entry.options.get(CONF_OFFLINE_AFTER)
    return timedelta(**chosen) if chosen else DEFAULT_OFFLINE_AFTER


class Issues:
    """The issues of one bridge."""

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
        self._hass = hass
        self._entry = entry
        self._version = ""
        self._raised: dict[str, Issue] = {}
        self._snapshot = Snapshot()
        self._timer: CALLBACK_TYPE | None = None
        self._overdue = False

    async def load(self) -> None:
        """Load this integration's own version."""
        self._version = str((await async_get_integration(self._hass, DOMAIN)).version)

    @callback
    def review(self, snapshot: Snapshot) -> None:
        """Create and delete issues by a snapshot."""
        self._snapshot = snapshot
        self._watch_absence(absent=snapshot.connected and snapshot.online is False)
        found = {self._id(issue): issue for issue in self._find(snapshot)}
        for id_ in self._raised.keys() - found.keys():
            ir.async_delete_issue(self._hass, DOMAIN, id_)
        for id_, issue in found.items():
            if self._raised.get(id_) != issue:
                self._create(id_, issue)
        self._raised = found

    @callback
    def clear(self) -> None:
        """Delete all issues."""
        self.review(Snapshot())

    def _find(self, snapshot: Snapshot) -> Iterator[Issue]:
        name = {"name": self._entry.title}
        if self._overdue:
            yield Issue(kind=OFFLINE, placeholders={**name, "time": str(offline_after(self._entry))})
        if snapshot.info is not None and not compatible(self._version, snapshot.info.version):
            versions = {"bridge": snapshot.info.version, "integration": self._version}
            yield Issue(kind="version_mismatch", severity=ir.IssueSeverity.WARNING, placeholders={**name, **versions})
        if snapshot.reachable:
            yield from _of_health(name, snapshot.health)
            yield from (
                Issue(kind="wrong_credentials", about=f"_{backend}", placeholders={**name, "backend": backend, **said})
                for backend, health in sorted(snapshot.backends.items())
                if (said := denied(health)) is not None
            )

    def _watch_absence(self, *, absent: bool) -> None:
        if not absent:
            self._overdue = False
            if self._timer is not None:
                self._timer()
                self._timer = None
        elif self._timer is None and not self._overdue:
            self._timer = async_call_later(self._hass, offline_after(self._entry), self._is_overdue)

    @callback
    def _is_overdue(self, _: datetime) -> None:
        self._timer = None
        self._overdue = True
        self.review(self._snapshot)

    def _id(self, issue: Issue) -> str:
        return f"{issue.kind}_{self._entry.entry_id}{issue.about}"

    def _create(self, id_: str, issue: Issue) -> None:
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            id_,
            data={"entry_id": self._entry.entry_id},
            is_fixable=issue.fixable,
            learn_more_url=f"{DOCUMENTATION}#{issue.kind.replace('_', '-')}",
            severity=issue.severity,
            translation_key=issue.kind,
            translation_placeholders=dict(issue.placeholders),
        )


def _of_health(name: Mapping[str, str], health: Json | None) -> Iterator[Issue]:
    depth, age = figure(health, "outbox", "depth") or 0, figure(health, "outbox", "oldest_age") or 0
    if depth >= OUTBOX_DEPTH or age >= OUTBOX_AGE:
        filling = {"depth": str(depth), "minutes": str(age // 60)}
        yield Issue(kind="outbox_filling", severity=ir.IssueSeverity.WARNING, placeholders={**name, **filling})
    if letters := figure(health, "dead_letters"):
        yield Issue(kind=DEAD_LETTERS, severity=ir.IssueSeverity.WARNING, placeholders={**name, "count": str(letters)})


def denied(health: Json) -> dict[str, str] | None:
    """Return the vendor's text if an authentication error stands at any source of the backend."""
    sources = health.get("sources")
    named = sources.values() if isinstance(sources, dict) else ()
    errors = [health.get("error"), *(source.get("error") for source in named if isinstance(source, dict))]
    for error in errors:
        if isinstance(error, dict) and error.get("class") == DENIED:
            return {"text": str(error.get("text", ""))}
    return None


def compatible(mine: str, theirs: str) -> bool:
    """Return True if two versions have the same first number that is not 0 (semantic versioning)."""

    def promise(version: str) -> list[str]:
        numbers = version.split(".")
        return numbers[:2] if numbers[0] == "0" else numbers[:1]

    return promise(mine) == promise(theirs)
