"""The calls of the smart gateway document, one method each. Document chapters 1 and 2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fleet2mqtt.errors import AuthenticationError, InvalidResponse, Rejected
from fleet2mqtt.platforms.smart_gateway.error_codes import classify, explained
from fleet2mqtt.platforms.smart_gateway.models import serial_number
from fleet2mqtt.sdk.http_client import Envelope, HttpClient

API = "/api/v1"
"""The path that every documented call begins with. The url may end with it, as the document prints it."""
ENVELOPE = Envelope(member="code", success=(0, "0"), texts=("msg", "message"), classify=classify)

ARGS: Mapping[str, Any] = MappingProxyType(
    {
        "base": [
            *("sn", "alias", "state", "type", "version", "runtime", "remark"),
            *("rateup", "ratedown", "qos", "mapping", "record", "gps"),
        ],
        "network": ["lan", "hotspot"],
        "channel": [],  # empty means every channel
        "parameters": ["top", "lock"],
    }
)
"""Everything that list and query can return, except charts."""

_NO_PATH = frozenset((404, 405, 501))


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """The HTTP API of one smart gateway system.

    Every method raises BackendError: Rejected and AuthenticationError with the vendor's code.
    """

    api: HttpClient
    set_path: str

    async def list_devices(
        self, *, page: int, limit: int, filtration: int = 0, condition: str = "", args: Mapping[str, Any] = ARGS
    ) -> dict[str, Any]:
        """Return a page of devices: `count` (of all, unfiltered) and `devices`. Document 1.1, POST devices/list."""
        body = {"page": page, "limit": limit, "filtration": filtration, "condition": condition}
        response = await self._post(
            f"{API}/devices/list", body | {"sort_by": 0, "ascend": 0, "args": dict(args)}, writes=False
        )
        return _checked(response, "devices", list, "devices/list")

    async def query_devices(self, sns: Iterable[str], args: Mapping[str, Any] = ARGS) -> dict[str, dict[str, Any]]:
        """Return devices by serial number, each with `state` 0 (not found) or 1. Document 1.2, POST devices/query."""
        response = await self._post(f"{API}/devices/query", {"sns": list(sns), "args": dict(args)}, writes=False)
        items = response.get("devices") or {}
        if isinstance(items, list):  # as its table has it, against its sample
            items = {sn: item for item in items if (sn := serial_number(item))}
        _checked({"devices": items}, "devices", dict, "devices/query")
        return {sn: item for sn, item in items.items() if isinstance(item, dict)}

    async def set_devices(self, devices: Mapping[str, Any]) -> dict[str, Any]:
        """Change settings, `devices` shaped as a query returns them. Document 1.4; the path is an option."""
        try:
            return await self._post(self.set_path, {"devices": devices})
        except Rejected as error:
            if error.code not in _NO_PATH:
                raise
            message = (
                f"the document gives no path for the set call and this server has none at {self.set_path} "
                f"(HTTP {error.code}); option set_path of the backend names the right one"
            )
            raise Rejected(message, endpoint=error.endpoint, code=error.code) from error

    async def register_device(self, sn: str, alias: str) -> dict[str, Any]:
        """Register a device. Document 1.5, POST devices/regist."""
        return await self._post(f"{API}/devices/regist", {"sn": sn, "alias": alias})

    async def delete_device(self, sn: str) -> dict[str, Any]:
        """Delete a device. Document 1.6, POST devices/delete (the method by its example)."""
        return await self._post(f"{API}/devices/delete", {"sn": sn})

    async def list_mappings(self) -> list[dict[str, Any]]:
        """Return all port mapping rules. Document 2.1, GET mapping/list."""
        response = await self._call("GET", f"{API}/mapping/list")
        items: list[Any] = _checked(response, "list", list, "mapping/list")["list"]
        return [item for item in items if isinstance(item, dict)]

    async def add_mapping(self, rule: Mapping[str, Any]) -> dict[str, Any]:
        """Add a rule: `name, ip, port, protocol, mark`. Document 2.2, POST mapping/add; the response has no uuid."""
        return await self._post(f"{API}/mapping/add", dict(rule))

    async def edit_mapping(self, rule: Mapping[str, Any]) -> dict[str, Any]:
        """Change a rule; `rule` has all its fields. Document 2.3, POST mapping/edit.

        Its table says `addr` and its example `ip` for the external address; both are sent.
        """
        return await self._post(f"{API}/mapping/edit", {**rule, "addr": rule["ip"], "port": str(rule["port"])})

    async def delete_mappings(self, rules: list[str]) -> dict[str, Any]:
        """Delete rules by uuid; Rejected names those that were not deleted. Document 2.4, POST mapping/delete."""
        return _all_done(await self._post(f"{API}/mapping/delete", {"rules": rules}), "mapping/delete", len(rules))

    async def assign_mapping(self, rule: str, sn: str, ip: str) -> dict[str, Any]:
        """Assign a rule to a gateway, `ip` in its LAN. Document 2.5, POST device/addMapping."""
        return await self._post(f"{API}/device/addMapping", {"rule": rule, "sn": sn, "ip": ip})

    async def unassign_mappings(self, sn: str, rules: list[str]) -> dict[str, Any]:
        """Unassign rules from a gateway; Rejected names those that stayed. Document 2.6, POST device/deleteMapping."""
        response = await self._post(f"{API}/device/deleteMapping", {"sn": sn, "rules": rules})
        return _all_done(response, "device/deleteMapping", len(rules))

    async def reassign_mapping(self, rule: str, sn: str, ip: str) -> dict[str, Any]:
        """Change the address of a gateway's rule in its LAN. Document 2.7, POST device/editMapping."""
        return await self._post(f"{API}/device/editMapping", {"rule": rule, "sn": sn, "ip": ip})

    async def _post(self, path: str, body: dict[str, Any], *, writes: bool = True) -> dict[str, Any]:
        return await self._call("POST", path, body, writes=writes)

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, writes: bool = False
    ) -> dict[str, Any]:
        endpoint = path.removeprefix(f"{API}/")
        try:
            return await self.api.call(method, path, endpoint=endpoint, json=body, writes=writes)
        except (Rejected, AuthenticationError) as error:
            explanation = explained(error)
            if explanation is None:
                raise
            raise explanation from error


def _checked(response: dict[str, Any], member: str, expected: type, endpoint: str) -> dict[str, Any]:
    if response.get(member) in (None, "", {}, []):
        return {**response, member: expected()}
    if not isinstance(response[member], expected):
        message = f"{endpoint}: {member!r} is a {type(response[member]).__name__}, not a {expected.__name__}"
        raise InvalidResponse(message, endpoint=endpoint, code="wrong_type")
    return response


def _all_done(response: dict[str, Any], endpoint: str, requested: int) -> dict[str, Any]:
    """Return the response if its `msg` lists no uuid that failed."""
    failed = response.get("msg", response.get("message"))
    if isinstance(failed, list) and failed:
        message = f"{endpoint}: failed for {len(failed)} of {requested} rules: {', '.join(map(str, failed))}"
        raise Rejected(message, endpoint=endpoint, code="partial_failure", data={"failed": failed})
    return response
