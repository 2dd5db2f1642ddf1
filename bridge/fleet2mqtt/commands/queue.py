"""Command queue: set → vendor write → read-back → state → exactly one result.

Commands for one device run one after another, for different devices side by side. A newer command for the same key
supersedes one that waits or is being read back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from fleet2mqtt.commands.calls import CallsInProgress
from fleet2mqtt.commands.execution import CommandExecution, Write, error_detail, invalid
from fleet2mqtt.commands.journal import JournalEntry
from fleet2mqtt.commands.replies import Command, Outcome, Replies
from fleet2mqtt.contract import values
from fleet2mqtt.contract.payloads import ErrorDetail, ResultStatus
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.model import GROUP_KIND, Component, Device, EntityDescription
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import AuthenticationError, BackendError, CommandError, OutboxError, Rejected
from fleet2mqtt.hub import Hub
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.sdk.api import Backend
from fleet2mqtt.sdk.rate_limiter import CommandPriority, command_priority
from fleet2mqtt.tracing import span

_LOG = logging.getLogger(__name__)

StartTask = Callable[[Coroutine[Any, Any, None], str], object]
"""`start_task(work, name)` starts a task that is cancelled when the bridge is stopped."""

_INTERRUPTED = ErrorDetail(
    code="interrupted", message="the node that carried it out failed meanwhile; it is not sent again"
)
_NOT_SENT = Outcome(status=ResultStatus.SUPERSEDED)
"""Nothing was sent before a newer command came."""


@dataclass(slots=True, kw_only=True)
class CommandLimits:
    """Bounds of commands; a reload of the configuration may change them, so they are read at each use.

    A command is valid for `max_age` seconds, a write may take `confirm_timeout` seconds to show, and `max_pending`
    commands may wait in all.
    """

    max_age: float = 60.0
    confirm_timeout: float = 10.0
    max_pending: int = 1000


@dataclass(slots=True)
class _Batch:
    """Commands of one `set` that are written together; nearly always one."""

    commands: list[Command]
    superseded: asyncio.Event = field(default_factory=asyncio.Event)


class CommandQueue:
    """Executes commands and publishes how each ended."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a command is checked against, written by, shown and replied with
        self,
        hub: Hub,
        registry: Registry,
        publisher: Publisher,
        topics: Topics,
        backends: Mapping[str, Backend],
        calls: CallsInProgress,
        replies: Replies,
        start_task: StartTask,
        limits: CommandLimits,
    ) -> None:
        """`backends` are those that run now."""
        self._hub = hub
        self._registry = registry
        self._publisher = publisher
        self._topics = topics
        self._backends = backends
        self._calls = calls
        self._replies = replies
        self._start_task = start_task
        self._limits = limits
        self._queues: dict[str, deque[_Batch]] = {}
        self._running: dict[str, _Batch] = {}
        self.ended: Counter[str] = Counter()
        """Commands by result status."""

    @property
    def pending(self) -> int:
        """Return how many commands wait or run."""
        waiting = sum(len(batch.commands) for queue in self._queues.values() for batch in queue)
        return waiting + sum(len(batch.commands) for batch in self._running.values())

    def submit(self, *commands: Command) -> None:
        """Enqueue the commands of one `set` for one device, in its order; each ends in exactly one result.

        Keys of one group are written together. A repeated transaction runs once.
        """
        groups: dict[str, list[Command]] = {}
        for number, command in enumerate(commands):
            if self._replies.is_decided(command.entry, command.key):
                continue
            if command.entry is not None and command.entry.was_writing(command.key):
                self._start_task(self._resume(command), f"resumed command of {command.device}")
            elif not self._is_duplicate(command) and not self._end_if_late(command):
                entity = self._entity(command)
                groups.setdefault(entity.group if entity and entity.group else f"\x00{number}", []).append(command)
        for group in groups.values():
            self._submit(group)

    def _submit(self, commands: list[Command]) -> None:
        if not self._end_if_invalid(commands):
            return
        if self.pending + len(commands) > self._limits.max_pending:
            error = ErrorDetail(code="queue_full", message=f"{self._limits.max_pending} commands wait already")
            for command in commands:
                outcome = Outcome(status=ResultStatus.FAILED, requested=self._requested(command), error=error)
                self.end(command, outcome)
            return
        for command in commands:
            self._supersede(command)
        device, batch = commands[0].device, _Batch(commands)
        queue = self._queues.get(device)
        if queue is None:
            self._queues[device] = deque((batch,))
            self._start_task(self._work(device), f"commands of {device}")
        else:
            queue.append(batch)

    def _is_duplicate(self, command: Command) -> bool:
        topic = self._topics.device(command.device, "result")
        duplicate = self._replies.is_duplicate(topic, command.key, command.transaction, command.reply_to, command.entry)
        if duplicate and command.entry is not None:
            command.entry.end()
        return duplicate

    def _end_if_late(self, command: Command) -> bool:
        """End a command that came too late already: it supersedes no other."""
        late = _is_late(command)
        if late:
            self.end(command, self._expired(command))
        return late

    def _end_if_invalid(self, commands: Sequence[Command]) -> bool:
        """End commands that cannot be tried; return True if they can. Keys that are written together fail together."""
        errors: dict[str | None, CommandError] = {}
        for command in commands:
            try:
                self._validate(command)
            except CommandError as error:
                if error.code != "not_ready" or not self._can_be_read(command):
                    errors[command.key] = error
        if not errors:
            return True
        key, first = next(iter(errors.items()))
        together = CommandError(first.code, f"{key} is refused, and is written together with this key: {first}")
        for command in commands:
            self.end(command, invalid(errors.get(command.key, together), self._requested(command)))
        return False

    def _expired(self, command: Command) -> Outcome:
        error = ErrorDetail(code="expired", message="it waited longer than it may; nothing was sent")
        return Outcome(status=ResultStatus.EXPIRED, requested=self._requested(command), error=error)

    async def _resume(self, command: Command) -> None:
        """End a command during which its node failed: never sent again, the device alone says how it ended."""
        outcome = Outcome(status=ResultStatus.UNCONFIRMED, requested=self._requested(command), error=_INTERRUPTED)
        try:
            device, entity = self._registry.devices.get(command.device), self._entity(command)
            if device is not None and entity is not None:
                command.deadline = asyncio.get_running_loop().time() + self._limits.confirm_timeout
                await self._read_device(command, device)
                value = values.validate(entity, command.value)
                shown = self._registry.devices.get(command.device, device)
                matches, observed = values.observed(entity, shown, value)
                if entity.component is not Component.BUTTON:
                    status = ResultStatus.CONFIRMED if matches else ResultStatus.UNCONFIRMED
                    error = None if matches else _INTERRUPTED
                    outcome = replace(outcome, status=status, observed=observed, error=error)
        except (BackendError, OutboxError, CommandError, TimeoutError) as error:
            _LOG.debug("%s cannot be read: %s", command.device, error)
        except asyncio.CancelledError:
            self._end_stopped((command,))
            raise
        self.end(command, outcome)

    def refuse(self, command: Command, error: CommandError) -> None:
        """End a command that cannot be tried."""
        if self._replies.is_decided(command.entry, command.key):
            return
        self.end(command, invalid(error, None))

    def read(self, command: Command) -> None:
        """Read the command's device now, a repeated transaction too; ends in its state and a result."""
        if self._replies.is_decided(command.entry, command.key) or self._end_if_late(command):
            return
        device = self._registry.devices.get(command.device)
        if device is None:
            self.refuse(command, CommandError("unknown_device", f"there is no device {command.device}"))
        elif device.backend and device.backend not in self._backends:
            self.refuse(command, _not_configured(device))
        else:
            self._start_task(self._read(command, device), f"read of {command.device}")

    async def _read(self, command: Command, device: Device) -> None:
        outcome = Outcome(status=ResultStatus.CONFIRMED)
        with span("read", device=command.device), command_priority() as priority:
            try:
                await self._read_device(command, device)
            except BackendError as error:
                refused = isinstance(error, Rejected | AuthenticationError)
                status = ResultStatus.REJECTED if refused else ResultStatus.FAILED
                outcome = Outcome(status=status, error=error_detail(error))
            except OutboxError as error:
                outcome = Outcome(status=ResultStatus.FAILED, error=ErrorDetail(code="outbox", message=str(error)))
            except TimeoutError:
                late = ErrorDetail(code="timeout", message="the vendor did not respond in time")
                sent = Outcome(status=ResultStatus.FAILED, error=late)
                outcome = sent if priority.started else self._expired(command)
            except asyncio.CancelledError:
                self._end_stopped((command,))
                raise
        self.end(command, outcome)

    async def _read_device(self, command: Command, device: Device) -> None:
        """Read a device from the vendor. Raises BackendError, OutboxError, TimeoutError."""
        backend = self._backends.get(device.backend)
        if backend is not None and device.kind != GROUP_KIND:
            async with asyncio.timeout_at(command.deadline):
                with self._calls.of(backend.name):
                    await self._hub.accept(await backend.read(device))

    def _can_be_read(self, command: Command) -> bool:
        """Return True if a source of the device's backend answered last time."""
        name = self._registry.devices[command.device].backend
        backend = self._backends.get(name)
        return backend is not None and len(self._hub.unsettled.get(name, ())) < len(backend.sources)

    async def _make_ready(self, command: Command) -> None:
        """Read a device that is restored only: its turn among the polls may be far off."""
        device, entity = self._registry.devices.get(command.device), self._entity(command)
        if device is None or entity is None or _can_write(entity) or not self._can_be_read(command):
            return
        try:
            await self._read_device(command, device)
        except (BackendError, OutboxError, TimeoutError) as error:
            _LOG.debug("%s cannot be read: %s", command.device, error)

    def _supersede(self, command: Command) -> None:
        for batch in tuple(self._queues.get(command.device, ())):
            for older in [each for each in batch.commands if each.key == command.key]:
                if not _is_press(self._entity(older)):
                    batch.commands.remove(older)
                    self.end(older, replace(_NOT_SENT, requested=self._requested(older)))
        running = self._running.get(command.device)
        if running is not None:
            for older in running.commands:
                if older.key == command.key:
                    older.superseded = True
                    running.superseded.set()

    async def _work(self, device: str) -> None:
        """Execute what waits for one device, in order; ends when nothing does."""
        queue, priority = self._queues[device], CommandPriority()
        while queue:
            batch = self._running[device] = queue.popleft()
            try:
                keys = ",".join(str(command.key) for command in batch.commands)
                with span("command", device=device, keys=keys) as note, command_priority(priority):
                    outcomes = await self._execute(batch, priority)
                    note("status", ",".join(outcome.status for outcome in outcomes))
            except asyncio.CancelledError:
                self._end_stopped((*batch.commands, *(command for each in queue for command in each.commands)))
                raise
            finally:
                self._running.pop(device, None)
            for command, outcome in zip(batch.commands, outcomes, strict=True):
                self.end(command, outcome)
            if any(replace(outcome, requested=None) != _NOT_SENT for outcome in outcomes):
                priority = CommandPriority()  # else the newer command takes its turn at the vendor, too
        del self._queues[device]

    def _end_stopped(self, commands: Iterable[Command]) -> None:
        error = ErrorDetail(code="stopped", message="the bridge was stopped before this was over")
        for command in commands:
            self.end(command, Outcome(status=ResultStatus.FAILED, requested=self._requested(command), error=error))

    def end(self, command: Command, outcome: Outcome) -> None:
        """Publish how a command ended: its device's state, then the result."""
        self.ended[outcome.status] += 1
        self._publisher.request_state_publish(command.device)
        self._replies.result(command, outcome)

    async def _execute(self, batch: _Batch, priority: CommandPriority) -> list[Outcome]:
        """Execute a batch; return an outcome for each of its commands, in their order."""
        if not batch.commands:  # each was superseded while it waited
            return []
        first = batch.commands[0]
        if not _is_late(first):
            await self._make_ready(first)
        ended: dict[int, Outcome] = {}
        writes: list[Write] = []
        target: Device | None = None
        for command in batch.commands:
            if _is_late(command):
                ended[id(command)] = self._expired(command)
            elif command.superseded and not _is_press(self._entity(command)):
                ended[id(command)] = replace(_NOT_SENT, requested=self._requested(command))
            else:
                try:
                    target, entity, value = self._validate(command)
                except CommandError as error:
                    ended[id(command)] = invalid(error, self._requested(command))
                else:
                    writes.append(Write(command, entity, value))
        if writes and target is not None:
            await self._write(target, writes, batch.superseded, priority)
        for write in writes:
            assert write.outcome is not None  # noqa: S101 - CommandExecution.run ends each write
            ended[id(write.command)] = write.outcome
        return [ended[id(command)] for command in batch.commands]

    async def _write(
        self, device: Device, writes: list[Write], superseded: asyncio.Event, priority: CommandPriority
    ) -> None:
        try:
            await _record_writing(writes)
        except CommandError as error:
            detail = ErrorDetail(code=error.code, message=str(error))
            for write in writes:
                write.outcome = Outcome(
                    status=ResultStatus.FAILED, requested=self._requested(write.command), error=detail
                )
            return
        backend = self._backends.get(device.backend)
        execution = CommandExecution(self._hub, self._registry, backend, device, writes, superseded)
        started = priority.started
        with self._polls_suspended(device, writes), self._calls.of(device.backend):
            await execution.run(min(write.command.deadline for write in writes), self._limits.confirm_timeout)
        for write in writes:
            outcome, entity = write.outcome, write.entity
            assert outcome is not None  # noqa: S101 - as in _execute
            if outcome.status is ResultStatus.FAILED and priority.started == started and _is_late(write.command):
                write.outcome = self._expired(write.command)
            else:
                write.outcome = replace(outcome, requested=_requested(entity, values.state_value(entity, write.value)))

    def _polls_suspended(self, device: Device, writes: Iterable[Write]) -> AbstractContextManager[None]:
        """Keep polls from changing what is being written; a press writes nothing, and polls show what it does."""
        presses = all(_is_press(write.entity) for write in writes)
        return nullcontext() if presses else self._registry.suspend_polls(device.id)

    def _entity(self, command: Command) -> EntityDescription | None:
        device = self._registry.devices.get(command.device)
        return device.entity(command.key) if device and command.key else None

    def _requested(self, command: Command) -> Any:
        """Return the requested value as a result repeats it: not that of a secret or an unknown entity."""
        entity = self._entity(command)
        return None if entity is None else _requested(entity, command.value)

    def _validate(self, command: Command) -> tuple[Device, EntityDescription, Any]:
        """Return what is to be written: device, entity and value. Raises CommandError."""
        device = self._registry.devices.get(command.device)
        if device is None:
            raise CommandError("unknown_device", f"there is no device {command.device}")
        entity = device.entity(command.key or "")
        if entity is None:
            raise CommandError("unknown_key", f"{command.device} has no {command.key}")
        if entity.component not in values.WRITABLE:
            raise CommandError("read_only", f"{command.key} cannot be set")
        if device.backend and device.backend not in self._backends:
            raise _not_configured(device)
        if not _can_write(entity):
            message = f"{command.device} has not been read since the start, so it cannot be set yet"
            raise CommandError("not_ready", message)
        return device, entity, values.validate(entity, command.value)


def _is_late(command: Command) -> bool:
    return asyncio.get_running_loop().time() >= command.deadline


async def _record_writing(writes: Iterable[Write]) -> None:
    """Store that the vendor is about to be called, where commands have a journal. Raises CommandError."""
    keys: dict[JournalEntry, list[str]] = {}
    for write in writes:
        if write.command.entry is not None:
            keys.setdefault(write.command.entry, []).append(write.command.key or "")
    for entry, written in keys.items():
        await entry.journal.record_writing(entry, written)


def _is_press(entity: EntityDescription | None) -> bool:
    return entity is not None and entity.component is Component.BUTTON


def _can_write(entity: EntityDescription) -> bool:
    return entity.write is not None or entity.write_group is not None


def _requested(entity: EntityDescription, value: Any) -> Any:
    return None if entity.secret else value


def _not_configured(device: Device) -> CommandError:
    return CommandError("not_ready", f"backend {device.backend} is no longer configured")
