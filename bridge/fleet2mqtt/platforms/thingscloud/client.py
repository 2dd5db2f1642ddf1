"""The calls of the ThingsCloud document, each named by its heading there. A refused token is renewed once a call."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import orjson

from fleet2mqtt import redaction
from fleet2mqtt.errors import AuthenticationError, BackendError, InvalidResponse
from fleet2mqtt.platforms.thingscloud.auth import TokenProvider, with_refusal_code
from fleet2mqtt.platforms.thingscloud.models import JsonObject, json_object, json_objects
from fleet2mqtt.platforms.thingscloud.page_size import PageSize
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.http_client import Envelope, HttpClient
from fleet2mqtt.sdk.pagination import Page

_DROPPED = frozenset(("view_token", "project_key", "notify_logs"))
_TOKEN_WORDS = ("token", "令牌")
_LOGIN_WORDS = (*_TOKEN_WORDS, "auth", "鉴权", "认证", "未登录")


def _classify(code: Any, text: str) -> type[BackendError] | None:
    """Classify a refusal that speaks of tokens or authority: an expired token's response is not documented."""
    return AuthenticationError if code == 401 or any(word in text.lower() for word in _LOGIN_WORDS) else None


def _classify_customer(_: Any, text: str) -> type[BackendError] | None:
    """Classify a refusal of a call that checks a customer's account: only one that speaks of a token is about ours."""
    return AuthenticationError if any(word in text.lower() for word in _TOKEN_WORDS) else None


ENVELOPE = Envelope(member="result", success=(True,), texts=("message",), classify=_classify)
_CUSTOMER = replace(ENVELOPE, classify=_classify_customer)


def parse(data: bytes) -> Any:
    """Parse a response without its secrets; a refusal's `errcode` stands in `result`. Raises InvalidResponse."""
    return with_refusal_code(_without_dropped(vendor_json.parse(data)))


def _without_dropped(value: Any) -> Any:
    """Remove members that grant access or name notified people: no entity and no action needs them."""
    if isinstance(value, list):
        return [_without_dropped(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_dropped(item) for key, item in value.items() if key not in _DROPPED}
    return value


def _parse_certificate(data: bytes) -> Any:
    """Parse a response whole, for the one call that is made to get a secret. Raises InvalidResponse, without it."""
    try:
        return with_refusal_code(orjson.loads(data))
    except orjson.JSONDecodeError:
        raise InvalidResponse("not JSON", code="malformed_json") from None


@dataclass(frozen=True, slots=True)
class Client:
    """The vendor's calls; ids and names are the vendor's.

    Each method raises Unreachable, Ambiguous, InvalidResponse, Rejected, RateLimited, AuthenticationError.
    """

    api: HttpClient
    tokens: TokenProvider
    page_size: PageSize = field(default_factory=PageSize)

    async def call(
        self, method: str, path: str, endpoint: str, *, api: HttpClient | None = None, **request: Any
    ) -> Any:
        """Call a path under /api/v1/ and return the response's `info`."""
        api = api or self.api
        token = await self.tokens.get()
        try:
            return await _call(api, token, endpoint, (method, path, request))
        except AuthenticationError as refusal:
            token = await self.tokens.renew(token, endpoint, refusal)
        info = await _call(api, token, endpoint, (method, path, request))
        self.tokens.confirm(endpoint)
        return info

    async def get(self, path: str, endpoint: str, params: Mapping[str, str] | None = None) -> JsonObject:
        """Call by GET and return `info`, an object."""
        return json_object(await self.call("GET", path, endpoint, params=params or {}))

    async def items(self, path: str, endpoint: str) -> list[JsonObject]:
        """Call by GET and return the `items`. Raises InvalidResponse without a list of items."""
        return _items(await self.get(path, endpoint), endpoint)

    async def post(
        self, path: str, endpoint: str, body: JsonObject, params: Mapping[str, str] | None = None
    ) -> JsonObject:
        """Call by POST and return `info`."""
        return json_object(await self.call("POST", path, endpoint, json=body, params=params or {}))

    async def put(self, path: str, endpoint: str, body: JsonObject) -> JsonObject:
        """Call by PUT and return `info`."""
        return json_object(await self.call("PUT", path, endpoint, json=body))

    async def _page(self, path: str, endpoint: str, params: Mapping[str, str]) -> Page:
        requested_at = time.monotonic()
        info = await self.get(path, endpoint, params)
        items = _items(info, endpoint)
        return Page(
            items=tuple(items),
            count=len(info["items"]),
            total=_whole(info.get("total")),
            pages=_whole(info.get("page_total")),
            requested_at=requested_at,
            response=info,
        )

    async def devices(
        self, page: int, *, type_: str | None = None, group: str | None = None, records: int | None = None
    ) -> Page:
        """Return a page of 读取设备列表, of one type or group where given; `records` rows, else the vendor's."""
        query = {"page": str(page), "type": type_, "group": group}
        query["page_records"] = None if records is None else str(records)
        return await self._page("devices", "devices", {key: text for key, text in query.items() if text is not None})

    async def alarm_logs(self, page: int, device: str | None = None) -> Page:
        """Return 读取所有告警消息, or 读取设备告警消息 of one device. Pages are not documented."""
        path, endpoint = (
            ("alarm_logs",) * 2 if device is None else (device_path(device, "alarm_logs"), "device_alarm_logs")
        )
        return await self._page(path, endpoint, {"page": str(page)} if page > 1 else {})

    async def device(self, device: str) -> JsonObject:
        """Return a device with its groups: 读取设备信息."""
        return await self.get(device_path(device), "device")

    async def attributes(self, device: str) -> list[JsonObject]:
        """Return the values of a device with their definitions: 读取设备属性列表."""
        info = await self.call("GET", device_path(device, "attributes"), "attributes")
        items = json_objects(_list(info, "attributes"))
        return [item for item in items if str(item.get("identifier")).strip().lower() not in redaction.SECRET_KEYS]

    async def attributes_raw(self, device: str) -> JsonObject:
        """Return the values of a device by identifier: 读取设备当前属性集合."""
        info = await self.call("GET", device_path(device, "attributes_raw"), "attributes_raw")
        if not isinstance(info, dict) and info != []:
            raise InvalidResponse(
                "attributes_raw: the response has no values", endpoint="attributes_raw", code="no_values"
            )
        return json_object(info)

    async def extend_infos(self, device: str) -> list[JsonObject]:
        """Return the extended information of a device: 读取设备扩展信息."""
        return await self.items(device_path(device, "extend_infos"), "extend_infos")

    async def type_infos(self, type_: str) -> list[JsonObject]:
        """Return the extended information that a device type defines, without values: 读取设备类型扩展信息定义."""
        return await self.items(build_path("device_type", type_, "extend_infos"), "device_type_extend_infos")

    async def series(self, device: str, identifier: str, params: Mapping[str, str]) -> list[JsonObject]:
        """Return past values of an attribute: 读取设备属性历史数据."""
        path = device_path(device, "attribute", identifier, "series")
        return json_objects(_list(await self.call("GET", path, "series", params=params), "series"))

    async def certificate(self, device: str) -> JsonObject:
        """Return a device's certificate with its secret: 读取设备证书."""
        secret = replace(self.api, parse=_parse_certificate)
        return json_object(await self.call("GET", device_path(device, "certificate"), "certificate", api=secret))

    async def customer_auth(self, account: str, password: str) -> JsonObject:
        """Check a customer's login: 用户登录验证. Raises Rejected for a wrong one."""
        api = replace(self.api, envelope=_CUSTOMER)
        body = {"account": account, "password": password}
        return json_object(await self.call("POST", "customer_auth", "customer_auth", api=api, json=body))

    async def send_command(self, device: str, method: str, params: Mapping[str, Any], number: int) -> JsonObject:
        """Send a command to a device: 下发命令到设备. `number` identifies the device's reply."""
        body = {"method": method, "params": params, "id": number}
        return await self.post(_control_path(device, "command"), "device_command", body)

    async def send_attributes(self, device: str, values: JsonObject) -> JsonObject:
        """Send values to a device: 下发属性到设备. Success means accepted by the cloud, not done by the device."""
        return await self.post(_control_path(device, "attributes"), "send_attributes", values)

    async def put_attributes(self, device: str, values: JsonObject) -> JsonObject:
        """Change the cloud's copy of values only: 更新云端属性."""
        return await self.put(_control_path(device, "attributes"), "put_attributes", values)


async def _call(api: HttpClient, token: str, endpoint: str, call: tuple[str, str, JsonObject]) -> Any:
    method, path, request = call
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
    }  # the document has it for GET too
    try:
        response = await api.call(method, f"/api/v1/{path}", endpoint=endpoint, headers=headers, **request)
    except BackendError as error:
        error.args = (str(error).replace(token, "***"),)  # a vendor may repeat what it was sent
        raise
    return response.get("info")


def build_path(*segments: str) -> str:
    """Build a path from segments, quoting each."""
    return "/".join(quote(segment, safe="") for segment in segments)


def device_path(device: str, *segments: str) -> str:
    """Build the path of a device, or of something that belongs to it."""
    return build_path("device", device, *segments)


def _control_path(device: str, *segments: str) -> str:
    return build_path("control", "device", device, *segments)


def _items(info: JsonObject, endpoint: str) -> list[JsonObject]:
    return json_objects(_list(info.get("items"), endpoint))


def _list(value: Any, endpoint: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidResponse(f"{endpoint}: the response has no list", endpoint=endpoint, code="no_list")
    return value


def _whole(value: Any) -> int | None:
    number = vendor_json.number(value)
    return None if number is None else int(number)
