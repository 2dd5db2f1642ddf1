"""RequestHandler: `bridge/request/<name>` and `backend/<backend>/request/<action>`, each with exactly one response."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import voluptuous as vol

from fleet2mqtt.commands.replies import Replies, Request
from fleet2mqtt.config.models import BackendConfig
from fleet2mqtt.contract.payloads import ErrorDetail
from fleet2mqtt.errors import BackendError, BridgeError, CommandError, OutboxError
from fleet2mqtt.sdk.api import Action, Backend
from fleet2mqtt.sdk.rate_limiter import command_priority

_LOG = logging.getLogger(__name__)

MAX_RUNNING = 200
"""How many requests may be under way at once."""
_EXPIRED = "it waited longer than it may; nothing was done"

Spawn = Callable[[Coroutine[Any, Any, None], str], object]


class RequestHandler:
    """Validates requests, carries them out and answers."""

    def __init__(  # noqa: PLR0913, PLR0917 - whose requests there are, what they may do, and what follows them
        self,
        answers: Replies,
        own: Mapping[str, Action],
        backends: Mapping[str, Backend],
        configs: Mapping[str, BackendConfig],
        spawn: Spawn,
        request_poll: Callable[[str, tuple[str, ...]], None],
    ) -> None:
        """`own` are the bridge's requests; `backends` run now, and `configs` say which destructive actions may.

        `request_poll` is called with a backend and sources after an action, so that the entities show what it did.
        """
        self._answers = answers
        self._own = own
        self._backends = backends
        self._configs = configs
        self._spawn = spawn
        self._request_poll = request_poll
        self._running = 0

    def submit(self, request: Request) -> None:
        """Carry a request out and answer it; one that was here before gets its answer once more."""
        if self._answers.is_duplicate(request.topic, None, request.transaction, request.reply_to):
            return
        if self._running >= MAX_RUNNING:
            busy = ErrorDetail(code="busy", message=f"{MAX_RUNNING} requests are under way already")
            self._answers.response(request, error=busy)
            return
        self._running += 1
        self._spawn(self._answer(request), f"request {request.name}")

    def refuse(self, request: Request, error: CommandError) -> None:
        """Answer what cannot be tried; it leaves alone how a request of the same transaction ended, or will."""
        self._answers.response(request, error=ErrorDetail(code=error.code, message=str(error)), kept=False)

    async def _answer(self, request: Request) -> None:
        data, error = None, None
        try:
            data = await self._carry_out(request)
        except CommandError as fault:
            error = ErrorDetail(code=fault.code, message=str(fault))
        except BackendError as fault:
            data = fault.data
            error = ErrorDetail(code=fault.code if fault.code is not None else fault.kind, message=str(fault))
        except OutboxError as fault:
            error = ErrorDetail(code="outbox", message=str(fault))
        except TimeoutError:
            error = ErrorDetail(code="timeout", message="there was no answer before the request expired")
        except asyncio.CancelledError:
            self._answers.response(
                request, error=ErrorDetail(code="stopped", message="the bridge was stopped meanwhile")
            )
            raise
        finally:
            self._running -= 1
        self._answers.response(request, data=data, error=error)

    async def _carry_out(self, request: Request) -> Any:
        if asyncio.get_running_loop().time() >= request.deadline:
            raise CommandError("expired", _EXPIRED)
        action = self._find(request.backend, request.name)
        arguments = _validate(action, request.arguments)
        with command_priority() as urgency:
            try:
                async with asyncio.timeout_at(request.deadline):
                    return await action.run(arguments)
            except TimeoutError:
                if request.backend is None or urgency.started:
                    raise
                raise CommandError("expired", _EXPIRED) from None
            finally:  # also after a fault: who knows how far it went
                if request.backend is not None and action.refresh:
                    self._request_poll(request.backend, action.refresh)

    def _find(self, backend: str | None, name: str) -> Action:
        if backend is not None and backend not in self._backends:
            known = ", ".join(self._backends) or "none"
            raise CommandError("unknown_backend", f"there is no backend {backend}; there is {known}")
        actions = self._own if backend is None else {each.name: each for each in self._backends[backend].actions}
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


def _validate(action: Action, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(vol.Schema(dict(action.schema))(arguments))
    except vol.MultipleInvalid as invalid:
        faults = "; ".join(f"{'.'.join(map(str, fault.path)) or action.name}: {fault.msg}" for fault in invalid.errors)
        raise CommandError("invalid_arguments", faults) from invalid


def failed(error: BridgeError | None) -> dict[str, Any]:
    """How a part of a request went, for answers that report several."""
    return {"ok": error is None, "error": str(error) if error else None}
