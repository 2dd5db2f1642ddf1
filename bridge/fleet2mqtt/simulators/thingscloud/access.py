"""Who may call a simulated ThingsCloud, and how often: logins, tokens and the rate."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from fleet2mqtt.simulators.thingscloud.data import make_id
from fleet2mqtt.simulators.thingscloud.state import Simulator
from fleet2mqtt.simulators.thingscloud.wire import NO_TOKEN, NOT_ALLOWED, Ask, Operation, RefusalError, Token

_TOKENS_KEPT = 1_000
_SLACK = 0.05  # a caller who keeps the limit exactly may arrive a little early


def admit(simulator: Simulator) -> int | None:
    """Note a call; the seconds to wait (for Retry-After) where it is one too many."""
    now, rate, admitted = time.monotonic(), simulator.max_rate, simulator.admitted
    simulator.arrivals.append(now)
    if not rate:
        admitted.clear()
        return None
    burst = max(1, int(rate))
    span = burst / rate * (1 - _SLACK)
    while admitted and now - admitted[0] >= span:
        admitted.popleft()
    if len(admitted) >= burst:
        return max(1, math.ceil(span - (now - admitted[0])))
    admitted.append(now)
    return None


def authorized(simulator: Simulator, headers: Mapping[str, str]) -> Token:
    """The token of `Authorization: Bearer …`. Raises `RefusalError` for any other than a valid one."""
    scheme, _, text = headers.get("Authorization", "").partition(" ")
    token = simulator.tokens.get(text) if scheme == "Bearer" else None
    if token is None or token.ends <= time.monotonic():
        status = 401 if simulator.quirks.token_401 else 200
        message = "Invalid access token" if token is None else "Access token expired"
        raise RefusalError(message, NO_TOKEN, status=status)
    return token


def server_login(simulator: Simulator, ask: Ask) -> dict[str, Any]:
    """T1, for a server."""
    given = tuple(ask.text(name) for name in ("app_id", "access_key", "secret_key"))
    right = given == (simulator.app_id, simulator.access_key, simulator.secret_key)
    _login(simulator, given[1], right=right)
    info: dict[str, Any] = {"access_token": _grant(simulator, None, simulator.token_seconds)}
    return info if simulator.quirks.no_expires_in else info | {"expires_in": int(simulator.token_seconds)}


def admin_login(simulator: Simulator, ask: Ask) -> dict[str, Any]:
    """T2, for an administrator; the document has no `expires_in` here."""
    given = tuple(ask.text(name) for name in ("app_id", "account", "password"))
    right = given == (simulator.app_id, simulator.admin["account"], simulator.password)
    _login(simulator, given[1], right=right)
    return {"access_token": _grant(simulator, given[1], simulator.admin_token_seconds)}


def read_admin(simulator: Simulator, ask: Ask) -> dict[str, Any]:
    """T42: only with an administrator's token."""
    if ask.account is None:
        raise RefusalError("仅管理员可用", NOT_ALLOWED)
    return dict(simulator.admin)


def _login(simulator: Simulator, who: str, *, right: bool) -> None:
    simulator.logins += 1
    bad = simulator.bad_logins.get(who, 0)
    if simulator.lock_after is not None and bad >= simulator.lock_after:
        raise RefusalError("账号已锁定", NOT_ALLOWED)
    if not right:
        simulator.bad_logins[who] = bad + 1
        raise RefusalError("账号或密钥错误", NOT_ALLOWED)
    simulator.bad_logins.pop(who, None)


def _grant(simulator: Simulator, account: str | None, seconds: float) -> str:
    text = make_id(simulator.rng, 32)
    simulator.tokens[text] = Token(account, time.monotonic() + seconds)
    while len(simulator.tokens) > _TOKENS_KEPT:
        del simulator.tokens[next(iter(simulator.tokens))]
    return text


OPERATIONS = (
    Operation(method="POST", path="/api/v1/access_token", run=server_login, is_open=True),
    Operation(method="POST", path="/api/v1/admin_login", run=admin_login, is_open=True),
    Operation(method="GET", path="/api/v1/admin", run=read_admin),
)
