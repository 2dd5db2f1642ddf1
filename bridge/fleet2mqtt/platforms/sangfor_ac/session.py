"""How the AC is asked and told: what all calls share, signed anew for each attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fleet2mqtt.errors import Ambiguous, AuthenticationError, BackendError, InvalidResponse, RateLimited
from fleet2mqtt.platforms.sangfor_ac.transport import REDIRECTS, Call, Verb, is_not_found, parse_reading, sign
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.http_client import HttpClient

Row = dict[str, Any]

BUSY_WAITS = (1, 2, 4)
"""How long a reading waits after each 系统繁忙 before it asks again, in spacings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The calls to one AC. Every method raises BackendError; an answer without data is InvalidResponse."""

    api: HttpClient
    key: str = field(repr=False)
    spacing: float
    headers: Mapping[str, str] = field(default_factory=dict)
    prefix: str = "/v1"

    async def number(self, path: str) -> float:
        """A number that is read."""
        number = vendor_json.number(await self.data(Verb.GET, path))
        if number is None:
            raise no_data(path)
        return number

    async def text(self, path: str) -> str:
        """A text that is read."""
        text = vendor_json.text(await self.data(Verb.GET, path))
        if text is None:
            raise no_data(path)
        return text

    async def object(self, verb: Verb, path: str, fields: Mapping[str, Any] | None = None) -> Row:
        """An object that is not empty."""
        data = await self.data(verb, path, fields)
        if not isinstance(data, dict) or not data:
            raise no_data(path)
        return data

    async def rows(self, verb: Verb, path: str, fields: Mapping[str, Any] | None = None) -> tuple[Row, ...]:
        """The objects of a list, which may be empty."""
        rows = rows_of(await self.data(verb, path, fields))
        if rows is None:
            raise no_data(path)
        return rows

    async def items(self, path: str, fields: Mapping[str, Any]) -> list[Any]:
        """A list, of whatever, which may be empty."""
        data = await self.data(Verb.GET, path, fields)
        if not isinstance(data, list) and data != {}:
            raise no_data(path)
        return list(data)

    async def found(self, path: str, fields: Mapping[str, Any]) -> tuple[Row, ...]:
        """What a search finds: nothing is an answer too, and to the AC an error."""
        try:
            return await self.rows(Verb.GET, path, fields)
        except BackendError as error:
            if is_not_found(error):
                return ()
            raise

    async def data(self, verb: Verb, path: str, fields: Mapping[str, Any] | None = None) -> Any:
        """The data of an answer. A busy AC is asked again, with a signature of its own each time."""
        api, call = replace(self.api, parse=parse_reading), Call(verb=verb, path=path)
        for wait in BUSY_WAITS:
            try:
                return (await self._send(api, call, fields or {})).get("data")
            except RateLimited:
                await asyncio.sleep(wait * self.spacing)
        return (await self._send(api, call, fields or {})).get("data")

    async def write(self, verb: Verb, path: str, fields: Mapping[str, Any]) -> Row:
        """The answer to a write, which is never sent twice; Ambiguous if it tells nothing."""
        try:
            return await self._send(self.api, Call(verb=verb, path=path), fields)
        except InvalidResponse as error:
            message = f"{error}; whether it was carried out is not known"
            raise Ambiguous(message, endpoint=error.endpoint, code=error.code) from error

    async def _send(self, api: HttpClient, call: Call, fields: Mapping[str, Any]) -> Row:
        request = sign(self.key, call, fields, self.prefix)
        try:
            return await api.call(
                request.method,
                request.path,
                endpoint=call.name,
                params=request.params,
                headers=self.headers,
                json=request.json,
            )
        except InvalidResponse as error:
            if error.code not in REDIRECTS:
                raise
            message = f"{call.name}: HTTP {error.code}, a redirection: the url has the wrong port, or https for http"
            raise AuthenticationError(message, endpoint=call.name, code=error.code) from error


def rows_of(data: Any) -> tuple[Row, ...] | None:
    """The objects of a list; one alone stands for a list of it, {} for an empty one. None where there is no data."""
    if isinstance(data, dict):
        return (data,) if data else ()
    return tuple(row for row in data if isinstance(row, dict)) if isinstance(data, list) else None


def no_data(path: str) -> InvalidResponse:
    """The error of an answer that says success and tells nothing."""
    return InvalidResponse(f"{path}: the answer has no data", endpoint=path, code="no_data")
