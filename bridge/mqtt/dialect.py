"""Which MQTT to speak to a broker, learnt from how it answers and kept as long as the process lives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bridge.errors import Disconnected

_SILENT_ENOUGH = 2
_UNSUPPORTED_VERSION = 0x84


class Cause(StrEnum):
    """Why a connection could not be made, or ended."""

    UNREACHABLE = "unreachable"  # nobody there
    SILENT = "silent"  # closed in place of an answer, or none came
    REFUSED = "refused"  # CONNACK says no
    NO_IDENTIFIERS = "no_identifiers"  # the broker has MQTT 5, without subscription identifiers
    CLOSED = "closed"
    TAKEN_OVER = "taken_over"  # another client came with our client id
    DEAD = "dead"  # no answer to a ping
    LEFT = "left"  # we closed it


class LinkError(Disconnected):
    """A connection that could not be made, or ended; `code` is the broker's MQTT 5 reason code, 0 for none."""

    def __init__(self, cause: Cause, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.cause = cause
        self.code = code


class Version(StrEnum):
    """MQTT as the configuration names it."""

    V5 = "5"
    V311 = "3.1.1"


@dataclass(slots=True)
class Dialect:
    """`identifiers`: whether the broker marks messages with the subscription that they come by (MQTT 5)."""

    version: Version
    negotiable: bool
    identifiers: bool = True
    _proven: bool = False
    _silent: int = 0

    @classmethod
    def of(cls, protocol: str) -> Dialect:
        """For the configured `protocol`: "auto", "5" or "3.1.1"."""
        auto = protocol == "auto"
        return cls(Version.V5 if auto else Version(protocol), auto)

    def prove(self) -> None:
        """It was understood."""
        self._proven = True

    def learn(self, error: LinkError) -> bool:
        """Whether to try again at once, in another way."""
        if error.cause is Cause.NO_IDENTIFIERS:
            self.identifiers = False
            return True
        if not self.negotiable:
            return False
        if error.code == _UNSUPPORTED_VERSION and self.version is Version.V5:
            self.version = Version.V311
            return True
        if error.cause is Cause.SILENT and not self._proven:
            self._silent += 1
            if self._silent % _SILENT_ENOUGH == 0:
                # Back again if that does not help either: a proxy whose broker is down closes just like that.
                self.version = Version.V311 if self.version is Version.V5 else Version.V5
        return False
