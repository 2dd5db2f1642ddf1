"""Execution of commands: one write and its read-back, for one key or for keys that are written together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.commands.replies import Command, Outcome
from fleet2mqtt.contract import values
from fleet2mqtt.contract.payloads import ErrorDetail, ResultStatus
from fleet2mqtt.devices.model import Component, Device, EntityDescription, Update, Value
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import (
    Ambiguous,
    BackendError,
    CommandError,
    InvalidResponse,
    OutboxError,
    Unconfirmed,
    Unreachable,
)
from fleet2mqtt.hub import Hub
from fleet2mqtt.sdk.api import Backend

_LOG = logging.getLogger(__name__)

READ_BACK_DELAYS = (0.0, 0.25, 0.5, 1.0, 2.0)
"""Seconds before each read-back; the last one repeats until the confirm timeout."""


@dataclass(slots=True)
class Write:
    """One key of an execution: its command, its entity and the validated value. `outcome` is set when it has ended."""

    command: Command
    entity: EntityDescription
    value: Any
    outcome: Outcome | None = None


@dataclass(slots=True)
class CommandExecution:
    """One call that writes, and the read-backs that decide how each of its keys ended."""

    hub: Hub
    registry: Registry
    backend: Backend | None
    device: Device
    writes: Sequence[Write]
    superseded: asyncio.Event
    """Set when a newer command supersedes one of the writes."""
    _written: bool = field(default=False, init=False)

    async def run(self, deadline: float, confirm_timeout: float) -> None:
        """Write, read back and evaluate before the deadline; each write has an outcome then. Raises nothing."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._write(confirm_timeout)
        except TimeoutError:
            error = ErrorDetail(code="timeout", message="the vendor did not respond before the command expired")
            status = ResultStatus.UNCONFIRMED if self._written else ResultStatus.FAILED
            self._end_all(status, error)

    async def _write(self, confirm_timeout: float) -> None:
        ambiguous: BackendError | None = None
        try:
            update = await self._send()
            if update is not None:
                await self.hub.accept(update)
        except CommandError as error:
            outcome = invalid(error, None)
            self._end_all(outcome.status, outcome.error, observe=False)
            return
        except (Ambiguous, InvalidResponse) as error:
            ambiguous = error
        except OutboxError as error:
            _LOG.warning("%s: what the response shows is not accepted: %s", self.device.id, error)
        except Unconfirmed as error:
            self._written = True
            await self._read_back()
            self._end_all(ResultStatus.UNCONFIRMED, error_detail(error))
            return
        except BackendError as error:
            await self._refused(error)
            return
        self._written = ambiguous is None
        await self._read_back_until_shown(confirm_timeout, ambiguous)

    async def _send(self) -> Update | None:
        client = self.backend.client if self.backend else None
        first = self.writes[0].entity
        if first.write_group is not None and (len(self.writes) > 1 or first.write is None):
            return await first.write_group(
                client, self.device, {write.entity.key: write.value for write in self.writes}
            )
        assert first.write is not None  # noqa: S101 - CommandQueue validated it
        return await first.write(client, self.device, self.writes[0].value)

    async def _refused(self, error: BackendError) -> None:
        """End what the vendor rejected, or what was not sent. One read-back, for a write that was done in part."""
        if not isinstance(error, Unreachable):
            await self._read_back()
        status = ResultStatus.FAILED if isinstance(error, Unreachable) else ResultStatus.REJECTED
        self._end_all(status, error_detail(error))

    async def _read_back_until_shown(self, confirm_timeout: float, ambiguous: BackendError | None) -> None:
        """Read back until the device shows every value, the time is up, or newer commands supersede the rest."""
        if not any(_is_visible(write.entity) for write in self.writes):
            for write in self.writes:
                write.outcome = _evaluate(matches=ambiguous is None, observed=None, ambiguous=ambiguous, failure=None)
            return
        loop = asyncio.get_running_loop()
        deadline, count = loop.time() + confirm_timeout, 0
        while True:
            await self._wait(READ_BACK_DELAYS[min(count, len(READ_BACK_DELAYS) - 1)])
            if not self._open():
                return
            count += 1
            failure = await self._read_back()
            for write in self._open():
                matches, observed = self._observe(write)
                if (matches and failure is None) or loop.time() >= deadline:
                    matches = matches and failure is None
                    write.outcome = _evaluate(matches=matches, observed=observed, ambiguous=ambiguous, failure=failure)
            if not self._open():
                return

    async def _wait(self, seconds: float) -> None:
        """Wait before a read-back; end what newer commands supersede meanwhile, and return early if nothing is left."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self._open() and await wait_for_event(self.superseded, max(0.0, until - loop.time())):
            self.superseded.clear()
            for write in self._open():
                if write.command.superseded:
                    write.outcome = Outcome(status=ResultStatus.SUPERSEDED, observed=self._observe(write)[1])

    async def _read_back(self) -> BackendError | OutboxError | None:
        """Read the device from the vendor; return the error if that fails."""
        if self.backend is None or all(write.entity.local for write in self.writes):
            return None
        try:
            await self.hub.accept(await self.backend.read(self.device))
        except (BackendError, OutboxError) as error:
            _LOG.debug("%s cannot be read back: %s", self.device.id, error)
            return error
        return None

    def _open(self) -> list[Write]:
        return [write for write in self.writes if write.outcome is None]

    def _observe(self, write: Write) -> tuple[bool, Value]:
        """Return True if the device shows what was written, and the state that it shows."""
        current = self.registry.devices.get(self.device.id)
        if write.entity.component is Component.BUTTON:
            # A device that a press removed shows its effect by being gone.
            confirmed = write.entity.confirmed
            return current is None or confirmed is None or confirmed(current) is not False, None
        shown = current or self.device
        return values.observed(shown.entity(write.entity.key) or write.entity, shown, write.value)

    def _end_all(self, status: ResultStatus, error: ErrorDetail | None, *, observe: bool = True) -> None:
        for write in self._open():
            observed = self._observe(write)[1] if observe else None
            write.outcome = Outcome(status=status, observed=observed, error=error)


def _is_visible(entity: EntityDescription) -> bool:
    """Return True if a read-back can show what a write to the entity did."""
    return entity.component is not Component.BUTTON or entity.confirmed is not None


def _evaluate(
    *, matches: bool, observed: Any, ambiguous: BackendError | None, failure: BackendError | OutboxError | None
) -> Outcome:
    """Return the outcome of a write: the read-back decides, also after an ambiguous failure."""
    if matches:
        return Outcome(status=ResultStatus.CONFIRMED, observed=observed)
    if ambiguous is not None:
        return Outcome(status=ResultStatus.FAILED, observed=observed, error=error_detail(ambiguous))
    reason = f"; it could not be read back: {failure}" if failure else ""
    error = ErrorDetail(code="not_shown", message=f"the vendor accepted it, the read-back does not show it{reason}")
    return Outcome(status=ResultStatus.UNCONFIRMED, observed=observed, error=error)


def error_detail(error: BackendError) -> ErrorDetail:
    """Return code and message of a failed vendor call."""
    return ErrorDetail(code=error.code if error.code is not None else error.kind, message=str(error))


def invalid(error: CommandError, requested: Any) -> Outcome:
    """Return the outcome of a command that cannot be tried."""
    status = ResultStatus.FAILED if error.code == "not_ready" else ResultStatus.INVALID
    return Outcome(status=status, requested=requested, error=ErrorDetail(code=error.code, message=str(error)))
