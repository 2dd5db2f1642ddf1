"""The app-side device API: commands that wait for the device's reply. Guide page "app-device-api"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from fleet2mqtt.errors import AuthenticationError, BackendError, InvalidResponse
from fleet2mqtt.platforms.thingscloud.client import ENVELOPE, Client
from fleet2mqtt.platforms.thingscloud.models import JsonObject
from fleet2mqtt.sdk import vendor_json

ENDPOINT = "command_sync_send"
_ENVELOPE = replace(ENVELOPE, success=(1, True))
"""A success is the number 1 here."""


@dataclass(slots=True)
class DeviceApi:
    """Sends commands with the devices' own access tokens, which are read when first needed and kept in memory."""

    client: Client = field(repr=False)
    project_key: str = field(repr=False)
    _tokens: dict[str, str] = field(default_factory=dict, repr=False)

    async def send_command(self, device: str, method: str, params: Mapping[str, Any], number: int) -> JsonObject:
        """Send a command (向设备下发命令(同步)) and return the device's reply. Raises BackendError.

        The body is that of the project's own command, as the page of this one is not at hand.
        """
        body = {"method": method, "params": params, "id": number}
        try:
            response = await self._call(await self._token(device), body)
        except AuthenticationError:  # the device may have another certificate; what is refused was not carried out
            del self._tokens[device]
            response = await self._call(await self._token(device), body)
        reply = response.get("reply")
        return reply if isinstance(reply, dict) else {key: value for key, value in response.items() if key != "result"}

    async def _token(self, device: str) -> str:
        if device not in self._tokens:
            token = vendor_json.text((await self.client.certificate(device)).get("access_token"))
            if token is None:
                raise InvalidResponse("the certificate has no access_token", endpoint="certificate", code="no_token")
            self._tokens[device] = token
        return self._tokens[device]

    async def _call(self, token: str, body: JsonObject) -> JsonObject:
        headers = {"Project-Key": self.project_key, "Content-Type": "application/json"}
        path = f"/app/device/v1/{quote(token, safe='')}/command/sync/send"
        api = replace(self.client.api, envelope=_ENVELOPE)
        try:
            return await api.call("POST", path, endpoint=ENDPOINT, headers=headers, json=body)
        except BackendError as error:
            error.args = (str(error).replace(token, "***").replace(self.project_key, "***"),)
            raise
