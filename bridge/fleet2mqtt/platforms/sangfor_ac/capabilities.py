"""Calls that a system does not have (a BBC centre, old firmware): left out, and tried again once in a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from fleet2mqtt.errors import BackendError
from fleet2mqtt.platforms.sangfor_ac.transport import is_missing
from fleet2mqtt.sdk.poll_errors import PollErrors

_LOG = logging.getLogger(__name__)

RETRY = 3600.0
"""Seconds until a call that is missing is tried again."""

Answer = TypeVar("Answer")


@dataclass(slots=True, kw_only=True)
class Features:
    """Which calls the system of a backend lacks. `heard` says that it is an AC at all: it answered something."""

    backend: str
    clock: Callable[[], float] = time.monotonic
    heard: bool = False
    _until: dict[str, float] = field(default_factory=dict)
    _failing: set[str] = field(default_factory=set)

    def off(self, name: str) -> bool:
        """Whether this call is missing and not yet to be tried again."""
        return self.clock() < self._until.get(name, float("-inf"))

    def have(self, name: str) -> None:
        """This call was answered."""
        self.heard = True
        if self._until.pop(name, None) is not None or name in self._failing:
            self._failing.discard(name)
            _LOG.info("%s answers %s now", self.backend, name)

    def lack(self, errors: Mapping[str, BackendError]) -> None:
        """These calls are missing. Says so once."""
        new = [name for name in errors if name not in self._until]
        self._until |= dict.fromkeys(errors, self.clock() + RETRY)
        if new:
            why = errors[new[0]]
            _LOG.warning("%s does without %s, which it does not have: %s", self.backend, ", ".join(new), why)

    def fail(self, errors: Mapping[str, BackendError]) -> None:
        """These calls fail while others are answered. Says so once."""
        for name in errors.keys() - self._failing:
            self._failing.add(name)
            _LOG.warning("%s fails at %s: %s", self.backend, name, errors[name])

    def doubt(self) -> None:
        """Nothing answers: it may be no AC at all, or not now, and lacks nothing for good."""
        self.heard = False
        self._until.clear()


@dataclass(slots=True)
class Round:
    """One turn of a source: several calls, of which some may be missing, and some may fail without harm to others."""

    features: Features
    whole: bool = True
    missing: dict[str, BackendError] = field(default_factory=dict)
    faults: dict[str, BackendError] = field(default_factory=dict)
    _failures: PollErrors = field(default_factory=PollErrors)

    @property
    def answered(self) -> int:
        """How many calls were answered."""
        return self._failures.answered

    async def ask(self, name: str, call: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """What a call answers; None where it is missing or tells nothing. Raises what the others would meet too."""
        if name in self.missing or self.features.off(name):
            self.whole = False
            return None
        try:
            answer = await call()
        except BackendError as error:
            self.whole = False
            self._failed(name, error)
            return None
        self._failures.ok()
        self.features.have(name)
        return answer

    def _failed(self, name: str, error: BackendError) -> None:
        if is_missing(error):
            self.missing[name] = error
            return
        self._failures.skip(error)
        self.faults[name] = error

    def close(self) -> None:
        """End the turn. Raises a fault if there was nothing else."""
        if self.missing and not self.features.heard:
            raise next(iter(self.missing.values()))
        self.features.lack(self.missing)
        if self.faults and not self.answered:
            raise next(iter(self.faults.values()))
        self.features.fail(self.faults)
