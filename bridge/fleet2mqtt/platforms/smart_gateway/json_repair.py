"""The vendor's JSON, and what its document shows instead of JSON."""

from __future__ import annotations

import re
from typing import Any

from fleet2mqtt.errors import InvalidResponse
from fleet2mqtt.sdk import vendor_json

_LOOSE = re.compile(
    rb'"(?:[^"\\]|\\.)*"'  # a string stays as it is
    rb"|:\s*(?P<bare>-?\d+(?:\.\d+)?\s*[A-Za-z]+|success)(?=\s*[,}\]])"
    rb"|(?P<dropped>,(?=\s*[}\]])|//[^\r\n]*)"
    rb'|(?P<end>[}\]])(?=\s+")',
    re.DOTALL,
)


def parse(data: bytes) -> Any:
    """Read a reply; passwords come out as `wire.seal()` stand-ins. Raises InvalidResponse.

    The document's samples hold `58640 Kbps` and `success` without quotes, commas before a closing bracket and none
    after one, and comments. Should a server really send those, a second reading mends them; a reply that is JSON is
    never touched.
    """
    try:
        return vendor_json.parse(data, sealed=True)
    except InvalidResponse as error:
        mended = _LOOSE.sub(_mend, data)
        if mended == data:
            raise
        try:
            return vendor_json.parse(mended, sealed=True)
        except InvalidResponse:
            raise error from None


def _mend(found: re.Match[bytes]) -> bytes:
    if found["bare"]:
        return b':"' + found["bare"] + b'"'
    if found["end"]:
        return found["end"] + b","
    return b"" if found["dropped"] else found[0]
