"""Apprise and Jinja2, the libraries of the extra `notify`: imported where they are used, and without Apprise's log."""

from __future__ import annotations

import logging
import re
import sys
import threading
from importlib import import_module
from typing import Any

import voluptuous as vol

_MISSING = "notifications need an extra that is not installed: pip install 'fleet2mqtt[notify]'"
REASONS = (
    (r"certificate verify failed: self.signed", "its TLS certificate is not accepted: self-signed"),
    (r"certificate verify failed: certificate has expired", "its TLS certificate is not accepted: expired"),
    (
        r"certificate verify failed: unable to get local issuer",
        "its TLS certificate is not accepted: unknown authority",
    ),
    (r"certificate verify failed: (hostname|ip address) mismatch", "its TLS certificate is for another host"),
    (r"certificate verify failed", "its TLS certificate is not accepted"),
    (r"wrong.version.number|record layer failure|\bssl\b.*error|unexpected_eof", "it does not speak TLS as expected"),
    (r"starttls extension not supported", "the mail server does not offer STARTTLS"),
    (r"auth extension not supported|no suitable authentication method", "the mail server offers no login"),
    (r"name or service not known|name resolution|getaddrinfo|no address associated", "its host name is not found"),
    (r"connection refused", "connection refused"),
    (r"timed? ?out", "no answer in time"),
    (r"no route to host|network is unreachable", "its network is not reachable"),
    (r"connection reset|connection aborted|closed connection|unexpectedly closed", "it closed the connection"),
)
"""Reasons of failures in words of our own, by what Apprise's log has of each."""
_CODE = re.compile(r"\berror[=: ]+(\d{3,6})\b")
_HTTP_DIGITS = 3
_SMTP = re.compile(r"^socket exception: .*?\((\d{3}), b['\"]")


def load_library(name: str) -> Any:
    """Import a library of the extra. Raises vol.Invalid if it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise vol.Invalid(_MISSING) from error


class _Silence(logging.Filter):
    """Drops what Apprise logs, which repeats URLs and their secrets; keeps why each thread's last attempt failed."""

    def __init__(self) -> None:
        super().__init__()
        self.last = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop a record."""
        if reason := reason_in(record.getMessage()):
            self.last.reason = reason
        return False


def reason_in(text: str) -> str | None:
    """Return the reason that a line of Apprise's log gives, in words of our own, so that it has no secret."""
    if found := _CODE.search(text):
        return f"HTTP {found[1]}" if len(found[1]) == _HTTP_DIGITS else f"error {found[1]} of the vendor"
    text = text.lower()
    if found := _SMTP.search(text):
        return f"SMTP {found[1]}"
    if not text.startswith("socket exception"):
        return None
    return next((reason for pattern, reason in REASONS if re.search(pattern, text)), None)


_SILENCE = _Silence()


class _StrictRequests:
    """The library `requests` for channels that take each HTTP 200 for a yes: their vendors say no in its body."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def post(self, *arguments: Any, **options: Any) -> Any:
        """Post, with the vendor's `errcode`, if there is one, as the status of the response."""
        response = self._library.post(*arguments, **options)
        found = re.search(rb'"errcode"\s*:\s*(-?\d+)', response.content or b"")
        if response.status_code == _OK and found and int(found[1]):
            response.status_code = int(found[1])
        return response


_OK = 200
_LENIENT = ("apprise.plugins.wecombot", "apprise.plugins.dingtalk")
_MODULES = {
    "dingtalk": "dingtalk",
    "feishu": "feishu",
    "json": "custom_json",
    "jsons": "custom_json",
    "mailto": "email",
    "mailtos": "email",
    "ntfy": "ntfy",
    "ntfys": "ntfy",
    "rsyslog": "rsyslog",
    "slack": "slack",
    "syslog": "syslog",
    "tgram": "telegram",
    "wecombot": "wecombot",
}
"""Modules of Apprise by the scheme of a URL; for another one Apprise loads all it has, some hundred."""


def load_apprise() -> Any:
    """Import Apprise and keep its log from showing secrets. Raises vol.Invalid if it is not installed."""
    apprise = load_library("apprise")
    logger = logging.getLogger("apprise")
    logger.setLevel(logging.DEBUG)  # reasons are told on this level
    logger.addFilter(_SILENCE)
    for name in ("urllib3", "requests"):  # these repeat URLs, in warnings as well
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return apprise


def build_target(url: str) -> Any | None:
    """Return Apprise's object for a URL, None if it cannot be used. Raises vol.Invalid if Apprise is not installed.

    It sends in the thread that calls it: failures are told apart by that, and the end of the process waits for no
    other one.
    """
    apprise = load_apprise()
    asset = apprise.AppriseAsset(app_id="fleet2mqtt", app_desc="fleet2mqtt", async_mode=False, service_timeout=0)
    kind = _kind(apprise, url)
    if kind is None:
        target = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    else:
        try:
            parsed = kind.parse_url(url.replace("/#", "/%23"))  # as Apprise does: a channel of Slack is no fragment
            target = kind(**parsed, asset=asset) if parsed else None
        except (TypeError, ValueError, apprise.exception.AppriseException):  # what plugins raise for a bad part
            target = None
    for name in _LENIENT:
        module: Any = sys.modules.get(name)
        if module is not None and not isinstance(module.requests, _StrictRequests):
            module.requests = _StrictRequests(module.requests)
    return target


def _kind(apprise: Any, url: str) -> Any | None:
    """Return the class for the scheme of a URL where its module is known."""
    scheme = url.partition("://")[0].lower()
    if scheme not in _MODULES:
        return None
    module = load_library(f"apprise.plugins.{_MODULES[scheme]}")
    kinds = (each for each in vars(module).values() if isinstance(each, type))
    return next((each for each in kinds if issubclass(each, apprise.NotifyBase) and _speaks(each, scheme)), None)


def _speaks(kind: Any, scheme: str) -> bool:
    protocols = (kind.protocol, kind.secure_protocol)
    return any(scheme == each or (isinstance(each, list | tuple | set) and scheme in each) for each in protocols)


def last_reason() -> str | None:
    """Return why this thread's last attempt failed, as far as Apprise told, and forget it."""
    reason: str | None = getattr(_SILENCE.last, "reason", None)
    _SILENCE.last.reason = None
    return reason
