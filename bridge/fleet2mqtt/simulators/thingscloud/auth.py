"""Logins, tokens and the rate limit of a simulated ThingsCloud."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from fleet2mqtt.simulators.thingscloud.data import make_id
from fleet2mqtt.simulators.thingscloud.requests import NO_TOKEN, NOT_ALLOWED, ApiRequest, Operation, RefusalError, Token
from fleet2mqtt.simulators.thingscloud.state import Simulator

_MAX_TOKENS = 1_000
_SLACK = 0.05  # a caller at exactly the limit may arrive a little early


def seconds_to_wait(simulator: Simulator) -> int | None:
    """Record a call; return the seconds to wait (for Retry-After) if it exceeds the rate, else None."""
    now, rate, accepted = time.monotonic(), simulator.max_rate, simulator.accepted
    simulator.arrivals.append(now)
    if not rate:
        accepted.clear()
        return None
    burst = max(1, int(rate))
    span = burst / rate * (1 - _SLACK)
    while accepted and now - accepted[0] >= span:
        accepted.popleft()
    if len(accepted) >= burst:
        return max(1, math.ceil(span - (now - accepted[0])))
    accepted.append(now)
    return None


def authorize(simulator: Simulator, headers: Mapping[str, str]) -> Token:
    """Return the valid token of `Authorization: Bearer …`. Raises `RefusalError`."""
    scheme, _, text = headers.get("Authorization", "").partition(" ")
    token = simulator.tokens.get(text) if scheme == "Bearer" else None
    if token is None or token.ends <= time.monotonic():
        status = 401 if simulator.quirks.token_401 else 200
        message = "Invalid access token" if token is None else "Access token expired"
        raise RefusalError(message, NO_TOKEN, status=status)
    return token


def server_login(simulator: Simulator, request: ApiRequest) -> dict[str, Any]:
    """Log in as a server (服务器获取 AccessToken)."""
    given = tuple(request.text(name) for name in ("app_id", "access_key", "secret_key"))
    valid = given == (simulator.app_id, simulator.access_key, simulator.secret_key)
    _login(simulator, given[1], valid=valid)
    info: dict[str, Any] = {"access_token": _issue_token(simulator, None, simulator.token_seconds)}
    return info if simulator.quirks.no_expires_in else info | {"expires_in": int(simulator.token_seconds)}


def admin_login(simulator: Simulator, request: ApiRequest) -> dict[str, Any]:
    """Log in as an administrator (浏览器获取 AccessToken); the document has no `expires_in` here."""
    given = tuple(request.text(name) for name in ("app_id", "account", "password"))
    valid = given == (simulator.app_id, simulator.admin["account"], simulator.password)
    _login(simulator, given[1], valid=valid)
    return {"access_token": _issue_token(simulator, given[1], simulator.admin_token_seconds)}


def read_admin(simulator: Simulator, request: ApiRequest) -> dict[str, Any]:
    """Return the administrator (读取当前登录的管理员信息); only with an administrator's token."""
    if request.account is None:
        raise RefusalError("仅管理员可用", NOT_ALLOWED)
    return dict(simulator.admin)


def _login(simulator: Simulator, user: str, *, valid: bool) -> None:
    simulator.logins += 1
    bad = simulator.bad_logins.get(user, 0)
    if simulator.lock_after is not None and bad >= simulator.lock_after:
        raise RefusalError("账号已锁定", NOT_ALLOWED)
    if not valid:
        simulator.bad_logins[user] = bad + 1
        raise RefusalError("账号或密钥错误", NOT_ALLOWED)
    simulator.bad_logins.pop(user, None)


def _issue_token(simulator: Simulator, account: str | None, seconds: float) -> str:
    text = make_id(simulator.rng, 32)
    simulator.tokens[text] = Token(account, time.monotonic() + seconds)
    while len(simulator.tokens) > _MAX_TOKENS:
        del simulator.tokens[next(iter(simulator.tokens))]
    return text


OPERATIONS = (
    Operation(method="POST", path="/api/v1/access_token", run=server_login, is_open=True),
    Operation(method="POST", path="/api/v1/admin_login", run=admin_login, is_open=True),
    Operation(method="GET", path="/api/v1/admin", run=read_admin),
)
