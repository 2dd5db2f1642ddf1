"""The vendor's JSON and its envelope: what is dropped, what a refusal means."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from fleet2mqtt.errors import Ambiguous, AuthenticationError, BackendError
from fleet2mqtt.sdk import vendor_json
from fleet2mqtt.sdk.http_client import Envelope
from fleet2mqtt.sdk.vendor_json import Pairs

UNKNOWN_OUTCOME = 105
BAD_CREDENTIALS = frozenset((103, 106))
GIVEN_TOKEN = "given_token"  # noqa: S105 - the name of a member
"""What `parse_login` calls `tokenId`, which the parser would drop."""

_BAD_TOKEN = 104


def classify(code: Any, text: str) -> type[BackendError] | None:
    """The status codes of the vendor's sibling product, which omstation seems to share: its own table is not public.

    105 says "exception" there, and comes with "Operation succeeded" here: never a success, by nobody's word.
    """
    number = vendor_json.number(code)
    if number == UNKNOWN_OUTCOME:
        return Ambiguous
    if number in BAD_CREDENTIALS or number == _BAD_TOKEN or "token" in text.lower():
        return AuthenticationError
    return None


ENVELOPE = Envelope(member="code", success=(200, "200"), texts=("message",), classify=classify)


def refuses_token(error: BackendError) -> bool:
    """Whether the vendor did nothing because of the token: 104, HTTP 401 or 403, or a message that speaks of it."""
    return isinstance(error, AuthenticationError) and vendor_json.number(error.code) not in BAD_CREDENTIALS


def parse(data: bytes) -> Any:
    """Read an answer: secrets dropped, and from every `fileUrl` what may carry a token. Raises InvalidResponse."""
    return _without_queries(vendor_json.parse(data))


def parse_login(data: bytes) -> Any:
    """Read the answer of the login, the one that may keep its token, as GIVEN_TOKEN. Raises InvalidResponse."""
    return vendor_json.parse(data, pairs=_keep_token)


def _keep_token(pairs: Pairs) -> dict[str, Any]:
    return {GIVEN_TOKEN if name.strip().lower() == "tokenid" else name: value for name, value in pairs}


def _without_queries(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_queries(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _bare(item) if key.lower() == "fileurl" and isinstance(item, str) else _without_queries(item)
        for key, item in value.items()
    }


def _bare(url: str) -> str:
    """A URL without credentials, parameters, query and fragment; "" for what is none."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.partition(";")[0], "", ""))
