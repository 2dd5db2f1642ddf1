"""Routing of incoming messages: topics and payloads → commands, reads, requests. Retained ones are refused."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fleet2mqtt.commands.journal import JournalEntry
from fleet2mqtt.commands.payloads import parse_object
from fleet2mqtt.commands.queue import CommandLimits, CommandQueue
from fleet2mqtt.commands.replies import Command, ReplyTo, Request, Transaction
from fleet2mqtt.commands.requests import RequestHandler
from fleet2mqtt.contract import values
from fleet2mqtt.contract.payloads import now
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import CommandError
from fleet2mqtt.mqtt import Message

_LOG = logging.getLogger(__name__)

MAX_TRANSACTION = 256
MAX_TOPIC, MAX_LEVELS = 1_024, 64
"""Bytes and levels of a response topic: mosquitto ends the connection of whoever uses 200 levels."""
_RESERVED = frozenset(("transaction", "expires_at"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Transaction, deadline and response topic of a command or request."""

    transaction: Transaction
    deadline: float
    reply_to: ReplyTo | None
    entry: JournalEntry | None = None


class CommandRouter:
    """Routes messages."""

    def __init__(  # noqa: PLR0913, PLR0917 - where commands and requests go, and what they are checked against
        self,
        commands: CommandQueue,
        requests: RequestHandler,
        registry: Registry,
        topics: Topics,
        limits: CommandLimits,
        dropped: Counter[str],
        owns: Callable[[str], bool] | None = None,
    ) -> None:
        """`dropped` counts refused messages by reason; `owns` says whether a device or backend is this unit's."""
        self._owns = owns
        self._commands = commands
        self._requests = requests
        self._registry = registry
        self._topics = topics
        self._limits = limits
        self._dropped = dropped
        self._retained: set[str] = set()
        base = re.escape(topics.base)
        self._route = re.compile(
            rf"{base}/(?:device/(?P<device>[^/]+)/(?:set(?:/(?P<key>[^/]+))?|(?P<get>get))"
            rf"|(?:bridge|backend/(?P<backend>[^/]+))/request/(?P<request>[^/]+))"
        )

    def routes(self, topic: str) -> bool:
        """Return True for the topic of a command or request that is to be carried out here."""
        match = self._route.fullmatch(topic)
        if match is None:
            return False
        addressee = match["device"] or match["backend"]
        return addressee is None or self._owns is None or self._owns(addressee)

    def receive(self, message: Message) -> None:
        """Route a message from the broker; whatever it is, it ends in a reply or a warning."""
        match = self._route.fullmatch(message.topic)
        if match is None:
            return
        if not _is_acceptable_topic(message.topic):
            self._dropped["odd_topic"] += 1
            return
        if not message.payload and (message.retain or message.topic in self._retained):
            self._retained.discard(message.topic)  # a user followed the warning and cleared it
            return
        if message.retain:
            self._refuse_retained(match, message)
            return
        device, key = match["device"], match["key"]
        if match["request"]:
            self._route_request(match["backend"], match["request"], message)
        elif match["get"]:
            self._get(device, message)
        elif key is not None:
            self._set_key(device, key, message)
        else:
            self._set(device, message)

    def refuse(self, message: Message, error: CommandError) -> None:
        """End a command or request with an error, without carrying it out."""
        match = self._route.fullmatch(message.topic)
        if match is not None and _is_acceptable_topic(message.topic):
            self._refuse(match, message, error)

    def _refuse_retained(self, match: re.Match[str], message: Message) -> None:
        topic = message.topic
        self._dropped["retained_command"] += 1
        self._retained.add(topic)
        _LOG.warning(
            "refused a retained message on the command topic %s: it would run again at every start; "
            "publish it without retain, and clear it with an empty retained message (mosquitto_pub -r -n -t '%s')",
            topic,
            topic,
        )
        error = CommandError("retained", "retained messages are refused on command topics; publish without retain")
        self._refuse(match, message, error)

    def _refuse(self, match: re.Match[str], message: Message, error: CommandError) -> None:
        if match["request"]:
            self._requests.refuse(
                self._make_request(match["backend"], match["request"], self._envelope_of_refused(message)), error
            )
        else:
            envelope = self._envelope({}, message) if match["key"] else self._envelope_of_refused(message)
            self._commands.refuse(self._command(match["device"], match["key"], envelope), error)

    def _set_key(self, device: str, key: str, message: Message) -> None:
        """Submit a command with a plain value, `set/<key>`, as Home Assistant sends it."""
        known = self._registry.devices.get(device)
        entity = known.entity(key) if known else None
        command = self._command(device, key, self._envelope({}, message))
        try:
            command.value = (
                values.parse_plain(entity, message.payload) if entity else message.payload.decode("utf-8", "replace")
            )
        except CommandError as error:
            self._commands.refuse(command, error)
            return
        self._submit((command,), message)

    def _set(self, device: str, message: Message) -> None:
        """Submit a command for each key of an object, `set`, in the order of the device's entities."""
        try:
            body = parse_object(message.payload)
            envelope = self._envelope(body, message)
        except CommandError as error:
            self._commands.refuse(self._command(device, None, self._envelope_of_refused(message)), error)
            return
        keys = {key: value for key, value in body.items() if key not in _RESERVED}
        if not keys:
            empty = CommandError("malformed", "it names no key to set")
            self._commands.refuse(self._command(device, None, envelope), empty)
        known = self._registry.devices.get(device)
        order = {entity.key: place for place, entity in enumerate(known.entities)} if known else {}
        commands = []
        for key in sorted(keys, key=lambda key: order.get(key, len(order))):
            command = self._command(device, key, envelope)
            command.value = keys[key]
            commands.append(command)
        self._submit(commands, message)

    def _submit(self, commands: Sequence[Command], message: Message) -> None:
        if message.stale:
            for command in commands:
                command.deadline = 0.0
        self._commands.submit(*commands)

    def _get(self, device: str, message: Message) -> None:
        """Read the device now, `get`; ends in a state and a result."""
        try:
            body = parse_object(message.payload) if message.payload.strip() else {}
            envelope = self._envelope(body, message)
        except CommandError:
            envelope = self._envelope_of_refused(message)  # whatever its payload is, it requests a read
        command = self._command(device, None, envelope)
        if message.stale:
            command.deadline = 0.0
        self._commands.read(command)

    @staticmethod
    def _command(device: str, key: str | None, envelope: Envelope) -> Command:
        if envelope.entry is not None:
            envelope.entry.begin()
        return Command(
            device=device,
            key=key,
            deadline=envelope.deadline,
            transaction=envelope.transaction,
            reply_to=envelope.reply_to,
            entry=envelope.entry,
        )

    def _route_request(self, backend: str | None, name: str, message: Message) -> None:
        try:
            body = dict(parse_object(message.payload)) if message.payload.strip() else {}
            envelope = self._envelope(body, message)
        except CommandError as error:
            self._requests.refuse(self._make_request(backend, name, self._envelope_of_refused(message)), error)
            return
        arguments = {key: value for key, value in body.items() if key not in _RESERVED}
        request = replace(self._make_request(backend, name, envelope), arguments=arguments)
        self._requests.submit(replace(request, deadline=0.0) if message.stale else request)

    def _make_request(self, backend: str | None, name: str, envelope: Envelope) -> Request:
        if envelope.entry is not None:
            envelope.entry.begin()
        base = self._topics.bridge("response") if backend is None else self._topics.backend(backend, "response")
        return Request(
            topic=f"{base}/{name}",
            name=name,
            backend=backend,
            deadline=envelope.deadline,
            transaction=envelope.transaction,
            reply_to=envelope.reply_to,
            entry=envelope.entry,
        )

    def _envelope_of_refused(self, message: Message) -> Envelope:
        """Return the envelope of a refused message, with its transaction: by it its sender knows the reply."""
        try:
            transaction = parse_object(message.payload).get("transaction")
        except CommandError:
            transaction = None
        return self._envelope({"transaction": transaction} if _is_transaction(transaction) else {}, message)

    def _envelope(self, body: Any, message: Message) -> Envelope:
        """Return the envelope of a message with this body. Raises CommandError."""
        transaction = body.get("transaction")
        if not _is_transaction(transaction):
            message_ = f"transaction: expected a text of at most {MAX_TRANSACTION} characters, or a whole number"
            raise CommandError("malformed", message_)
        entry: JournalEntry | None = message.entry
        age = entry.age if entry else 0.0
        left = min(self._limits.max_age - age, _seconds_left(body.get("expires_at")))
        deadline = asyncio.get_running_loop().time() + left
        return Envelope(transaction=transaction, deadline=deadline, reply_to=self._reply_to(message), entry=entry)

    def _reply_to(self, message: Message) -> ReplyTo | None:
        """Return MQTT 5's response topic, unless it is one of commands, requests or discovery."""
        topic = message.response_topic
        if not topic:
            return None
        forbidden = topic.startswith(("$", f"{self._topics.prefix}/")) or self._route.fullmatch(topic)
        if forbidden or set("+#") & set(topic) or not _is_acceptable_topic(topic):
            self._dropped["odd_topic"] += 1
            return None
        return ReplyTo(topic=topic, correlation=message.correlation_data)


def _is_transaction(value: Any) -> bool:
    """Return True for a transaction. A boolean is none: it would be the same as the number that it equals."""
    if isinstance(value, str):
        return len(value) <= MAX_TRANSACTION
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _is_acceptable_topic(topic: str) -> bool:
    """Return True for a topic that every broker accepts; some end the connection over others."""
    return len(topic.encode()) <= MAX_TOPIC and topic.count("/") < MAX_LEVELS and topic.isprintable()


def _seconds_left(expires_at: Any) -> float:
    if expires_at is None:
        return float("inf")
    try:
        moment = datetime.fromisoformat(expires_at)
    except (TypeError, ValueError) as error:
        message = "expires_at: expected ISO 8601 with offset, such as 2026-11-22T08:00:00+08:00"
        raise CommandError("malformed", message) from error
    if moment.tzinfo is None:
        message = "expires_at: the offset is missing, such as +08:00 or Z"
        raise CommandError("malformed", message)
    return (moment - now()).total_seconds()
