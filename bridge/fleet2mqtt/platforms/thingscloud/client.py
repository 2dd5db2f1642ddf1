"""The calls of the ThingsCloud document, each named by its heading there. A refused token is renewed once a call."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import orjson

from fleet2mqtt import redaction
from fleet2mqtt.errors import AuthenticationError, BackendError, InvalidResponse
from fleet2mqtt.platforms.thingscloud.auth import Tokens, refusal_code
from fleet2mqtt.platforms.thingscloud.models import Row, rows, table
from fleet2mqtt.platforms.thingscloud.paging import Page
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.http_client import Envelope, HttpClient

_HIDDEN = frozenset(("view_token", "project_key", "notify_logs"))
_TOKEN = ("token", "令牌")
_LOGIN = (*_TOKEN, "auth", "鉴权", "认证", "未登录")


def _classify(code: Any, words: str) -> type[BackendError] | None:
    """How an expired token is refused is not documented: whatever speaks of tokens or authority counts."""
    return AuthenticationError if code == 401 or any(word in words.lower() for word in _LOGIN) else None


def _classify_customer(_: Any, words: str) -> type[BackendError] | None:
    """Where it is the asked-for account that may be refused, only what speaks of a token is about ours."""
    return AuthenticationError if any(word in words.lower() for word in _TOKEN) else None


ENVELOPE = Envelope(member="result", success=(True,), texts=("message",), classify=_classify)
_CUSTOMER = replace(ENVELOPE, classify=_classify_customer)


def parse(data: bytes) -> Any:
    """A reply without secrets; a refusal's `errcode` stands in `result`. Raises InvalidResponse."""
    return refusal_code(_open(vendor_json.parse(data)))


def _open(value: Any) -> Any:
    """Without what lets others in or tells who was told: no row and no action needs it."""
    if isinstance(value, list):
        return [_open(item) for item in value]
    if isinstance(value, dict):
        return {key: _open(item) for key, item in value.items() if key not in _HIDDEN}
    return value


def _parse_certificate(data: bytes) -> Any:
    """A reply whole, for the one call that is made to get a secret. Raises InvalidResponse, which quotes none."""
    try:
        return refusal_code(orjson.loads(data))
    except orjson.JSONDecodeError:
        raise InvalidResponse("not JSON", code="malformed_json") from None


@dataclass(frozen=True, slots=True)
class Client:
    """The vendor's calls; ids and names are the vendor's.

    Each method raises Unreachable, Ambiguous, InvalidResponse, Rejected, RateLimited, AuthenticationError.
    """

    api: HttpClient
    tokens: Tokens

    async def ask(self, method: str, path: str, endpoint: str, *, api: HttpClient | None = None, **request: Any) -> Any:
        """The `info` of a call under /api/v1/."""
        api = api or self.api
        token = await self.tokens.current()
        try:
            return await _ask(api, token, endpoint, (method, path, request))
        except AuthenticationError as refusal:
            token = await self.tokens.renewed(token, endpoint, refusal)
        info = await _ask(api, token, endpoint, (method, path, request))
        self.tokens.helped(endpoint)
        return info

    async def get(self, path: str, endpoint: str, params: Mapping[str, str] | None = None) -> Row:
        """The `info` of a GET, an object."""
        return table(await self.ask("GET", path, endpoint, params=params or {}))

    async def items(self, path: str, endpoint: str) -> list[Row]:
        """The `items` of a GET. Raises InvalidResponse where there are none."""
        return _listed(await self.get(path, endpoint), endpoint)

    async def post(self, path: str, endpoint: str, body: Row, params: Mapping[str, str] | None = None) -> Row:
        """The `info` of a POST."""
        return table(await self.ask("POST", path, endpoint, json=body, params=params or {}))

    async def put(self, path: str, endpoint: str, body: Row) -> Row:
        """The `info` of a PUT."""
        return table(await self.ask("PUT", path, endpoint, json=body))

    async def delete(self, path: str, endpoint: str) -> Row:
        """The `info` of a DELETE."""
        return table(await self.ask("DELETE", path, endpoint))

    async def _page(self, path: str, endpoint: str, params: Mapping[str, str]) -> Page:
        requested_at = time.monotonic()
        info = await self.get(path, endpoint, params)
        found = _listed(info, endpoint)
        return Page(
            rows=tuple(found),
            count=len(info["items"]),
            total=_whole(info.get("total")),
            pages=_whole(info.get("page_total")),
            requested_at=requested_at,
            info=info,
        )

    async def devices(self, page: int, *, type_: str | None = None, group: str | None = None) -> Page:
        """读取设备列表; `type_` and `group` narrow it."""
        asked = {"page": str(page), "type": type_, "group": group}
        return await self._page("devices", "devices", {key: text for key, text in asked.items() if text is not None})

    async def alarm_logs(self, page: int, device: str | None = None) -> Page:
        """读取所有告警消息, or 读取设备告警消息 of one device. Pages are not documented."""
        path, endpoint = (
            ("alarm_logs",) * 2 if device is None else (device_path(device, "alarm_logs"), "device_alarm_logs")
        )
        return await self._page(path, endpoint, {"page": str(page)} if page > 1 else {})

    async def device(self, device: str) -> Row:
        """读取设备信息."""
        return await self.get(device_path(device), "device")

    async def attributes(self, device: str) -> list[Row]:
        """读取设备属性列表: values with their definitions."""
        info = await self.ask("GET", device_path(device, "attributes"), "attributes")
        found = rows(_list(info, "attributes"))
        return [row for row in found if str(row.get("identifier")).strip().lower() not in redaction.SECRET_KEYS]

    async def attributes_raw(self, device: str) -> Row:
        """读取设备当前属性集合: values only."""
        info = await self.ask("GET", device_path(device, "attributes_raw"), "attributes_raw")
        if not isinstance(info, dict) and info != []:
            raise InvalidResponse(
                "attributes_raw: the answer has no values", endpoint="attributes_raw", code="no_values"
            )
        return table(info)

    async def extend_infos(self, device: str) -> list[Row]:
        """读取设备扩展信息."""
        return await self.items(device_path(device, "extend_infos"), "extend_infos")

    async def series(self, device: str, identifier: str, params: Mapping[str, str]) -> list[Row]:
        """读取设备属性历史数据."""
        path = device_path(device, "attribute", identifier, "series")
        return rows(_list(await self.ask("GET", path, "series", params=params), "series"))

    async def certificate(self, device: str) -> Row:
        """读取设备证书, the device's secret with it."""
        secret = replace(self.api, parse=_parse_certificate)
        return table(await self.ask("GET", device_path(device, "certificate"), "certificate", api=secret))

    async def customer_auth(self, account: str, password: str) -> Row:
        """用户登录验证: Rejected for a wrong one."""
        api = replace(self.api, envelope=_CUSTOMER)
        body = {"account": account, "password": password}
        return table(await self.ask("POST", "customer_auth", "customer_auth", api=api, json=body))

    async def send_command(self, device: str, method: str, params: Row, number: int) -> Row:
        """下发命令到设备: `number` is what the device's reply is told by."""
        body = {"method": method, "params": params, "id": number}
        return await self.post(_control(device, "command"), "device_command", body)

    async def send_attributes(self, device: str, values: Row) -> Row:
        """下发属性到设备: the device gets them. Yes means accepted."""
        return await self.post(_control(device, "attributes"), "send_attributes", values)

    async def put_attributes(self, device: str, values: Row) -> Row:
        """更新云端属性: only the cloud's copy changes."""
        return await self.put(_control(device, "attributes"), "put_attributes", values)


async def _ask(api: HttpClient, token: str, endpoint: str, call: tuple[str, str, Row]) -> Any:
    method, path, request = call
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}  # of a GET too: the document
    try:
        reply = await api.call(method, f"/api/v1/{path}", endpoint=endpoint, headers=headers, **request)
    except BackendError as error:
        error.args = (str(error).replace(token, "***"),)  # a vendor may repeat what it was sent
        raise
    return reply.get("info")


def path_of(*parts: str) -> str:
    """A path of these parts, ids among them."""
    return "/".join(quote(part, safe="") for part in parts)


def device_path(device: str, *parts: str) -> str:
    """The path of a device, or of something of it."""
    return path_of("device", device, *parts)


def _control(device: str, *parts: str) -> str:
    return path_of("control", "device", device, *parts)


def _listed(info: Row, endpoint: str) -> list[Row]:
    return rows(_list(info.get("items"), endpoint))


def _list(value: Any, endpoint: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidResponse(f"{endpoint}: the answer has no list", endpoint=endpoint, code="no_list")
    return value


def _whole(value: Any) -> int | None:
    number = vendor_json.number(value)
    return None if number is None else int(number)
