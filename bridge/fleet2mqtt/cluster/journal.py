"""The command journal in the database: messages are stored before they are acknowledged, replies before published.

Of a node that fails, the next owner finds: messages nobody began, which it carries out if they are young enough;
commands that may have reached the vendor, which it never sends again; and replies, whose bytes it publishes.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Never

import orjson
from psycopg import AsyncConnection

from fleet2mqtt.commands.journal import DecidedReply, JournalEntry, Progress, StoredReply
from fleet2mqtt.contract.payloads import Reply
from fleet2mqtt.errors import CommandError, OutboxError
from fleet2mqtt.mqtt import Message
from fleet2mqtt.outbox.postgres.session import Session

_LOG = logging.getLogger(__name__)

RETRY_DELAY = 0.5
MAX_REMEMBERED = 2_000
"""Messages by which a redelivered one is recognised, and replies that are restored for repeated transactions."""
KEPT_ROWS = 5_000
CLEANING_INTERVAL = 60.0

_Mark = tuple[int | None, str, bytes]
_Place = tuple[str, str]
"""A message's id and a key of it."""


@dataclass(slots=True)
class _Pending:
    """Changes that are not in the database yet."""

    decided: dict[_Place, tuple[JournalEntry, DecidedReply]] = field(default_factory=dict)
    answered: list[_Place] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    repeated: list[Reply] = field(default_factory=list)
    """Replies to publish once more after that."""

    def __bool__(self) -> bool:
        return bool(self.decided or self.answered or self.closed or self.repeated)


class CommandJournal:
    """Journal of the unit that was leased with `epoch`. Implements `commands.journal.Journal`."""

    def __init__(
        self, session: Session, unit: str, epoch: int, publish: Callable[[Reply], None], *, waiting_since: float | None
    ) -> None:
        """`publish` publishes a reply that is stored.

        `waiting_since` is the loop time since which the broker may have kept messages for this connection, None if that
        is not known.
        """
        self._session = session
        self._fence = {"unit": unit, "epoch": epoch}
        self._publish = publish
        self._waiting_since = waiting_since
        self._messages: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._pending = _Pending()
        self._deciding = _Pending()
        """Batch that is being stored now."""
        self._changed = asyncio.Event()
        self._known: OrderedDict[_Mark, None] = OrderedDict()
        self.commit_seconds: float | None = None
        """Seconds that the last commit took."""

    @property
    def idle(self) -> bool:
        """True if everything is stored, and what is stored is given to the publisher."""
        return not (self._messages or self._pending or self._deciding)

    def receive(self, message: Message) -> None:
        """Store a message, then acknowledge and process it; one that is stored already is only acknowledged."""
        if message.duplicate and _mark(message) in self._known:
            message.acknowledge()
            return
        self._messages.append(message)
        self._arrived.set()

    def on_disconnected(self) -> None:
        """Record that the broker keeps messages from now on."""
        self._waiting_since = asyncio.get_running_loop().time()

    async def restore(self) -> tuple[list[Message], list[DecidedReply]]:
        """Return the messages that were not closed, oldest first, and the newest replies. Raises OutboxError."""
        rows = await self._rows(_OPEN, self._fence)
        earlier: dict[str, dict[str, StoredReply]] = {}
        for id_, key, progress, replies in await self._rows(_OPEN_REPLIES, self._fence):
            earlier.setdefault(id_, {})[key] = StoredReply(progress=Progress(progress), replies=_decode(replies))
        messages = []
        for id_, topic, payload, response_topic, correlation, age in rows:
            entry = JournalEntry(id=id_, journal=self, age=age, earlier=earlier.get(id_, {}))
            messages.append(
                Message(
                    topic=topic,
                    payload=bytes(payload),
                    retain=False,
                    qos=1,
                    response_topic=response_topic,
                    correlation_data=None if correlation is None else bytes(correlation),
                    entry=entry,
                )
            )
        for packet_id, topic, digest in await self._rows(_RECENT, self._fence | {"most": MAX_REMEMBERED}):
            self._known[packet_id, topic, bytes(digest)] = None
        known = await self._rows(_ANSWERED, self._fence | {"most": MAX_REMEMBERED})
        return messages, [
            DecidedReply(
                replies=_decode(replies),
                topic=topic,
                key=None if key == "" else key,
                transaction=orjson.loads(transaction),
            )
            for topic, key, transaction, replies in known
        ]

    async def run_receiving(
        self, process: Callable[[Message], None], refuse: Callable[[Message, CommandError], None]
    ) -> Never:
        """Store messages and process them, until cancelled; `refuse` ends those that cannot be stored."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            batch = list(self._messages)
            if not batch:
                continue
            entries = [JournalEntry(id=uuid.uuid4().hex, journal=self) for _ in batch]
            try:
                fenced = not await self._store(batch, entries)
            except OutboxError as error:
                self._forget(batch)
                for message in batch:
                    message.acknowledge()
                    refuse(message, CommandError("not_journaled", f"the command cannot be stored: {error}"))
                continue
            self._forget(batch)
            if fenced:
                _LOG.warning("%d commands are left to the next owner of the unit", len(batch))
                continue
            for message, entry in zip(batch, entries, strict=True):
                self._remember(message)
                message.acknowledge()
                entry.age = self._age(message)
                self.process(replace(message, stale=False, entry=entry), process)

    def process(self, message: Message, process: Callable[[Message], None]) -> None:
        """Process a message that has an entry; it is closed at once if nothing in it needs a reply."""
        message.entry.begin()
        process(message)
        message.entry.end()

    def _forget(self, batch: Sequence[Message]) -> None:
        for _ in batch:
            self._messages.popleft()
        if self._messages:
            self._arrived.set()

    def _remember(self, message: Message) -> None:
        self._known[_mark(message)] = None
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    def _age(self, message: Message) -> float:
        """Return how old a message may be: one that waited at the broker came while nobody was connected."""
        if not message.stale:
            return 0.0
        if self._waiting_since is None:
            return float("inf")
        return max(0.0, asyncio.get_running_loop().time() - self._waiting_since)

    async def _store(self, messages: Sequence[Message], entries: Sequence[JournalEntry]) -> bool:
        """Store messages; return False if another node owns the unit. Raises OutboxError."""
        parameters = {
            **self._fence,
            "ids": [entry.id for entry in entries],
            "topics": [message.topic for message in messages],
            "payloads": [message.payload for message in messages],
            "response_topics": [message.response_topic for message in messages],
            "correlations": [message.correlation_data for message in messages],
            "packet_ids": [message.packet_id for message in messages],
            "digests": [_mark(message)[2] for message in messages],
            "ages": [min(self._age(message), 1e9) for message in messages],
        }
        ((allowed,),) = await self._rows(_STORE, parameters)
        return bool(allowed)

    async def record_writing(self, entry: JournalEntry, keys: Sequence[str]) -> None:
        """Store that the vendor is about to be called. Raises CommandError: then it must not be called."""
        try:
            ((allowed,),) = await self._rows(_WRITING, {**self._fence, "id": entry.id, "keys": list(keys)})
        except OutboxError as error:
            raise CommandError("not_journaled", f"the command cannot be stored, nothing was sent: {error}") from error
        if not allowed:
            raise CommandError("not_owner", "another node owns the unit now, nothing was sent")

    def decide(self, entry: JournalEntry, key: str, reply: DecidedReply) -> None:
        """Store the reply for a key, then publish it."""
        self._pending.decided[entry.id, key] = (entry, reply)
        self._changed.set()

    def repeat(self, replies: Sequence[Reply]) -> None:
        """Publish replies once more, after what was decided before is stored."""
        self._pending.repeated += replies
        self._changed.set()

    def close(self, entry: JournalEntry) -> None:
        """Record that every command of a message has ended."""
        self._pending.closed.append(entry.id)
        self._changed.set()

    async def run_deciding(self) -> None:
        """Store replies and publish them, until cancelled or another node owns the unit."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            batch = self._deciding = self._pending
            self._pending = _Pending()
            while batch:
                try:
                    allowed = await self._write(batch)
                except OutboxError as error:
                    _LOG.debug("replies cannot be stored, and so are not published: %s", error)
                    await asyncio.sleep(RETRY_DELAY)
                    continue
                if not allowed:
                    return
                break
            for (_, key), (entry, reply) in batch.decided.items():
                self._publish_decided(entry, key, reply)
            for each in batch.repeated:
                self._publish(each)
            self._deciding = _Pending()

    async def _write(self, batch: _Pending) -> bool:
        decided = list(batch.decided.items())
        parameters = {
            **self._fence,
            "ids": [id_ for (id_, _), _ in decided],
            "keys": [key for (_, key), _ in decided],
            "topics": [reply.topic for _, (_, reply) in decided],
            "transactions": [orjson.dumps(reply.transaction).decode() for _, (_, reply) in decided],
            "replies": [_encode(reply.replies) for _, (_, reply) in decided],
            "answered_ids": [id_ for id_, _ in batch.answered],
            "answered_keys": [key for _, key in batch.answered],
            "closed": batch.closed,
        }
        started = asyncio.get_running_loop().time()
        ((allowed,),) = await self._rows(_DECIDE, parameters)
        self.commit_seconds = asyncio.get_running_loop().time() - started
        return bool(allowed)

    def _publish_decided(self, entry: JournalEntry, key: str, reply: DecidedReply) -> None:
        left = len(reply.replies)

        def on_acknowledged() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                self._pending.answered.append((entry.id, key))
                self._changed.set()
                entry.end()

        for each in reply.replies:
            self._publish(replace(each, on_acknowledged=on_acknowledged))

    async def run_cleaning(self) -> Never:
        """Delete messages that were closed long ago, until cancelled."""
        while True:
            try:
                await self._rows(_CLEAN, self._fence | {"kept": KEPT_ROWS})
            except OutboxError as error:
                _LOG.debug("the journal cannot be cleaned now: %s", error)
            await asyncio.sleep(CLEANING_INTERVAL)

    async def _rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        async def work(connection: AsyncConnection) -> list[tuple[Any, ...]]:
            return await (await connection.execute(statement.encode(), parameters)).fetchall()

        return await self._session.run(work)


def _mark(message: Message) -> _Mark:
    """Return what a message has in common with its redelivery: the broker keeps the packet id of a session."""
    content = hashlib.sha256(message.payload)
    content.update(b"\0" + (message.correlation_data or b""))
    return message.packet_id, message.topic, content.digest()


def _encode(replies: Iterable[Reply]) -> bytes:
    """Return replies as JSON; bytes in it are Latin-1, which has them all."""
    return orjson.dumps(
        [
            {
                "topic": each.topic,
                "payload": each.payload.decode("latin-1"),
                "short": each.short.decode("latin-1"),
                "device": each.device,
                "correlation": None if each.correlation is None else each.correlation.decode("latin-1"),
            }
            for each in replies
        ]
    )


def _decode(data: bytes | None) -> tuple[Reply, ...]:
    return tuple(
        Reply(
            topic=each["topic"],
            payload=each["payload"].encode("latin-1"),
            short=each["short"].encode("latin-1"),
            device=each["device"],
            correlation=None if each["correlation"] is None else each["correlation"].encode("latin-1"),
        )
        for each in orjson.loads(bytes(data or b"[]"))
    )


_FENCE = "fence AS (SELECT 1 FROM unit WHERE name = %(unit)s AND epoch = %(epoch)s FOR SHARE)"
_STORE = f"""
WITH {_FENCE},
added AS (
    INSERT INTO command (unit, id, topic, payload, response_topic, correlation, packet_id, digest, received_at)
    SELECT %(unit)s, id, topic, payload, response_topic, correlation, packet_id, digest,
        clock_timestamp() - age * interval '1 second'
    FROM unnest(%(ids)s::text[], %(topics)s::text[], %(payloads)s::bytea[], %(response_topics)s::text[],
        %(correlations)s::bytea[], %(packet_ids)s::integer[], %(digests)s::bytea[], %(ages)s::float8[])
        AS t (id, topic, payload, response_topic, correlation, packet_id, digest, age), fence
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM fence
"""  # noqa: S608 - constants of this module
_WRITING = f"""
WITH {_FENCE},
writing AS (
    INSERT INTO command_reply (command, key, progress) SELECT %(id)s, key, 'writing'
    FROM unnest(%(keys)s::text[]) AS t (key), fence ON CONFLICT DO NOTHING
)
SELECT count(*) FROM fence
"""  # noqa: S608
_DECIDE = f"""
WITH {_FENCE},
decided AS (
    INSERT INTO command_reply AS c (command, key, progress, topic, transaction, replies)
    SELECT id, key, 'decided', topic, transaction, replies
    FROM unnest(%(ids)s::text[], %(keys)s::text[], %(topics)s::text[], %(transactions)s::text[], %(replies)s::bytea[])
        AS t (id, key, topic, transaction, replies), fence
    ON CONFLICT (command, key) DO UPDATE SET progress = 'decided',
        topic = CASE WHEN excluded.topic = '' THEN c.topic ELSE excluded.topic END,
        transaction = CASE WHEN excluded.topic = '' THEN c.transaction ELSE excluded.transaction END,
        replies = excluded.replies
),
answered AS (
    UPDATE command_reply AS c SET progress = 'answered'
    FROM unnest(%(answered_ids)s::text[], %(answered_keys)s::text[]) AS t (id, key), fence
    WHERE c.command = t.id AND c.key = t.key
),
closed AS (UPDATE command SET closed = true FROM fence WHERE id = ANY(%(closed)s::text[]))
SELECT count(*) FROM fence
"""  # noqa: S608
_OPEN = f"""
WITH {_FENCE}
SELECT id, topic, payload, response_topic, correlation,
    greatest(0, extract(epoch FROM clock_timestamp() - received_at))::float8
FROM command, fence WHERE unit = %(unit)s AND NOT closed ORDER BY n
"""  # noqa: S608
_OPEN_REPLIES = """
SELECT r.command, r.key, r.progress, r.replies FROM command_reply AS r JOIN command AS c ON c.id = r.command
WHERE c.unit = %(unit)s AND NOT c.closed
"""
_RECENT = """
SELECT packet_id, topic, digest FROM (
    SELECT * FROM command WHERE unit = %(unit)s ORDER BY n DESC LIMIT %(most)s
) AS newest ORDER BY n
"""
_ANSWERED = """
SELECT r.topic, r.key, r.transaction, r.replies FROM command_reply AS r JOIN command AS c ON c.id = r.command
WHERE r.progress <> 'writing' AND r.transaction IS NOT NULL AND r.transaction <> 'null'
AND c.unit = %(unit)s AND c.n >= coalesce(
    (SELECT n FROM command WHERE unit = %(unit)s ORDER BY n DESC OFFSET %(most)s LIMIT 1), 0
) ORDER BY c.n
"""
_CLEAN = """
WITH gone AS (
    DELETE FROM command WHERE unit = %(unit)s AND closed AND n < (
        SELECT n FROM command WHERE unit = %(unit)s ORDER BY n DESC OFFSET %(kept)s LIMIT 1
    ) RETURNING 1
)
SELECT count(*) FROM gone
"""
