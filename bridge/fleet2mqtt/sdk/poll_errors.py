"""When the fault of one should not cost the others their turn."""

from __future__ import annotations

from dataclasses import dataclass

from fleet2mqtt.errors import Ambiguous, AuthenticationError, BackendError, RateLimited, Unreachable

_EVERYONES = (RateLimited, AuthenticationError, Unreachable)
_SILENT = 3


@dataclass(slots=True)
class PollErrors:
    """The faults within one poll that asks for one thing after another."""

    answered: int = 0
    silent: int = 0
    last: BackendError | None = None

    def ok(self) -> None:
        """One was answered for."""
        self.answered += 1
        self.silent = 0

    def is_system_wide(self, error: BackendError) -> bool:
        """Take in a fault; gives whether the next would meet it too, because the whole system is at fault."""
        self.last = error
        self.silent = self.silent + 1 if _is_silence(error) else 0
        return isinstance(error, _EVERYONES) or self.silent >= _SILENT

    def skip(self, error: BackendError) -> None:
        """Go on with the next; raise `error` where that would meet it too."""
        if self.is_system_wide(error):
            raise error

    def close(self) -> None:
        """Raise the last fault if there was nothing else."""
        if self.last is not None and not self.answered:
            raise self.last


def _is_silence(error: BackendError) -> bool:
    """A number is the vendor's own code: it did answer, if not whether it was carried out."""
    return isinstance(error, Ambiguous) and not isinstance(error.code, int)
