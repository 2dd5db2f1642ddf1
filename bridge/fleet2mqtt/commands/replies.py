"""How commands and requests end: one answer each, and the same answer when the same transaction comes again."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from fleet2mqtt.contract.payloads import ErrorDetail, Reply, ResultStatus, dumps, response, stamp
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.publishing.publisher import Publisher

MEMORY = 2_000
"""How many transactions are remembered."""
MAX_WAITERS = 100
"""How many who ask for the same while it runs are answered, besides the first."""

TOO_LARGE = ErrorDetail(code="too_large", message="the answer is larger than a message may be: ask for less at once")

Transaction = str | int | None
_Token = tuple[str, str | None, str | int]
ReplyPayloads = tuple[bytes, bytes]
"""An answer, and a short one in its place should it be too large to be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyTo:
    """MQTT 5's response topic and correlation data."""

    topic: str
    correlation: bytes | None


@dataclass(slots=True, kw_only=True)
class Command:
    """One key to be set. `deadline` is in loop time; `superseded` is set when a newer command takes over."""

    device: str
    key: str | None
    value: Any = None
    deadline: float = 0.0
    transaction: Transaction = None
    reply_to: ReplyTo | None = None
    superseded: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, to the bridge or to a backend; `topic` is where its response goes, `deadline` is in loop time."""

    topic: str
    name: str
    backend: str | None
    arguments: dict[str, Any] = field(default_factory=dict)
    transaction: Transaction = None
    reply_to: ReplyTo | None = None
    deadline: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command went."""

    status: ResultStatus
    requested: Any = None
    observed: Any = None
    error: ErrorDetail | None = None


class Replies:
    """Publishes results and responses."""

    def __init__(self, publisher: Publisher, topics: Topics) -> None:
        self._publisher = publisher
        self._topics = topics
        self._memory: OrderedDict[_Token, ReplyPayloads | None] = OrderedDict()
        self._waiters: dict[_Token, list[ReplyTo | None]] = {}

    def is_duplicate(self, topic: str, key: str | None, transaction: Transaction, reply_to: ReplyTo | None) -> bool:
        """Whether this transaction was here before; then its answer goes out once more, now or when it has ended.

        `topic` is where the answer goes. A transaction not seen before is remembered from now on.
        """
        if transaction is None:
            return False
        token = (topic, key, transaction)
        if token not in self._memory:
            self._memory[token] = None
            if len(self._memory) > MEMORY:
                self._memory.popitem(last=False)
            return False
        known = self._memory[token]
        if known is not None:
            self._send(topic, known, reply_to, None)
        elif len(waiters := self._waiters.setdefault(token, [])) < MAX_WAITERS:
            waiters.append(reply_to)
        return True

    def result(self, command: Command, outcome: Outcome) -> None:
        """Say how a command ended, after its device's state."""
        text = dumps(
            {
                "transaction": command.transaction,
                "device": command.device,
                "key": command.key,
                "status": outcome.status,
                "requested": outcome.requested,
                "observed": outcome.observed,
                "error": outcome.error.json() if outcome.error else None,
                "ts": stamp(),
            }
        )
        topic, words = self._topics.device(command.device, "result"), (text, b"")
        self._send(topic, words, command.reply_to, command.device)
        self._remember(topic, command.key, command.transaction, words)

    def response(
        self, request: Request, *, data: Any = None, error: ErrorDetail | None = None, kept: bool = True
    ) -> None:
        """Reply a request; `kept` for whoever asks with its transaction again."""
        text = dumps(response(request.transaction, data, error))
        words = (text, dumps(response(request.transaction, error=TOO_LARGE)))
        self._send(request.topic, words, request.reply_to, None)
        if kept:
            self._remember(request.topic, None, request.transaction, words)

    def _remember(self, topic: str, key: str | None, transaction: Transaction, words: ReplyPayloads) -> None:
        """Keep an answer for whoever asks again, and give it to who did meanwhile."""
        if transaction is None:
            return
        token = (topic, key, transaction)
        if token in self._memory:
            self._memory[token] = words
        for reply_to in self._waiters.pop(token, ()):
            self._send(topic, words, reply_to, None)

    def _send(self, topic: str, words: ReplyPayloads, reply_to: ReplyTo | None, device: str | None) -> None:
        text, short = words
        if reply_to is None or reply_to.topic != topic:
            self._publisher.publish_reply(Reply(topic=topic, payload=text, short=short, device=device))
        if reply_to is not None:
            correlation = reply_to.correlation
            self._publisher.publish_reply(
                Reply(topic=reply_to.topic, payload=text, short=short, device=device, correlation=correlation)
            )
