"""One write and its read-back: what the vendor said, and what is true afterwards."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.commands.replies import Command, Outcome
from fleet2mqtt.contract import values
from fleet2mqtt.contract.payloads import ErrorDetail, ResultStatus
from fleet2mqtt.devices.model import Component, Device, EntityDescription, Update
from fleet2mqtt.devices.registry import Registry
from fleet2mqtt.errors import Ambiguous, BackendError, CommandError, InvalidResponse, OutboxError, Unreachable
from fleet2mqtt.hub import Hub
from fleet2mqtt.sdk.api import Backend

_LOG = logging.getLogger(__name__)

READ_BACKS = (0.0, 0.25, 0.5, 1.0, 2.0)
"""Seconds before each read-back; the last one repeats until the time is up."""


@dataclass(slots=True)
class CommandExecution:
    """One write and its read-back."""

    hub: Hub
    registry: Registry
    backend: Backend | None
    device: Device
    row: EntityDescription
    value: Any
    wrote: bool = False

    async def run(self, command: Command, confirm: float) -> Outcome:
        """Write, read back, and judge; wait_for_event the command's deadline."""
        try:
            async with asyncio.timeout_at(command.deadline):
                return await self._write(command, confirm)
        except TimeoutError:
            fault = ErrorDetail(code="timeout", message="the vendor did not answer before the command expired")
            status = ResultStatus.UNCONFIRMED if self.wrote else ResultStatus.FAILED
            return Outcome(status=status, observed=self._observed()[1], error=fault)

    async def _write(self, command: Command, confirm: float) -> Outcome:
        unsure: BackendError | None = None
        try:
            update = await self._send()
            if update is not None:
                await self.hub.accept(update)
        except CommandError as error:
            return invalid(error, None)
        except (Ambiguous, InvalidResponse) as error:
            unsure = error
        except OutboxError as error:
            _LOG.warning("%s: what the answer showed is not taken in: %s", self.device.id, error)
        except BackendError as error:
            return await self._refused(error)
        self.wrote = unsure is None
        if self.row.component is Component.BUTTON:
            return _judge(matches=unsure is None, observed=None, unsure=unsure, why=None)
        return await self._read_back(command, confirm, unsure)

    async def _send(self) -> Update | None:
        assert self.row.write is not None  # noqa: S101 - Commands._target saw to it
        return await self.row.write(self.backend.client if self.backend else None, self.device, self.value)

    async def _refused(self, error: BackendError) -> Outcome:
        """The vendor said no, or nothing was sent. One look at the truth, for a write that went half way."""
        if not isinstance(error, Unreachable):
            await self._look()
        status = ResultStatus.FAILED if isinstance(error, Unreachable) else ResultStatus.REJECTED
        return Outcome(status=status, observed=self._observed()[1], error=error_detail(error))

    async def _read_back(self, command: Command, confirm: float, unsure: BackendError | None) -> Outcome:
        """Read until the state shows the value, the time is up, or a newer command takes over."""
        loop = asyncio.get_running_loop()
        until, tries, why = loop.time() + confirm, 0, None
        while True:
            wait = READ_BACKS[min(tries, len(READ_BACKS) - 1)]
            if await wait_for_event(command.superseded, wait):
                return Outcome(status=ResultStatus.SUPERSEDED, observed=self._observed()[1])
            tries += 1
            why = await self._look()
            matches, state = self._observed()
            if matches and why is None:
                return _judge(matches=True, observed=state, unsure=unsure, why=None)
            if loop.time() >= until:
                return _judge(matches=False, observed=state, unsure=unsure, why=why)

    async def _look(self) -> BackendError | OutboxError | None:
        """Read the device back; gives what went wrong with that."""
        if self.backend is None:
            return None
        try:
            await self.hub.accept(await self.backend.read(self.device))
        except (BackendError, OutboxError) as error:
            _LOG.debug("%s cannot be read back: %s", self.device.id, error)
            return error
        return None

    def _observed(self) -> tuple[bool, Any]:
        current = self.registry.devices.get(self.device.id, self.device)
        return values.observed(current.entity(self.row.key) or self.row, current, self.value)


def _judge(
    *, matches: bool, observed: Any, unsure: BackendError | None, why: BackendError | OutboxError | None
) -> Outcome:
    if matches:
        return Outcome(status=ResultStatus.CONFIRMED, observed=observed)
    if unsure is not None:
        return Outcome(status=ResultStatus.FAILED, observed=observed, error=error_detail(unsure))
    words = f"; it could not be read back: {why}" if why else ""
    fault = ErrorDetail(code="not_shown", message=f"the vendor said yes, the read-back does not show it{words}")
    return Outcome(status=ResultStatus.UNCONFIRMED, observed=observed, error=fault)


def error_detail(error: BackendError) -> ErrorDetail:
    """What a vendor call that went wrong says in a result."""
    return ErrorDetail(code=error.code if error.code is not None else error.kind, message=str(error))


def invalid(error: CommandError, requested: Any) -> Outcome:
    """How a command ends that could not be tried."""
    status = ResultStatus.FAILED if error.code == "not_ready" else ResultStatus.INVALID
    return Outcome(status=status, requested=requested, error=ErrorDetail(code=error.code, message=str(error)))
