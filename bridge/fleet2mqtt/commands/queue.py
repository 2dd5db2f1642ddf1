"""CommandQueue: set → vendor write → read-back → state → exactly one result.

CommandQueue for one device run one after another, for different devices side by side. A newer command for the same key
takes the place of one that waits or is still being read back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from fleet2mqtt.commands.execution import CommandExecution, error_detail, invalid
from fleet2mqtt.commands.replies import Command, Outcome, Replies
from fleet2mqtt.contract import values
from fleet2mqtt.contract.payloads import ErrorDetail, ResultStatus
from fleet2mqtt.contract.topics import Topics
from fleet2mqtt.devices.model import Component, Device, EntityDescription
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import AuthenticationError, BackendError, CommandError, OutboxError, Rejected
from fleet2mqtt.hub import Hub
from fleet2mqtt.publishing.publisher import Publisher
from fleet2mqtt.sdk.api import Backend
from fleet2mqtt.sdk.rate_limiter import CommandPriority, command_priority

_LOG = logging.getLogger(__name__)

Spawn = Callable[[Any, str], object]

_UNTOUCHED = Outcome(status=ResultStatus.SUPERSEDED)
"""Nothing was sent before a newer command came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLimits:
    """`confirm` is how many seconds a write may take to show; `pending` how many commands may wait in all."""

    confirm: float = 10.0
    pending: int = 1000


class CommandQueue:
    """Carries commands out and says how each ended."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a command is checked against, written by, shown and replied with
        self,
        hub: Hub,
        registry: Registry,
        publisher: Publisher,
        topics: Topics,
        backends: Mapping[str, Backend],
        answers: Replies,
        spawn: Spawn,
        limits: CommandLimits,
    ) -> None:
        """`backends` are those that run now; `spawn(coroutine, name)` starts a task."""
        self._hub = hub
        self._registry = registry
        self._publisher = publisher
        self._topics = topics
        self._backends = backends
        self._answers = answers
        self._spawn = spawn
        self._limits = limits
        self._queues: dict[str, deque[Command]] = {}
        self._running: dict[str, Command] = {}
        self.ended: Counter[str] = Counter()

    @property
    def pending(self) -> int:
        """How many wait or run."""
        return sum(map(len, self._queues.values())) + len(self._running)

    def submit(self, command: Command) -> None:
        """Queue a command; it ends in exactly one result, whatever happens. A repeated transaction runs once."""
        topic = self._topics.device(command.device, "result")
        if self._answers.is_duplicate(topic, command.key, command.transaction, command.reply_to):
            return
        if self._is_late(command):
            return
        try:
            self._valid(command)
        except CommandError as error:
            if error.code != "not_ready" or not self._answers_us(command):
                self.end(command, invalid(error, self._requested(command)))
                return
        if self.pending >= self._limits.pending:
            busy = ErrorDetail(code="queue_full", message=f"{self._limits.pending} commands wait already")
            self.end(command, Outcome(status=ResultStatus.FAILED, requested=self._requested(command), error=busy))
            return
        self._supersede(command)
        queue = self._queues.get(command.device)
        if queue is None:
            self._queues[command.device] = deque((command,))
            self._spawn(self._work(command.device), f"commands of {command.device}")
        else:
            queue.append(command)

    def _is_late(self, command: Command) -> bool:
        """Whether it came too late already; then it has ended, and took no other command's place."""
        late = _too_late(command)
        if late:
            self.end(command, self._expired(command))
        return late

    def _expired(self, command: Command) -> Outcome:
        fault = ErrorDetail(code="expired", message="it waited longer than it may; nothing was sent")
        return Outcome(status=ResultStatus.EXPIRED, requested=self._requested(command), error=fault)

    def refuse(self, command: Command, error: CommandError) -> None:
        """End what cannot be tried."""
        self.end(command, invalid(error, None))

    def read(self, command: Command) -> None:
        """Read the command's device now, a repeated transaction too; ends in its state and a result."""
        if self._is_late(command):
            return
        device = self._registry.devices.get(command.device)
        if device is None:
            self.refuse(command, CommandError("unknown_device", f"there is no device {command.device}"))
        elif device.backend and device.backend not in self._backends:
            message = f"backend {device.backend} is no longer configured"
            self.refuse(command, CommandError("not_ready", message))
        else:
            self._spawn(self._read(command, device), f"read of {command.device}")

    async def _read(self, command: Command, device: Device) -> None:
        outcome = Outcome(status=ResultStatus.CONFIRMED)
        with command_priority() as urgency:
            try:
                await self._look(command, device)
            except BackendError as error:
                status = (
                    ResultStatus.REJECTED if isinstance(error, Rejected | AuthenticationError) else ResultStatus.FAILED
                )
                outcome = Outcome(status=status, error=error_detail(error))
            except OutboxError as error:
                outcome = Outcome(status=ResultStatus.FAILED, error=ErrorDetail(code="outbox", message=str(error)))
            except TimeoutError:
                fault = ErrorDetail(code="timeout", message="the vendor did not answer in time")
                outcome = (
                    Outcome(status=ResultStatus.FAILED, error=fault) if urgency.started else self._expired(command)
                )
            except asyncio.CancelledError:
                self._stop((command,))
                raise
        self.end(command, outcome)

    async def _look(self, command: Command, device: Device) -> None:
        """Read a device. Raises BackendError, OutboxError, TimeoutError."""
        backend = self._backends.get(device.backend)
        if backend is not None:
            async with asyncio.timeout_at(command.deadline):
                await self._hub.accept(await backend.read(device))

    def _answers_us(self, command: Command) -> bool:
        """Whether a source of the device's backend answered last time."""
        name = self._registry.devices[command.device].backend
        backend = self._backends.get(name)
        return backend is not None and len(self._hub.unsettled.get(name, ())) < len(backend.sources)

    async def _make_ready(self, command: Command) -> None:
        """Read a device that is known from the last run only: its turn among the polls may be far off."""
        device, row = self._registry.devices.get(command.device), self._row(command)
        if device is None or row is None or row.write is not None or not self._answers_us(command):
            return
        try:
            await self._look(command, device)
        except (BackendError, OutboxError, TimeoutError) as error:
            _LOG.debug("%s cannot be read: %s", command.device, error)

    def _supersede(self, command: Command) -> None:
        queue = self._queues.get(command.device, deque())
        for older in [older for older in queue if older.key == command.key and not _is_press(self._row(older))]:
            queue.remove(older)
            self.end(older, replace(_UNTOUCHED, requested=self._requested(older)))
        running = self._running.get(command.device)
        if running is not None and running.key == command.key:
            running.superseded.set()

    async def _work(self, device: str) -> None:
        """Carry out what waits for one device, in order; ends when nothing does."""
        queue, urgency = self._queues[device], CommandPriority()
        while queue:
            command = self._running[device] = queue.popleft()
            try:
                with command_priority(urgency):
                    outcome = await self._carry_out(command, urgency)
            except asyncio.CancelledError:
                self._stop((command, *queue))
                raise
            finally:
                self._running.pop(device, None)
            self.end(command, outcome)
            if (
                replace(outcome, requested=None) != _UNTOUCHED
            ):  # else the newer command takes its place, also before the vendor
                urgency = CommandPriority()
        del self._queues[device]

    def _stop(self, commands: tuple[Command, ...]) -> None:
        fault = ErrorDetail(code="stopped", message="the bridge was stopped before this was over")
        for command in commands:
            self.end(command, Outcome(status=ResultStatus.FAILED, requested=self._requested(command), error=fault))

    def end(self, command: Command, outcome: Outcome) -> None:
        """Say how a command ended: its device's state, then the result."""
        self.ended[outcome.status] += 1
        self._publisher.request_state_publish(command.device)
        self._answers.result(command, outcome)

    async def _carry_out(self, command: Command, urgency: CommandPriority) -> Outcome:
        if not _too_late(command):
            await self._make_ready(command)
        if _too_late(command):
            return self._expired(command)
        if command.superseded.is_set() and not _is_press(self._row(command)):
            return replace(_UNTOUCHED, requested=self._requested(command))
        try:
            device, row, value = self._valid(command)
        except CommandError as error:
            return invalid(error, self._requested(command))
        attempt = CommandExecution(self._hub, self._registry, self._backends.get(device.backend), device, row, value)
        calls = urgency.started
        with self._protected(device, row):
            outcome = await attempt.run(command, self._limits.confirm)
        if outcome.status is ResultStatus.FAILED and urgency.started == calls and _too_late(command):
            return self._expired(command)
        return replace(outcome, requested=None if row.secret else values.state_value(row, value))

    def _protected(self, device: Device, row: EntityDescription) -> AbstractContextManager[None]:
        """Polls do not touch what is being set; a press sets nothing, and what it refreshes they bring."""
        return nullcontext() if row.component is Component.BUTTON else self._registry.suspend_polls(device.id)

    def _row(self, command: Command) -> EntityDescription | None:
        device = self._registry.devices.get(command.device)
        return device.entity(command.key) if device and command.key else None

    def _requested(self, command: Command) -> Any:
        """What was asked for, as a result repeats it: not what is secret, and not what nobody knows to be none."""
        row = self._row(command)
        return None if row is None or row.secret else command.value

    def _valid(self, command: Command) -> tuple[Device, EntityDescription, Any]:
        """What is to be set to what. Raises CommandError."""
        device = self._registry.devices.get(command.device)
        if device is None:
            raise CommandError("unknown_device", f"there is no device {command.device}")
        row = device.entity(command.key or "")
        if row is None:
            raise CommandError("unknown_key", f"{command.device} has no {command.key}")
        if row.component not in values.WRITABLE:
            raise CommandError("read_only", f"{command.key} cannot be set")
        if row.write is None:
            message = f"{command.device} has not been heard of since the start, so it cannot be set yet"
            raise CommandError("not_ready", message)
        return device, row, values.validate(row, command.value)


def _too_late(command: Command) -> bool:
    return asyncio.get_running_loop().time() >= command.deadline


def _is_press(row: EntityDescription | None) -> bool:
    return row is not None and row.component is Component.BUTTON
