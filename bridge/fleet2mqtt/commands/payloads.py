"""Payloads of commands and requests as they come in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from fleet2mqtt.errors import CommandError


def parse_object(payload: bytes) -> Mapping[str, Any]:
    """Return the JSON object in a payload. Raises CommandError with what is wrong with it."""
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise CommandError("malformed", f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CommandError("malformed", f"expected a JSON object, got {type(value).__name__}")
    return value
