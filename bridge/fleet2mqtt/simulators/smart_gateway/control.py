"""Control paths of the simulator: `GET /_sim/state`, `POST /_sim/gateway`, `DELETE /_sim/gateway?sn=`."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fleet2mqtt.simulators.fault_injection import CONTROL
from fleet2mqtt.simulators.smart_gateway.protocol import Tree
from fleet2mqtt.simulators.smart_gateway.state import SIMULATOR


def add_control_routes(app: web.Application) -> None:
    """Add the control paths to a simulator's application."""
    app.router.add_get(CONTROL + "state", _get_state)
    app.router.add_post(CONTROL + "gateway", _post_gateway)
    app.router.add_delete(CONTROL + "gateway", _delete_gateway)


async def _get_state(request: web.Request) -> web.Response:
    return web.json_response(request.app[SIMULATOR].snapshot())


async def _post_gateway(request: web.Request) -> web.Response:
    """Change a gateway, or add it; a channel that is null empties its slot."""
    simulator = request.app[SIMULATOR]
    try:
        sn, sections = _parse(await request.json())
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    if sn not in simulator.gateways:
        simulator.add_gateway(sn, sections["base"].get("alias", sn))
    for key, fields in sections["channel"].items():
        if fields is None:
            simulator.pull_sim(sn, key)
        else:
            simulator.set_channel(sn, key, **fields)
    for section, fields in sections["network"].items():
        simulator.set_network(sn, section, **fields)
    simulator.set_parameters(sn, **sections["parameters"])
    simulator.set_base(sn, **sections["base"])
    return web.json_response(simulator.refreshed(sn))


def _parse(body: Any) -> tuple[str, Tree]:
    if not isinstance(body, dict) or not isinstance(body.get("sn"), str) or not body["sn"]:
        raise ValueError("sn has to be a text")
    sections = {name: body.get(name, {}) for name in ("base", "network", "channel", "parameters")}
    if not all(isinstance(section, dict) for section in sections.values()):
        raise ValueError("base, network, channel and parameters have to be objects")
    channels = [fields for fields in sections["channel"].values() if fields is not None]
    if not all(isinstance(fields, dict) for fields in (*sections["network"].values(), *channels)):
        raise ValueError("lan, hotspot and each channel have to be objects")
    if sections["base"].get("sn", body["sn"]) != body["sn"]:
        raise ValueError("a serial number cannot be changed")
    return body["sn"], sections


async def _delete_gateway(request: web.Request) -> web.Response:
    simulator, sn = request.app[SIMULATOR], request.query.get("sn", "")
    if sn not in simulator.gateways:
        raise web.HTTPNotFound(text=f"there is no gateway {sn}")
    simulator.remove_gateway(sn)
    return web.json_response({})
