"""Parsing the vendor's JSON, and repairing what its document shows instead of JSON."""

from __future__ import annotations

import re
from typing import Any

from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.sdk import vendor_json

_LOOSE = re.compile(
    rb'"(?:[^"\\]|\\.)*"'  # strings stay unchanged
    rb"|:\s*(?P<bare>-?\d+(?:\.\d+)?\s*[A-Za-z]+|success)(?=\s*[,}\]])"
    rb"|(?P<dropped>,(?=\s*[}\]])|//[^\r\n]*)"
    rb'|(?P<end>[}\]])(?=\s+")',
    re.DOTALL,
)


def parse(data: bytes) -> Any:
    """Parse a response; passwords are replaced by `vendor_json.secret_digest()`. Raises InvalidResponse.

    The document's samples contain `58640 Kbps` and `success` without quotes, commas before a closing bracket and none
    after one, and comments. A response that is not JSON is repaired and parsed again; valid JSON is never changed.
    """
    try:
        return vendor_json.parse(data, sealed=True)
    except InvalidResponse as error:
        repaired = _LOOSE.sub(_repair, data)
        if repaired == data:
            raise
        try:
            return vendor_json.parse(repaired, sealed=True)
        except InvalidResponse:
            raise error from None


def _repair(match: re.Match[bytes]) -> bytes:
    if match["bare"]:
        return b':"' + match["bare"] + b'"'
    if match["end"]:
        return match["end"] + b","
    return b"" if match["dropped"] else match[0]
