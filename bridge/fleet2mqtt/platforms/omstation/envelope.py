"""The vendor's JSON and the envelope of its responses: what is dropped, and what a refusal means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from fleet2mqtt.errors import Ambiguous, AuthenticationError, BackendError, InvalidResponse
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.http_client import Envelope
from fleet2mqtt.sdk.vendor_json import Pairs

SUCCESS = 200
PARAMETER_ERROR = 102
TOKEN_ERROR = 104
UNKNOWN_OUTCOME = 105
BAD_CREDENTIALS = frozenset((103, 106))
TOKEN_FIELD = "login_token"  # noqa: S105 - the name of a member
"""The name that `parse_login` gives to `tokenId`, which the parser would drop."""


def classify(code: Any, text: str) -> type[BackendError] | None:
    """Return the error class of a status code, None for a plain refusal.

    The codes are those of the vendor's sibling product: omstation's own table is not public. 105 says "exception" there
    and comes with "Operation succeeded" here, so it never counts as success.
    """
    number = vendor_json.number(code)
    if number == UNKNOWN_OUTCOME:
        return Ambiguous
    if number in BAD_CREDENTIALS or number == TOKEN_ERROR or "token" in text.lower():
        return AuthenticationError
    return None


ENVELOPE = Envelope(member="code", success=(SUCCESS, str(SUCCESS)), texts=("message",), classify=classify)


def is_token_error(error: BackendError) -> bool:
    """Return True if nothing was carried out because of the token: 104, HTTP 401 or 403, or a text about it."""
    return isinstance(error, AuthenticationError) and vendor_json.number(error.code) not in BAD_CREDENTIALS


def parse(data: bytes) -> Any:
    """Return a response without secrets, and without the part of each `fileUrl` that may carry a token.

    Raises InvalidResponse.
    """
    return _strip_file_urls(vendor_json.parse(data))


def parse_login(data: bytes) -> Any:
    """Return the login's response, which keeps its token under TOKEN_FIELD. Raises InvalidResponse."""
    return vendor_json.parse(data, pairs=_keep_token)


def data_object(response: Mapping[str, Any], endpoint: str) -> dict[str, Any]:
    """Return `data` of a response, an empty object for null. Raises InvalidResponse for any other type."""
    data = response.get("data") or {}
    if not isinstance(data, dict):
        message = f"{endpoint}: 'data' is a {type(data).__name__}, not an object"
        raise InvalidResponse(message, endpoint=endpoint, code="wrong_type")
    return data


def list_member(data: Mapping[str, Any], name: str, endpoint: str) -> list[Any]:
    """Return the list under a name, an empty one where it is missing. Raises InvalidResponse for any other type."""
    items = data.get(name) or []
    if not isinstance(items, list):
        message = f"{endpoint}: {name!r} is a {type(items).__name__}, not a list"
        raise InvalidResponse(message, endpoint=endpoint, code="wrong_type")
    return items


def _keep_token(pairs: Pairs) -> dict[str, Any]:
    return {TOKEN_FIELD if name.strip().lower() == "tokenid" else name: value for name, value in pairs}


def _strip_file_urls(value: Any) -> Any:
    if isinstance(value, list):
        return [_strip_file_urls(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _strip_url(item) if key.lower() == "fileurl" and isinstance(item, str) else _strip_file_urls(item)
        for key, item in value.items()
    }


def _strip_url(url: str) -> str:
    """Return a URL without credentials, parameters, query and fragment; "" for what is none."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.partition(";")[0], "", ""))
