"""Every exception of the bridge, grouped by who has to handle it.

BridgeError
├── ConfigError             the operator's configuration; ends the process with exit code 2
├── BackendError            a vendor call went wrong; loops catch this and nothing wider
│   ├── Unreachable         nothing was sent: a retry cannot do harm
│   ├── Ambiguous           it was sent and no answer came: only a read-back tells whether it was carried out
│   ├── BadReply            an answer came that is not the vendor's API (HTML, half a JSON, wrong types)
│   ├── Rejected            the vendor said no, with its code and text
│   │   └── Busy            … for now: back off and try again
│   └── Denied              credentials, whitelist or token: no retry helps until someone acts
├── CommandError            what a set or a request asked for cannot be tried; nothing was sent
├── OutboxError             the alarm is not on disk
│   └── OutboxFull          … because the bound is reached
└── MqttError               a message did not reach the broker
    ├── Disconnected        … because there is no connection; sent again after the next one
    └── Refused             … and never will: too large, or refused by the broker
"""

from __future__ import annotations

from typing import Any


class BridgeError(Exception):
    """Anything the bridge itself raises."""


class ConfigError(BridgeError):
    """Faults of the configuration, each as `file:line: path: what is wrong, what is allowed`."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class BackendError(BridgeError):
    """A vendor call failed. `code` is the vendor's own, or a lower snake case word for what failed here.

    `data` is what a program can act on beside the code, as JSON has it: which parts failed, for instance.
    """

    def __init__(self, message: str, *, endpoint: str = "", code: int | str | None = None, data: Any = None) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.code = code
        self.data = data

    @property
    def kind(self) -> str:
        """The class as lower snake case, for health and results."""
        return "".join("_" + c.lower() if c.isupper() else c for c in type(self).__name__).lstrip("_")


class Unreachable(BackendError):
    """The connection could not be made; nothing was sent."""


class Ambiguous(BackendError):
    """The request was sent and no whole answer came back."""


class BadReply(BackendError):
    """The answer is not what the vendor's document describes."""


class Rejected(BackendError):
    """The vendor refused; `code` and the message are the vendor's."""


class Busy(Rejected):
    """The vendor refused for now."""


class Denied(BackendError):
    """The vendor does not let us in: wrong credentials, not on its whitelist, account locked."""


class CommandError(BridgeError):
    """A command that cannot be tried; `code` is a lower snake case word a program can act on."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class OutboxError(BridgeError):
    """An alarm could not be written to disk."""


class OutboxFull(OutboxError):
    """The outbox holds as much as it may."""


class MqttError(BridgeError):
    """A message did not reach the broker."""


class Disconnected(MqttError):
    """There is no connection to the broker, or it went before the acknowledgement."""


class Refused(MqttError):
    """The broker will not take this message; `reason` is a lower snake case word for the dropped counter."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
