"""Calls on the project's users and their roles."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from fleet2mqtt.simulators.thingscloud.data import make_customer, now_ms
from fleet2mqtt.simulators.thingscloud.requests import (
    NOT_ALLOWED,
    NOT_FOUND,
    ApiRequest,
    Operation,
    RefusalError,
    WriteResult,
    require,
)
from fleet2mqtt.simulators.thingscloud.state import Simulator

_OPTIONAL = ("descr", "email", "mobile")


def _customer(simulator: Simulator, request: ApiRequest) -> dict[str, Any]:
    customer = simulator.customers.get(request.match["customer_id"])
    if customer is None:
        raise RefusalError("用户不存在", NOT_FOUND)
    return customer


def list_customers(simulator: Simulator, _: ApiRequest) -> dict[str, Any]:
    """读取用户列表."""
    return {"items": [simulator.quirks.customer(customer) for customer in simulator.customers.values()]}


def list_roles(simulator: Simulator, _: ApiRequest) -> dict[str, Any]:
    """读取用户角色列表."""
    counts = Counter(customer["role_id"] for customer in simulator.customers.values())
    created = simulator.quirks.created
    return {
        "items": [
            role | {"create_time": created(role["create_time"]), "customer_count": counts[role["id"]]}
            for role in simulator.roles.values()
        ]
    }


def read_customer(simulator: Simulator, request: ApiRequest) -> dict[str, Any]:
    """读取用户信息; without `role_id`, as in the sample."""
    return simulator.quirks.customer(_customer(simulator, request), role=False)


def create_customer(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """创建用户."""
    values: dict[str, Any] = {name: request.text(name) for name in ("name", "account", "password")}
    values |= {name: request.text(name, required=False) for name in _OPTIONAL}
    values["tags"] = request.texts("tags") if "tags" in request.body else {}
    accounts = {customer["account"] for customer in simulator.customers.values()}
    require(values["account"] not in accounts, "用户登录名已存在")
    customer = make_customer(simulator.rng, now_ms(), **values)
    add = partial(simulator.customers.update, {customer["id"]: customer})
    return {"id": customer["id"], "name": customer["name"]}, add


def change_customer(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """修改用户信息: at least one field."""
    customer, values = _customer(simulator, request), request.changes("name", *_OPTIONAL)
    return {}, partial(customer.update, values)


def change_password(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """修改用户密码."""
    customer, password = _customer(simulator, request), request.text("password")
    return {}, partial(customer.update, password=password)


def merge_tags(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """修改用户标签."""
    customer, tags = _customer(simulator, request), request.texts("tags")
    return {}, partial(customer["tags"].update, tags)


def remove_customer(simulator: Simulator, request: ApiRequest) -> WriteResult:
    """移除用户."""
    customer = _customer(simulator, request)
    return {}, partial(simulator.customers.pop, customer["id"])


def check_customer(simulator: Simulator, request: ApiRequest) -> dict[str, Any]:
    """用户登录验证; its refusal has no `errors`."""
    account, password = request.text("account"), request.text("password")
    for customer in simulator.customers.values():
        if (customer["account"], customer["password"]) == (account, password):
            return {"id": customer["id"], "name": customer["name"]}
    raise RefusalError("账号或密码错误", NOT_ALLOWED, bare=True)


_ONE = "/api/v1/customer/{customer_id}"
OPERATIONS = (
    Operation(method="GET", path="/api/v1/customers", run=list_customers, lists=True),
    Operation(method="GET", path="/api/v1/customer_roles", run=list_roles, lists=True),
    Operation(method="GET", path=_ONE, run=read_customer),
    Operation(method="POST", path="/api/v1/customer", run=create_customer, writes=True),
    Operation(method="PUT", path=f"{_ONE}/info", run=change_customer, writes=True),
    Operation(method="PUT", path=f"{_ONE}/pwd", run=change_password, writes=True),
    Operation(method="PUT", path=f"{_ONE}/tags", run=merge_tags, writes=True),
    Operation(method="DELETE", path=_ONE, run=remove_customer, writes=True),
    Operation(method="POST", path="/api/v1/customer_auth", run=check_customer),
)
