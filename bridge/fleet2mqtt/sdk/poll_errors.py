"""Errors within one poll cycle: one failing call does not end the others."""

from __future__ import annotations

from dataclasses import dataclass

from fleet2mqtt.errors import Ambiguous, AuthenticationError, BackendError, RateLimited, Unreachable

_EVERYONES = (RateLimited, AuthenticationError, Unreachable)
_SILENT = 3


@dataclass(slots=True)
class PollErrors:
    """The errors of one poll cycle that makes one call after another."""

    answered: int = 0
    silent: int = 0
    last: BackendError | None = None

    def ok(self) -> None:
        """Record a call that succeeded."""
        self.answered += 1
        self.silent = 0

    def is_system_wide(self, error: BackendError) -> bool:
        """Record an error; return True if the next call would meet it too, because it is the system's."""
        self.last = error
        self.silent = self.silent + 1 if _is_silence(error) else 0
        return isinstance(error, _EVERYONES) or self.silent >= _SILENT

    def skip(self, error: BackendError) -> None:
        """Record an error and go on; raise it if the next call would meet it too."""
        if self.is_system_wide(error):
            raise error

    def close(self) -> None:
        """Raise the last error if no call succeeded."""
        if self.last is not None and not self.answered:
            raise self.last


def _is_silence(error: BackendError) -> bool:
    """Return True if nothing came back; a number is the vendor's own code, which did."""
    return isinstance(error, Ambiguous) and not isinstance(error.code, int)
