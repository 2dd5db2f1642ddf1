"""Secrets in texts: the names they stand behind, and their removal from logs, errors and other outputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

SECRET_KEYS = frozenset(
    ("pass", "password", "passwd", "wifikey", "tokenid", "admincode", "authcode", "access_token", "secret_key")
) | {"certificate"}
"""Field names, lower case, whose values never go further than the parser."""
_SECRET_TEXT = re.compile(
    r"(" + "|".join(sorted(SECRET_KEYS)) + r""")(["'“”\s]*[:=：]\s*["'“]?)"""
    # To the closing quote where there is an opening one, whatever stands between.
    r"""(?:(?<=")(?:[^"\\]|\\.)+|(?<=')[^']+|(?<=“)[^”]+|[^"'“”,&}\s]+)""",
    re.IGNORECASE | re.DOTALL,
)


def redact(text: str) -> str:
    """Return a text, which may contain JSON or a URL, with *** for the values behind secret names."""
    return _SECRET_TEXT.sub(r"\1\2***", text)


_SHORTEST = 4
"""A configured secret shorter than this would be found in words of every line of the log."""
_SCHEME = re.compile(r"(?:basic|bearer|digest|token|apikey) +", re.IGNORECASE)
"""Scheme of an Authorization header; a vendor may repeat the part after it alone."""


class Redaction:
    """Replaces configured secrets, and values behind secret names, by ***."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: frozenset[str] = frozenset()
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Replace these secrets, too, from now on: those of a configuration that was reloaded."""
        whole = self._secrets = self._secrets | frozenset(secrets)
        alone = {_SCHEME.sub("", text, count=1) for text in whole if _SCHEME.match(text)}
        texts = sorted((text for text in whole | alone if len(text) >= _SHORTEST), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, texts))) if texts else None

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        if self._known is not None:
            text = self._known.sub("***", text)
        return redact(text)


_SECRET_NAME = re.compile(
    r"pass|pwd|token|secret|credential|authori[sz]ation$|(?:admin|auth)_?code|(?:^|api_?|access_?|wifi_?)key$|certificate",
    re.IGNORECASE,
)
"""Names behind which a vendor, or an option, may have a secret; wider than SECRET_KEYS, for what people hand on."""


def redact_json(value: Any, redact_text: Callable[[str], str]) -> Any:
    """Return a JSON value without secrets: each text redacted, and *** for texts behind a name that sounds secret."""
    match value:
        case str():
            return redact_text(value)
        case Mapping():
            return {
                key: "***"
                if isinstance(item, str) and item and _SECRET_NAME.search(str(key))
                else redact_json(item, redact_text)
                for key, item in value.items()
            }
        case list() | tuple():
            return [redact_json(item, redact_text) for item in value]
        case _:
            return value
