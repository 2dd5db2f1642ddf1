"""The add-on's run script, with a Supervisor that the test plays."""

from __future__ import annotations

import json
import re
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import web

from tests.bridge_under_test import serve
from tests.broker import free_port
from tests.packaging.site import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

ADDON = ROOT / "packaging/addon"
TOKEN = "supervisor-token"


@asynccontextmanager
async def supervisor(service: Mapping[str, Any] | None) -> AsyncIterator[str]:
    """Serve the one call of the Supervisor's API that the add-on makes; None is a Supervisor without a broker."""

    async def mqtt(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        if service is None:
            return web.json_response({"result": "error", "message": "Service not enabled"}, status=400)
        return web.json_response({"result": "ok", "data": service})

    application = web.Application()
    application.router.add_get("/services/mqtt", mqtt)
    async with AsyncExitStack() as stack:
        yield await serve(stack, application)


def run_script(folder: Path, url: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the command that starts the add-on with these options, in folders below `folder`."""
    assert mistakes(definition()["schema"], options) == []
    (folder / "options.json").write_text(json.dumps(options), "utf-8")
    places = (
        f"ADDON_DATA={folder}",
        f"ADDON_CONFIG={folder}",
        f"ADDON_SUPERVISOR={url}",
        f"SUPERVISOR_TOKEN={TOKEN}",
        f"FLEET2MQTT__WEB__PORT={free_port()}",  # not the one of ingress, which others may have
    )
    path = f"PATH={Path(sys.executable).parent}:/usr/bin:/bin"
    return ("env", path, *places, sys.executable, str(ADDON / "run.py"))


def definition() -> Any:
    """Return config.yaml."""
    return yaml.safe_load((ADDON / "config.yaml").read_text("utf-8"))


def mistakes(schema: Any, value: Any, where: str = "") -> list[str]:
    """Return where options do not follow the add-on's schema, as the Supervisor judges them."""
    if isinstance(schema, dict):
        unknown = [f"{where}.{key} is unknown" for key in value.keys() - schema.keys()]
        required = {key for key, kind in schema.items() if not (isinstance(kind, str) and kind.endswith("?"))}
        missing = [f"{where}.{key} is missing" for key in required - value.keys()]
        inner = [each for key in value.keys() & schema.keys() for each in mistakes(schema[key], value[key], key)]
        return [*unknown, *missing, *inner]
    if isinstance(schema, list):
        return [each for item in value for each in mistakes(schema[0], item, where)]
    kind, _, inside = schema.removesuffix("?").partition("(")
    choices = {"list": re.escape(inside[:-1]).replace(r"\|", "|"), "match": inside[:-1], "url": "https?://.+"}
    return [] if isinstance(value, str) and re.fullmatch(choices.get(kind, ".*"), value) else [f"{where} is wrong"]
