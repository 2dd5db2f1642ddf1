"""When one device's fault should not cost the others their turn."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.errors import Ambiguous, BackendError, Busy, Denied, Unreachable

_EVERYONES = (Busy, Denied, Unreachable)
_SILENT = 3


@dataclass(slots=True)
class Failures:
    """The faults within one poll that asks device after device."""

    answered: int = 0
    silent: int = 0
    last: BackendError | None = None

    def ok(self) -> None:
        """A device was answered for."""
        self.answered += 1
        self.silent = 0

    def skip(self, error: BackendError) -> None:
        """Go on with the next device; raise `error` where it would meet the same: the whole system is at fault."""
        self.silent = self.silent + 1 if isinstance(error, Ambiguous) else 0
        if isinstance(error, _EVERYONES) or self.silent >= _SILENT:
            raise error
        self.last = error

    def close(self) -> None:
        """Raise the last fault if there was nothing else."""
        if self.last is not None and not self.answered:
            raise self.last
