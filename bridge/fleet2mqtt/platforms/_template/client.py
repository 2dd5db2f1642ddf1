"""The vendor's calls, one method each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet2mqtt.errors import AuthenticationError, BackendError, InvalidResponse
from fleet2mqtt.sdk.http_client import Envelope, HttpClient

DEVICES = "devices"
READING = "device/reading"
SETTINGS = "device/settings"
RESTART = "device/restart"

_UNAUTHORIZED = 401


def _classify(code: Any, _: str) -> type[BackendError] | None:
    """Return a narrower error than Rejected for a code of the vendor, None for all others."""
    return AuthenticationError if code == _UNAUTHORIZED else None


# What success looks like, and where the text of a refusal is.
ENVELOPE = Envelope(member="code", success=(0,), texts=("message",), classify=_classify)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Each method makes one call. Raises BackendError: the narrowest class tells whether repeating it helps."""

    api: HttpClient
    key: str = field(repr=False)

    async def list_devices(self, offset: int, limit: int) -> dict[str, Any]:
        """Return a page of relays: `total`, `devices`. Example document section 2."""
        params = {"offset": str(offset), "limit": str(limit)}
        return await self._call("GET", DEVICES, params=params)

    async def get_reading(self, id_: str) -> dict[str, Any]:
        """Return the newest reading of a relay: `reading`. Example document section 3."""
        response = await self._call("GET", READING, params={"id": id_})
        reading = response.get("reading")
        if not isinstance(reading, dict):
            raise InvalidResponse(f"{READING}: the response has no reading", endpoint=READING, code="no_reading")
        return reading

    async def write_settings(self, id_: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Change settings of a relay: `relay`, `limit`. Example document section 4."""
        return await self._call("POST", SETTINGS, json={"id": id_, **settings})

    async def restart(self, id_: str, delay: int) -> dict[str, Any]:
        """Restart a relay after `delay` seconds. Example document section 5."""
        return await self._call("POST", RESTART, json={"id": id_, "delay": delay})

    async def _call(self, method: str, endpoint: str, **request: Any) -> dict[str, Any]:
        # A POST counts as a write, which is never sent twice by itself; pass writes=False for one that only reads.
        return await self.api.call(
            method, f"/api/{endpoint}", endpoint=endpoint, headers={"X-Api-Key": self.key}, **request
        )
