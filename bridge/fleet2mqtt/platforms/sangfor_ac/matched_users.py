"""Matched users: online users that patterns of the option `watch` match, and that are watched from then on."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from fnmatch import fnmatchcase

_LOG = logging.getLogger(__name__)

KEPT = timedelta(days=30)
"""Time for which a matched user that is not online stays watched."""
_WILDCARDS = re.compile(r"\[[^]]*\]|[*?\[\]]")


def is_pattern(name: str) -> bool:
    """Return True for a name of the option `watch.users` that is a pattern."""
    return any(wildcard in name for wildcard in "*?[")


def literal_part(pattern: str) -> str:
    """Return the longest part of a pattern without wildcards, "" if there is none; the AC is searched by it."""
    return max(_WILDCARDS.split(pattern), key=len)


@dataclass(slots=True, kw_only=True)
class MatchedUsers:
    """The users of one AC that `patterns` matched, compared without case; `limit` is their largest number.

    They are saved with the day on which each was last online, so that a user who is offline at a restart stays. One
    that has not been online for `KEPT` makes room for others.
    """

    backend: str
    patterns: tuple[str, ...]
    limit: int
    _days: dict[str, date] = field(default_factory=dict)
    _is_logged: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The users, in the order in which they were first seen."""
        return tuple(self._days)

    def load(self, text: str | None) -> None:
        """Restore the users from the text of `dump`; those that no pattern matches any more are left out."""
        saved: dict[str, str] = json.loads(text) if text else {}
        kept = [name for name in saved if self.matches(name)][: self.limit]
        self._days = {name: date.fromisoformat(saved[name]) for name in kept}

    def dump(self) -> str:
        """Return the users as text."""
        return json.dumps({name: day.isoformat() for name, day in self._days.items()}, ensure_ascii=False)

    def matches(self, name: str) -> bool:
        """Return True if a pattern matches a name."""
        return any(fnmatchcase(name.casefold(), pattern.casefold()) for pattern in self.patterns)

    def apply(self, online: Iterable[str], today: date, selects: Callable[[str], bool]) -> frozenset[str] | None:
        """Apply the names of online users; return the names that are not watched any more, None if nothing changed."""
        before, omitted = dict(self._days), 0
        seen = [name for name in dict.fromkeys(online) if self.matches(name)]
        self._days = {name: day for name, day in self._days.items() if name in seen or today - day <= KEPT}
        for name in seen:
            if name in self._days:
                self._days[name] = max(today, self._days[name])
            elif selects(name):
                if len(self._days) < self.limit:
                    self._days[name] = today
                else:
                    omitted += 1
        self._log_omitted(omitted)
        return None if self._days == before else frozenset(before) - self._days.keys()

    def _log_omitted(self, omitted: int) -> None:
        if omitted and not self._is_logged:
            message = "%s: %d online users match watch.users beyond the limit of %d and are not watched: raise %s"
            _LOG.warning(message, self.backend, omitted, self.limit, "watch.max_users, or narrow the patterns")
        self._is_logged = omitted > 0
