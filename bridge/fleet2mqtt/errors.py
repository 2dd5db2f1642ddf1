"""Every exception of the bridge, grouped by who has to handle it.

BridgeError
├── ConfigError             the operator's configuration; ends the process with exit code 2
├── BackendError            a vendor call went wrong; loops catch this and nothing wider
│   ├── Unreachable         nothing was sent: a retry cannot do harm
│   ├── Ambiguous           it was sent and no answer came: only a read-back tells whether it was carried out
│   ├── InvalidResponse     an answer came that is not the vendor's API (HTML, half a JSON, wrong types)
│   ├── Rejected            the vendor rejected it, with its code and text
│   │   └── RateLimited     … for now: back off and try again
│   ├── Unconfirmed         the vendor accepted a write whose effect cannot be confirmed
│   └── AuthenticationError credentials, whitelist or token: no retry helps until someone acts
├── CommandError            what a set or a request asked for cannot be tried; nothing was sent
├── LeaseLost               another node of the cluster runs the unit now
├── OutboxError             the alarm is not on disk
│   ├── OutboxFull          … because the bound is reached
│   └── OutboxFenced        … because another node has taken the unit over
└── MqttError               a message did not reach the broker
    ├── Disconnected        … because there is no connection; sent again after the next one
    └── Refused             … because it is too large, or the broker refuses it
"""

from __future__ import annotations

from typing import Any, ClassVar


class BridgeError(Exception):
    """Base of all errors that the bridge raises."""


class ConfigError(BridgeError):
    """Problems of the configuration, each as `file:line: path: what is wrong, what is allowed`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class BackendError(BridgeError):
    """A vendor call failed. `code` is the vendor's own, or a lower snake case name of ours.

    `data` is JSON for programs beside the code: which parts failed, for instance.
    `kind` is the public name of the class in health payloads and results.
    """

    kind: ClassVar[str] = "backend_error"

    def __init__(self, message: str, *, endpoint: str = "", code: int | str | None = None, data: Any = None) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.code = code
        self.data = data


class Unreachable(BackendError):
    """The connection could not be made; nothing was sent."""

    kind = "unreachable"


class Ambiguous(BackendError):
    """The request was sent and no complete response came back."""

    kind = "ambiguous"


class InvalidResponse(BackendError):
    """The response is not what the vendor's document describes."""

    kind = "bad_reply"


class Rejected(BackendError):
    """The vendor refused; `code` and the message are the vendor's."""

    kind = "rejected"


class RateLimited(Rejected):
    """The vendor refused for now."""

    kind = "busy"


class Unconfirmed(BackendError):
    """The vendor accepted a write, but its effect cannot be confirmed: the device is offline, for instance."""

    kind = "unconfirmed"


class AuthenticationError(BackendError):
    """The vendor does not let us in: wrong credentials, not on its whitelist, account locked."""

    kind = "denied"


class NotReady(BackendError):
    """A push cannot be judged before the backend has been read; its sender is to repeat it."""

    kind = "not_ready"


class CommandError(BridgeError):
    """A command that cannot be tried; `code` is a lower snake case identifier a program can act on."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LeaseLost(BridgeError):
    """The unit of a cluster is another node's; nothing may be published or written for it any more."""


class OutboxError(BridgeError):
    """An alarm could not be written to disk."""


class OutboxFull(OutboxError):
    """The outbox is full."""


class OutboxFenced(OutboxError):
    """Another node has taken the unit over: nothing of this one is written any more."""


class MqttError(BridgeError):
    """A message did not reach the broker."""


class Disconnected(MqttError):
    """There is no connection to the broker, or it went before the acknowledgement."""


class Refused(MqttError):
    """The broker does not accept a message; `reason` is a lower snake case name for the dropped counter.

    `temporary` is True if the same message may be accepted later; `retry_after` is then the smallest number of seconds
    until that, 0 if unknown.
    """

    def __init__(self, message: str, *, reason: str, temporary: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.temporary = temporary
        self.retry_after = retry_after
