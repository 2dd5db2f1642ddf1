"""Requests: `bridge/request/<name>` and `backend/<backend>/request/<action>`, each with exactly one response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import voluptuous as vol

from fleet2mqtt.commands.calls import CallsInProgress
from fleet2mqtt.commands.execution import error_detail
from fleet2mqtt.commands.replies import Replies, Request
from fleet2mqtt.config.models import BackendConfig
from fleet2mqtt.contract.payloads import ErrorDetail
from fleet2mqtt.errors import BackendError, BridgeError, CommandError, OutboxError
from fleet2mqtt.sdk.api import Action, Backend
from fleet2mqtt.sdk.rate_limiter import command_priority

MAX_RUNNING = 200
"""Requests that may be in progress at once."""
_INTERRUPTED = ErrorDetail(
    code="interrupted", message="the node that carried it out failed meanwhile; nobody knows how much of it was done"
)
_EXPIRED = "it waited longer than it may; nothing was done"

StartTask = Callable[[Coroutine[Any, Any, None], str], object]
"""`start_task(work, name)` starts a task that is cancelled when the bridge is stopped."""


class RequestHandler:
    """Validates requests, runs their actions and publishes the responses."""

    def __init__(  # noqa: PLR0913, PLR0917 - whose requests there are, what they may do, and what follows them
        self,
        replies: Replies,
        bridge_actions: Mapping[str, Action],
        backends: Mapping[str, Backend],
        configs: Mapping[str, BackendConfig],
        calls: CallsInProgress,
        start_task: StartTask,
        request_poll: Callable[[str, tuple[str, ...]], None],
    ) -> None:
        """`backends` run now, and `configs` say which of their destructive actions may.

        `request_poll` is called with a backend and sources after an action, so that the entities show what it did.
        """
        self._replies = replies
        self._bridge_actions = bridge_actions
        self._backends = backends
        self._configs = configs
        self._calls = calls
        self._start_task = start_task
        self._request_poll = request_poll
        self._running = 0

    def submit(self, request: Request) -> None:
        """Execute a request; a repeated transaction gets its response once more."""
        entry = request.entry
        if self._replies.is_decided(entry, None):
            return
        if entry is not None and entry.was_writing(None):
            self._replies.response(request, error=_INTERRUPTED)
            return
        if self._replies.is_duplicate(request.topic, None, request.transaction, request.reply_to, request.entry):
            if entry is not None:
                entry.end()
            return
        if self._running >= MAX_RUNNING:
            busy = ErrorDetail(code="busy", message=f"{MAX_RUNNING} requests are in progress already")
            self._replies.response(request, error=busy)
            return
        self._running += 1
        self._start_task(self._respond(request), f"request {request.name}")

    def refuse(self, request: Request, error: CommandError) -> None:
        """Publish why a request cannot be tried; the response of an earlier one of its transaction stays."""
        if self._replies.is_decided(request.entry, None):
            return
        self._replies.response(request, error=ErrorDetail(code=error.code, message=str(error)), remember=False)

    async def _respond(self, request: Request) -> None:
        data, detail = None, None
        try:
            data = await self._execute(request)
        except CommandError as error:
            detail = ErrorDetail(code=error.code, message=str(error))
        except BackendError as error:
            data, detail = error.data, error_detail(error)
        except OutboxError as error:
            detail = ErrorDetail(code="outbox", message=str(error))
        except TimeoutError:
            detail = ErrorDetail(code="timeout", message="there was no response before the request expired")
        except asyncio.CancelledError:
            stopped = ErrorDetail(code="stopped", message="the bridge was stopped meanwhile")
            self._replies.response(request, error=stopped)
            raise
        finally:
            self._running -= 1
        self._replies.response(request, data=data, error=detail)

    async def _execute(self, request: Request) -> Any:
        if asyncio.get_running_loop().time() >= request.deadline:
            raise CommandError("expired", _EXPIRED)
        action = self._find(request.backend, request.name)
        arguments = validate_arguments(action, request.arguments)
        with command_priority() as priority, self._calls.of(request.backend or ""):
            try:
                async with asyncio.timeout_at(request.deadline):
                    if request.entry is not None:
                        await request.entry.journal.record_writing(request.entry, ("",))
                    return await action.run(arguments)
            except TimeoutError:
                if request.backend is None or priority.started:
                    raise
                raise CommandError("expired", _EXPIRED) from None
            finally:  # also after an error: nobody knows how much of it was done
                if request.backend is not None and action.refresh:
                    self._request_poll(request.backend, action.refresh)

    def _find(self, backend: str | None, name: str) -> Action:
        if backend is not None and backend not in self._backends:
            known = ", ".join(self._backends) or "none"
            raise CommandError("unknown_backend", f"there is no backend {backend}; there is {known}")
        actions = (
            self._bridge_actions
            if backend is None
            else {action.name: action for action in self._backends[backend].actions}
        )
        action = actions.get(name)
        if action is None:
            where = "the bridge" if backend is None else backend
            message = f"{where} has no request {name}; it has {', '.join(sorted(actions))}"
            raise CommandError("unknown_request", message)
        if action.destructive and backend is not None and name not in self._configs[backend].allow:
            message = (
                f"{name} is destructive: it works only when the configuration says backends.{backend}.allow: [{name}]"
            )
            raise CommandError("not_allowed", message)
        return action


def validate_arguments(action: Action, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of an action as its schema lets them through. Raises CommandError."""
    try:
        return dict(vol.Schema(dict(action.schema))(dict(arguments)))
    except vol.MultipleInvalid as invalid:
        problems = "; ".join(
            f"{'.'.join(map(str, error.path)) or action.name}: {error.msg}" for error in invalid.errors
        )
        raise CommandError("invalid_arguments", problems) from invalid


def part_report(error: BridgeError | None) -> dict[str, Any]:
    """Return how one part of a request ended, for responses that report several."""
    return {"ok": error is None, "error": str(error) if error else None}
