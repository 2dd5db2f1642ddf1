"""Errors of actions, translated."""

from __future__ import annotations

from typing import Any

from homeassistant.exceptions import HomeAssistantError, ServiceValidationError

from .const import DOMAIN

# The bridge did not try, because of what was asked.
_OF_THE_USER = {
    "invalid_arguments": "invalid_arguments",
    "malformed": "invalid_arguments",
    "not_allowed": "not_allowed",
    "unknown_backend": "unknown_backend",
    "unknown_request": "unknown_request",
    "unknown_alarm": "unknown_alarm",
    "unknown_device": "unknown_alarm",
    "unknown_window": "unknown_alarm",
    "not_active": "wrong_state",
    "still_active": "wrong_state",
    "too_many": "wrong_state",
}
# Nothing is wrong with the request or the vendor.
_OF_THE_MOMENT = ("busy", "expired", "stopped", "timeout")


def usage(key: str, **placeholders: str) -> ServiceValidationError:
    """Return an error that the caller can correct."""
    return ServiceValidationError(translation_domain=DOMAIN, translation_key=key, translation_placeholders=placeholders)


def failure(key: str, **placeholders: str) -> HomeAssistantError:
    """Return an error of a correct call that failed."""
    return HomeAssistantError(translation_domain=DOMAIN, translation_key=key, translation_placeholders=placeholders)


def refused(action: str, error: Any) -> HomeAssistantError:
    """Return the error of a response: the bridge's own code, or the vendor's code and text."""
    fault = error if isinstance(error, dict) else {}
    code, message = str(fault.get("code", "unknown")), str(fault.get("message", ""))
    if code in _OF_THE_USER:
        return usage(_OF_THE_USER[code], action=action, message=message)
    if code in _OF_THE_MOMENT:
        return failure("not_now", action=action, message=message)
    return failure("vendor_error", action=action, code=code, message=message)
