"""The app-side device API of a simulated ThingsCloud: a command that waits for the device's reply."""

from __future__ import annotations

from aiohttp import web

from fleet2mqtt.simulators.thingscloud.requests import NO_TOKEN, NOT_FOUND, WRONG_ARGUMENT, RefusalError
from fleet2mqtt.simulators.thingscloud.state import SIMULATOR

PATH = "/app/device/v1/{access_token}/command/sync/send"
_NO_REPLY = 408


async def send_command(request: web.Request) -> web.Response:
    """向设备下发命令(同步): `method`, `params`, `id`; the response has the device's `reply`."""
    simulator, body = request.app[SIMULATOR], await request.json()
    if request.headers.get("Project-Key") != simulator.project_key:
        raise RefusalError("Project-Key invalid", NO_TOKEN, status=401)
    token = request.match_info["access_token"]
    device = next((each for each in simulator.devices.values() if each.access_token == token), None)
    if device is None:
        raise RefusalError("AccessToken invalid", NOT_FOUND, status=401)
    if not isinstance(body.get("method"), str) or not isinstance(body.get("params"), dict):
        raise RefusalError("参数错误", WRONG_ARGUMENT)
    simulator.send(device.id, "command", body)
    if not simulator.sent[-1].reached:
        raise RefusalError("设备未回复", _NO_REPLY)
    reply = {"method": body["method"], "params": {"result": 0}, "id": body.get("id")}
    return web.json_response({"result": 1, "reply": reply})
