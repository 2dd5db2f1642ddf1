"""What comes in on MQTT: topics and payloads → commands, reads, requests. Refuses what is retained or malformed."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fleet2mqtt.commands.payloads import as_object
from fleet2mqtt.commands.queue import CommandQueue
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
"""Bytes and levels of a topic to answer on: beyond 65,535 there is none, and mosquitto ends whoever uses 200 levels."""
_RESERVED = frozenset(("transaction", "expires_at"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a JSON command or request says about itself, besides what it asks."""

    transaction: Transaction
    deadline: float
    reply_to: ReplyTo | None


class CommandRouter:
    """Routes messages. `max_age` is how many seconds a command is good for."""

    def __init__(  # noqa: PLR0913, PLR0917 - where commands and requests go, and what they are checked against
        self,
        commands: CommandQueue,
        requests: RequestHandler,
        registry: Registry,
        topics: Topics,
        max_age: float,
        dropped: Counter[str],
    ) -> None:
        """`dropped` counts refused messages by reason."""
        self._commands = commands
        self._requests = requests
        self._registry = registry
        self._topics = topics
        self._max_age = max_age
        self._dropped = dropped
        self._retained: set[str] = set()
        base = re.escape(topics.base)
        self._route = re.compile(
            rf"{base}/(?:device/(?P<device>[^/]+)/(?:set(?:/(?P<key>[^/]+))?|(?P<get>get))"
            rf"|(?:bridge|backend/(?P<backend>[^/]+))/request/(?P<request>[^/]+))"
        )

    def receive(self, message: Message) -> None:
        """Take a message from the broker; whatever it is, it is answered or refused aloud."""
        match = self._route.fullmatch(message.topic)
        if match is None:
            return
        if not _is_modest(message.topic):
            self._dropped["odd_topic"] += 1
            return
        if not message.payload and (message.retain or message.topic in self._retained):
            self._retained.discard(message.topic)  # somebody followed the warning and cleared it
            return
        if message.retain:
            self._refuse_retained(match, message)
            return
        device, key = match["device"], match["key"]
        if match["request"]:
            self._request(match["backend"], match["request"], message)
        elif match["get"]:
            self._get(device, message)
        elif key is not None:
            self._set_key(device, key, message)
        else:
            self._set(device, message)

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
        fault = CommandError("retained", "retained messages are refused on command topics; publish without retain")
        if match["request"]:
            self._requests.refuse(self._asked(match["backend"], match["request"], self._sender(message)), fault)
        else:
            sender = self._envelope({}, message) if match["key"] else self._sender(message)
            self._commands.refuse(self._command(match["device"], match["key"], sender), fault)

    def _set_key(self, device: str, key: str, message: Message) -> None:
        """`set/<key>`: the plain value, as Home Assistant sends it."""
        known = self._registry.devices.get(device)
        row = known.entity(key) if known else None
        command = self._command(device, key, self._envelope({}, message))
        try:
            command.value = (
                values.parse_plain(row, message.payload) if row else message.payload.decode("utf-8", "replace")
            )
        except CommandError as error:
            self._commands.refuse(command, error)
            return
        self._submit(command, message)

    def _set(self, device: str, message: Message) -> None:
        """`set`: an object of keys, carried out in the order of the device's rows."""
        try:
            body = as_object(message.payload)
            envelope = self._envelope(body, message)
        except CommandError as error:
            self._commands.refuse(self._command(device, None, self._sender(message)), error)
            return
        asked = {key: value for key, value in body.items() if key not in _RESERVED}
        if not asked:
            fault = CommandError("malformed", "it names no key to set")
            self._commands.refuse(self._command(device, None, envelope), fault)
        known = self._registry.devices.get(device)
        order = {row.key: place for place, row in enumerate(known.entities)} if known else {}
        for key in sorted(asked, key=lambda key: order.get(key, len(order))):
            command = self._command(device, key, envelope)
            command.value = asked[key]
            self._submit(command, message)

    def _submit(self, command: Command, message: Message) -> None:
        if message.stale:
            command.deadline = 0.0
        self._commands.submit(command)

    def _get(self, device: str, message: Message) -> None:
        """`get`: read the device now; ends in a state and a result."""
        try:
            body = as_object(message.payload) if message.payload.strip() else {}
            envelope = self._envelope(body, message)
        except CommandError:
            envelope = self._sender(message)  # whatever it says, it asks for a read
        command = self._command(device, None, envelope)
        if message.stale:
            command.deadline = 0.0
        self._commands.read(command)

    @staticmethod
    def _command(device: str, key: str | None, envelope: Envelope) -> Command:
        return Command(
            device=device,
            key=key,
            deadline=envelope.deadline,
            transaction=envelope.transaction,
            reply_to=envelope.reply_to,
        )

    def _request(self, backend: str | None, name: str, message: Message) -> None:
        try:
            body = dict(as_object(message.payload)) if message.payload.strip() else {}
            envelope = self._envelope(body, message)
        except CommandError as error:
            self._requests.refuse(self._asked(backend, name, self._sender(message)), error)
            return
        arguments = {key: value for key, value in body.items() if key not in _RESERVED}
        request = replace(self._asked(backend, name, envelope), arguments=arguments)
        self._requests.submit(replace(request, deadline=0.0) if message.stale else request)

    def _asked(self, backend: str | None, name: str, envelope: Envelope) -> Request:
        base = self._topics.bridge("response") if backend is None else self._topics.backend(backend, "response")
        return Request(
            topic=f"{base}/{name}",
            name=name,
            backend=backend,
            deadline=envelope.deadline,
            transaction=envelope.transaction,
            reply_to=envelope.reply_to,
        )

    def _sender(self, message: Message) -> Envelope:
        """Of a message that is refused: by its transaction, where it has one, its sender knows the answer."""
        try:
            transaction = as_object(message.payload).get("transaction")
        except CommandError:
            transaction = None
        return self._envelope({"transaction": transaction} if _is_transaction(transaction) else {}, message)

    def _envelope(self, body: Any, message: Message) -> Envelope:
        """Transaction, deadline and where to reply. Raises CommandError."""
        transaction = body.get("transaction")
        if not _is_transaction(transaction):
            message_ = f"transaction: expected a text of at most {MAX_TRANSACTION} characters, or a whole number"
            raise CommandError("malformed", message_)
        deadline = asyncio.get_running_loop().time() + min(self._max_age, _seconds_left(body.get("expires_at")))
        return Envelope(transaction=transaction, deadline=deadline, reply_to=self._reply_to(message))

    def _reply_to(self, message: Message) -> ReplyTo | None:
        """MQTT 5's response topic, unless it would have the bridge speak where it listens or describes devices."""
        topic = message.response_topic
        if not topic:
            return None
        forbidden = topic.startswith(("$", f"{self._topics.prefix}/")) or self._route.fullmatch(topic)
        if forbidden or set("+#") & set(topic) or not _is_modest(topic):
            self._dropped["odd_topic"] += 1
            return None
        return ReplyTo(topic=topic, correlation=message.correlation_data)


def _is_transaction(value: Any) -> bool:
    """A flag is none: it would be taken for the number that it equals."""
    if isinstance(value, str):
        return len(value) <= MAX_TRANSACTION
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _is_modest(topic: str) -> bool:
    """Whether a broker takes what is published on a topic, or one like it; some end the connection over it."""
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
