"""`fleet2mqtt support`: one file without secrets for a bug report."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from fleet2mqtt import __version__
from fleet2mqtt.app import OUTBOX
from fleet2mqtt.cli.check import check
from fleet2mqtt.cli.process import OK, configure_logging, print_line
from fleet2mqtt.config import yaml_reader
from fleet2mqtt.config.loader import load
from fleet2mqtt.config.models import Config
from fleet2mqtt.contract.payloads import stamp
from fleet2mqtt.errors import BridgeError, ConfigError
from fleet2mqtt.network import authority
from fleet2mqtt.outbox import open_outbox
from fleet2mqtt.outbox.sqlite.snapshot import copy
from fleet2mqtt.redaction import Redaction, redact, redact_json
from fleet2mqtt.storage.inventory_file import INVENTORY

PAGES = {"healthz": "healthz.json", "readyz": "readyz.json", "api/status": "status.json", "metrics": "metrics.txt"}
"""Files of the bundle, by the path that a running bridge serves."""
PAGE_TIMEOUT = 10.0

Bundle = dict[str, str]


async def run(options: argparse.Namespace) -> int:
    """Write the bundle, and print what is in it."""
    bundle = {"versions.json": _json(versions(), redact)}
    try:
        config = load(options.config)
    except ConfigError as error:
        # Without a valid configuration its secrets are not known, so it is left out.
        bundle["problems.txt"] = redact("\n".join(error.problems)) + "\n"
    else:
        configure_logging(options, config)
        bundle |= await collect(config)
    with zipfile.ZipFile(options.output, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in bundle.items():
            file.writestr(name, text)
    print_line(f"{options.output}: {', '.join(bundle)}; look through them before you hand them on", options.translate)
    return OK


async def collect(config: Config) -> Bundle:
    """Return the files of a bundle about a valid configuration, by name."""
    hide = Redaction(config.secrets)
    document = yaml_reader.read(yaml_reader.load_text(config.path), config.path)
    bundle = {
        "configuration.json": _json(_without_urls(document.value), hide),
        "check.txt": hide("".join(f"{tried}: {problem or 'ok'}\n" for tried, problem in await check(config))),
        "data_dir.json": _json(await _data_dir(config), hide),
    }
    for page, name in PAGES.items():
        bundle[name] = hide(await _fetch(config, page))
    return bundle


def versions() -> dict[str, Any]:
    """Return the versions of the bridge, of Python, the system, and all installed packages."""
    packages = {each.metadata["Name"]: each.version for each in distributions()}
    return {
        "fleet2mqtt": __version__,
        "python": sys.version,
        "system": platform.platform(),
        "at": stamp(),
        "packages": dict(sorted(packages.items())),
    }


def _without_urls(value: Any) -> Any:
    """Return a configuration without the URLs of notification targets, any part of which may be a secret."""
    notify = value.get("notify")
    if not isinstance(notify, dict):
        return value
    targets = {
        name: {**target, "url": "***"} if isinstance(target, dict) and "url" in target else target
        for name, target in notify.items()
    }
    return {**value, "notify": targets}


async def _data_dir(config: Config) -> dict[str, Any]:
    """Return what is in the data directory: files with their sizes, numbers of devices, figures of the outbox."""
    folder = config.data_dir
    files = {
        path.name: {"bytes": status.st_size, "changed": stamp(datetime.fromtimestamp(status.st_mtime, UTC))}
        for path, status in ((each, each.stat()) for each in sorted(folder.glob("*")))
    }
    return {
        "path": str(folder),
        "files": files,
        "inventory": _inventory(folder / INVENTORY),
        "outbox": await _outbox(folder),
    }


def _inventory(path: Path) -> dict[str, int] | str:
    """Return the number of stored devices by backend, or why they are not known."""
    try:
        devices = orjson.loads(path.read_bytes())["devices"]
    except (OSError, orjson.JSONDecodeError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    found: dict[str, int] = {}
    for device in devices:
        found[device["backend"]] = found.get(device["backend"], 0) + 1
    return found


async def _outbox(folder: Path) -> dict[str, Any] | str:
    try:
        with tempfile.TemporaryDirectory(prefix="fleet2mqtt-") as copied:
            async with open_outbox(copy(folder / OUTBOX, Path(copied))) as outbox:
                return {
                    "depth": outbox.depth,
                    "bytes": outbox.size,
                    "first_seq": outbox.first_seq,
                    "last_seq": outbox.last_seq,
                    "dead_letters": outbox.dead,
                }
    except BridgeError as error:
        return str(error)


async def _fetch(config: Config, page: str) -> str:
    """Return a page of the running bridge, or why there is none."""
    url = f"http://{authority(_reachable(config.web.host), config.web.port)}/{page}"
    timeout = aiohttp.ClientTimeout(total=PAGE_TIMEOUT)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return await response.text()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return f"{url}: {type(error).__name__} {error}\n"


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on


def _json(value: Any, hide: Callable[[str], str]) -> str:
    return (
        orjson.dumps(
            redact_json(value, hide), default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
        ).decode()
        + "\n"
    )
