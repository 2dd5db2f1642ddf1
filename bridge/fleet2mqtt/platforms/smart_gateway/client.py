"""The calls of the smart gateway document, one method each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fleet2mqtt.errors import AuthenticationError, InvalidResponse, Rejected
from fleet2mqtt.platforms.smart_gateway.error_codes import classify, explained
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.http_client import Envelope, HttpClient

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
"""Everything a reading may ask for but the charts."""

_NO_PATH = frozenset((404, 405, 501))


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One smart gateway back end.

    Every method raises BackendError: Rejected and AuthenticationError with the vendor's code.
    """

    api: HttpClient
    set_path: str

    async def list_devices(self, *, page: int, limit: int, filtration: int = 0, condition: str = "") -> dict[str, Any]:
        """A page of devices: `count` (of all, unfiltered) and `devices`. Document 1.1, POST devices/list."""
        body = {"page": page, "limit": limit, "filtration": filtration, "condition": condition}
        reply = await self._post("/api/v1/devices/list", body | {"sort_by": 0, "ascend": 0, "args": dict(ARGS)})
        return _checked(reply, "devices", list, "devices/list")

    async def query_devices(self, sns: Iterable[str], args: Mapping[str, Any] = ARGS) -> dict[str, dict[str, Any]]:
        """Devices by serial number, each with `state` 0 (not found) or 1. Document 1.2, POST devices/query."""
        reply = await self._post("/api/v1/devices/query", {"sns": list(sns), "args": dict(args)})
        rows = reply.get("devices") or {}
        if isinstance(rows, list):  # as its table has it, against its sample
            rows = {serial: row for row in rows if (serial := serial_of(row))}
        _checked({"devices": rows}, "devices", dict, "devices/query")
        return {sn: row for sn, row in rows.items() if isinstance(row, dict)}

    async def set_devices(self, devices: Mapping[str, Any]) -> dict[str, Any]:
        """Change settings, `devices` as a query answers them. Document 1.4, which gives no path: option `set_path`."""
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
        return await self._post("/api/v1/devices/regist", {"sn": sn, "alias": alias})

    async def delete_device(self, sn: str) -> dict[str, Any]:
        """Delete a device. Document 1.6, POST devices/delete (the method by its example)."""
        return await self._post("/api/v1/devices/delete", {"sn": sn})

    async def list_mappings(self) -> list[dict[str, Any]]:
        """All port mapping rules. Document 2.1, GET mapping/list."""
        reply = await self._call("GET", "/api/v1/mapping/list")
        rows: list[Any] = _checked(reply, "list", list, "mapping/list")["list"]
        return [row for row in rows if isinstance(row, dict)]

    async def add_mapping(self, rule: Mapping[str, Any]) -> dict[str, Any]:
        """Add a rule: `name, ip, port, protocol, mark`. Document 2.2, POST mapping/add; the answer has no uuid."""
        return await self._post("/api/v1/mapping/add", dict(rule))

    async def edit_mapping(self, rule: Mapping[str, Any]) -> dict[str, Any]:
        """Change a rule, given with all its fields. Document 2.3, POST mapping/edit.

        Its table says `addr` and its example `ip` for the external address; both are sent.
        """
        return await self._post("/api/v1/mapping/edit", {**rule, "addr": rule["ip"], "port": str(rule["port"])})

    async def delete_mappings(self, rules: list[str]) -> dict[str, Any]:
        """Delete rules by uuid; Rejected names those that stayed. Document 2.4, POST mapping/delete."""
        return _all_done(await self._post("/api/v1/mapping/delete", {"rules": rules}), "mapping/delete", len(rules))

    async def assign_mapping(self, rule: str, sn: str, ip: str) -> dict[str, Any]:
        """Give a rule to a device, `ip` in its sub-net. Document 2.5, POST device/addMapping."""
        return await self._post("/api/v1/device/addMapping", {"rule": rule, "sn": sn, "ip": ip})

    async def unassign_mappings(self, sn: str, rules: list[str]) -> dict[str, Any]:
        """Take rules from a device; Rejected names those that stayed. Document 2.6, POST device/deleteMapping."""
        reply = await self._post("/api/v1/device/deleteMapping", {"sn": sn, "rules": rules})
        return _all_done(reply, "device/deleteMapping", len(rules))

    async def reassign_mapping(self, rule: str, sn: str, ip: str) -> dict[str, Any]:
        """Change the sub-net address of a device's rule. Document 2.7, POST device/editMapping."""
        return await self._post("/api/v1/device/editMapping", {"rule": rule, "sn": sn, "ip": ip})

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self._call("POST", path, body)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            return await self.api.call(method, path, endpoint=path.removeprefix("/api/v1/"), json=body)
        except (Rejected, AuthenticationError) as error:
            better = explained(error)
            if better is None:
                raise
            raise better from error


def serial_of(row: Any) -> str | None:
    """The serial number in a device's `base`."""
    base = row.get("base") if isinstance(row, dict) else None
    return vendor_json.text(base.get("sn")) if isinstance(base, dict) else None


def _checked(reply: dict[str, Any], member: str, kind: type, endpoint: str) -> dict[str, Any]:
    if reply.get(member) in (None, "", {}, []):
        return {**reply, member: kind()}
    if not isinstance(reply[member], kind):
        message = f"{endpoint}: {member!r} is a {type(reply[member]).__name__}, not a {kind.__name__}"
        raise InvalidResponse(message, endpoint=endpoint, code="wrong_type")
    return reply


def _all_done(reply: dict[str, Any], endpoint: str, asked: int) -> dict[str, Any]:
    """The reply, if its `msg` lists no uuid that failed."""
    failed = reply.get("msg", reply.get("message"))
    if isinstance(failed, list) and failed:
        message = f"{endpoint}: failed for {len(failed)} of {asked} rules: {', '.join(map(str, failed))}"
        raise Rejected(message, endpoint=endpoint, code="partial_failure", data={"failed": failed})
    return reply
