"""The schemas of the platform's options, and of its actions' arguments under the vendor's own field names."""

from __future__ import annotations

from typing import Any

import voluptuous as vol

from fleet2mqtt.sdk.api import SECRET
from fleet2mqtt.sdk.validators import identifier, scan_interval, whole


def _key(value: Any) -> str:
    """Validate a key; the message does not repeat it."""
    if not isinstance(value, str) or not value:
        raise vol.Invalid("expected a text that is not empty")
    return value


# The common options (url, timeout, headers, verify_tls, ca, time_zone, push, allow) are the core's. SECRET keeps a
# value out of every log, topic and page.
OPTIONS: dict[Any, Any] = {
    vol.Required("api_key", description=SECRET, msg="missing; expected the key of the relay cloud"): _key,
    **scan_interval("readings", devices=60, readings=300),
}

ID = vol.All(identifier, vol.Length(min=1, max=64))
RESTART = {vol.Required("id"): ID, vol.Optional("delay", default=0): vol.All(whole, vol.Range(min=0, max=3600))}
