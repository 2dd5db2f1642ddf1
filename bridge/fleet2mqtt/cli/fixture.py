"""The folder that `fleet2mqtt dump --fixture` writes: a poll that a test can repeat without the vendor's system."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson

from fleet2mqtt.config.models import BackendConfig
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.redaction import Redaction, redact_json
from fleet2mqtt.sdk.exchanges import Exchange

NOTE = """\
One poll of every source of a `{platform}` backend, recorded by `fleet2mqtt dump --fixture`: a file for each exchange in
the order in which they were made, and `dump.json`, what the bridge made of them. Secrets are replaced by ***. Names,
addresses and telephone numbers are not: look through the files before you hand them on.
"""
_OMITTED = frozenset(("url", "ca", "headers", "allow", "secrets", "time_zone"))
"""Options that a fixture does not repeat, or that are about one installation."""


def write(folder: Path, backend: BackendConfig, dump: Any, exchanges: Iterable[Exchange]) -> None:
    """Write a fixture without secrets into a new folder. Raises ConfigError if it exists."""
    redact = Redaction(backend.secrets)
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise ConfigError([f"{folder}: exists already; choose another folder"]) from error
    options = {name: value for name, value in backend.options.items() if name not in _OMITTED}
    _write(folder / "backend.json", {"platform": backend.platform, "options": redact_json(options, redact)})
    _write(folder / "dump.json", dump)
    (folder / "NOTE.md").write_text(NOTE.format(platform=backend.platform), "utf-8")
    for number, exchange in enumerate(exchanges, 1):
        name = "".join(letter if letter.isalnum() else "_" for letter in exchange.endpoint)
        _write(folder / f"{number:04}-{name}.json", _content(exchange, redact))


def _content(exchange: Exchange, redact: Redaction) -> dict[str, Any]:
    path, _, query = exchange.path.partition("?")
    request = {
        "method": exchange.method,
        "path": path,
        "query": redact_json(dict(parse_qsl(query, keep_blank_values=True)) | dict(exchange.query), redact),
        "body": redact_json(exchange.body, redact),
    }
    found: dict[str, Any] = {"request": request, "status": exchange.status}
    try:
        found["json"] = redact_json(orjson.loads(exchange.response), redact)
    except orjson.JSONDecodeError:  # as this vendor sent it
        found["text"] = redact(exchange.response.decode("utf-8", "backslashreplace"))
    return found


def _write(path: Path, value: Any) -> None:
    path.write_bytes(orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n")
