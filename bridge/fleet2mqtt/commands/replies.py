"""Replies: one result or response for each command or request, and the same one when its transaction comes again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fleet2mqtt.commands.journal import DecidedReply, JournalEntry, Progress
from fleet2mqtt.contract.payloads import ErrorDetail, Reply, ResultStatus, dumps, response, stamp
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.publishing.publisher import Publisher

MAX_TRANSACTIONS = 2_000
"""Transactions that are remembered."""
MAX_WAITERS = 100
"""Repetitions of one transaction that get its reply, besides the first, while it is in progress."""

TOO_LARGE = ErrorDetail(code="too_large", message="the response is larger than a message may be: ask for less at once")

Transaction = str | int | None
_Token = tuple[str, str | None, str | int]
ReplyPayloads = tuple[bytes, bytes]
"""The payload of a reply, and a short one that replaces it if it is too large to be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyTo:
    """MQTT 5's response topic and correlation data."""

    topic: str
    correlation: bytes | None


@dataclass(slots=True, kw_only=True)
class Command:
    """One value to be written to one key. `deadline` is in loop time; `superseded` is set by a newer command."""

    device: str
    key: str | None
    value: Any = None
    deadline: float = 0.0
    transaction: Transaction = None
    reply_to: ReplyTo | None = None
    superseded: bool = False
    entry: JournalEntry | None = None


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
    entry: JournalEntry | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Outcome of a command: status, requested and observed value, error."""

    status: ResultStatus
    requested: Any = None
    observed: Any = None
    error: ErrorDetail | None = None


class Replies:
    """Publishes results and responses."""

    def __init__(self, publisher: Publisher, topics: Topics) -> None:
        self._publisher = publisher
        self._topics = topics
        self._replies: OrderedDict[_Token, ReplyPayloads | None] = OrderedDict()
        """By transaction its reply, None while it is in progress."""
        self._waiters: dict[_Token, list[ReplyTo | None]] = {}

    def is_duplicate(
        self,
        topic: str,
        key: str | None,
        transaction: Transaction,
        reply_to: ReplyTo | None,
        entry: JournalEntry | None = None,
    ) -> bool:
        """Return True if this transaction is known; then its reply is published again, now or when it has ended.

        `topic` is where the reply goes. A transaction that is not known is remembered from now on.
        """
        if transaction is None:
            return False
        token = (topic, key, transaction)
        if token not in self._replies:
            self._replies[token] = None
            if len(self._replies) > MAX_TRANSACTIONS:
                self._replies.popitem(last=False)
            return False
        known = self._replies[token]
        if known is not None:
            self._repeat(topic, known, reply_to, entry)
        elif len(waiters := self._waiters.setdefault(token, [])) < MAX_WAITERS:
            waiters.append(reply_to)
        return True

    def restore(self, known: Iterable[DecidedReply]) -> None:
        """Remember replies that another node published."""
        for each in known:
            if each.transaction is not None and each.replies:
                first = each.replies[0]
                self._replies[each.topic, each.key, each.transaction] = (first.payload, first.short)

    def is_decided(self, entry: JournalEntry | None, key: str | None) -> bool:
        """Return True if another node stored a reply: what was not acknowledged is published again as it was."""
        stored = entry.earlier.get(key or "") if entry else None
        if entry is None or stored is None or stored.progress is Progress.WRITING:
            return False
        if stored.progress is Progress.ANSWERED or not stored.replies:
            entry.end()
        else:
            reply = DecidedReply(replies=stored.replies, topic="", key=key, transaction=None)
            entry.journal.decide(entry, key or "", reply)
        return True

    def result(self, command: Command, outcome: Outcome) -> None:
        """Publish how a command ended, after its device's state."""
        payload = dumps(
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
        topic, payloads = self._topics.device(command.device, "result"), (payload, b"")
        self._publish(topic, payloads, command.reply_to, command.device, command)
        self._remember(topic, command.key, command.transaction, payloads, command.entry)

    def response(
        self, request: Request, *, data: Any = None, error: ErrorDetail | None = None, remember: bool = True
    ) -> None:
        """Publish the response of a request; `remember` it for repetitions of its transaction."""
        payload = dumps(response(request.transaction, data, error))
        payloads = (payload, dumps(response(request.transaction, error=TOO_LARGE)))
        self._publish(request.topic, payloads, request.reply_to, None, request)
        if remember:
            self._remember(request.topic, None, request.transaction, payloads, request.entry)

    def _remember(
        self,
        topic: str,
        key: str | None,
        transaction: Transaction,
        payloads: ReplyPayloads,
        entry: JournalEntry | None,
    ) -> None:
        """Store a reply for repetitions to come, and publish it for those that came meanwhile."""
        if transaction is None:
            return
        token = (topic, key, transaction)
        if token in self._replies:
            self._replies[token] = payloads
        for reply_to in self._waiters.pop(token, ()):
            self._repeat(topic, payloads, reply_to, entry)

    def _repeat(
        self, topic: str, payloads: ReplyPayloads, reply_to: ReplyTo | None, entry: JournalEntry | None
    ) -> None:
        """Publish a reply once more; in a cluster after it is stored, else the next owner might give another one."""
        replies = _replies(topic, payloads, reply_to, None)
        if entry is not None:
            entry.journal.repeat(replies)
            return
        for reply in replies:
            self._publisher.publish_reply(reply)

    def _publish(
        self,
        topic: str,
        payloads: ReplyPayloads,
        reply_to: ReplyTo | None,
        device: str | None,
        asked: Command | Request,
    ) -> None:
        """Publish a reply; that of a command or request with a journal entry once it is stored."""
        replies = _replies(topic, payloads, reply_to, device)
        if asked.entry is None:
            for reply in replies:
                self._publisher.publish_reply(reply)
            return
        key = asked.key if isinstance(asked, Command) else None
        decided = DecidedReply(replies=replies, topic=topic, key=key, transaction=asked.transaction)
        asked.entry.journal.decide(asked.entry, key or "", decided)


def _replies(topic: str, payloads: ReplyPayloads, reply_to: ReplyTo | None, device: str | None) -> tuple[Reply, ...]:
    """Return the messages of a reply: on its topic, and where the sender wants it, too."""
    payload, short = payloads
    replies = []
    if reply_to is None or reply_to.topic != topic:
        replies.append(Reply(topic=topic, payload=payload, short=short, device=device))
    if reply_to is not None:
        correlation = reply_to.correlation
        replies.append(
            Reply(topic=reply_to.topic, payload=payload, short=short, device=device, correlation=correlation)
        )
    return tuple(replies)
