"""The vendor's error codes and their meanings. Document, last table."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, NamedTuple

from fleet2mqtt.errors import AuthenticationError, BackendError
from fleet2mqtt.sdk import vendor_json


class Code(NamedTuple):
    """One error code: a lower snake case name for programs and an English meaning for people."""

    name: str
    meaning: str


CODES = MappingProxyType(
    {
        0: Code("success", "success"),
        1: Code("json_error", "the server could not parse the JSON"),
        7001: Code("invalid_data", "invalid data"),
        7002: Code("rule_name_exists", "a rule of this name exists already"),
        7003: Code("port_taken", "the port is already taken"),
        7004: Code("uuid_not_found", "no rule has this uuid"),
        7005: Code("bad_serial", "the serial number is wrong"),
        7006: Code("device_offline", "the device is offline"),
        7007: Code("serial_exists", "the serial number is registered already"),
        7008: Code("alias_exists", "a device of this alias exists already"),
        7009: Code("bad_alias", "the alias is not allowed"),
        7010: Code("bad_parameter", "a parameter is wrong"),
        7011: Code("too_many_devices", "no more devices can be registered"),
        7012: Code("bad_license_file", "the licence file or update package is wrong"),
        7013: Code("license_update_failed", "the licence could not be updated"),
        7014: Code("no_version_file", "the version file is missing"),
        7015: Code("bad_version_file", "the content of the version file is wrong"),
        7016: Code("bad_user_name", "the user name is wrong"),
        7017: Code("bad_password", "the password is wrong"),
        7018: Code("password_not_allowed", "the password is not allowed"),
        7019: Code("login_failed", "the login failed"),
        7020: Code("logout_failed", "the logout failed"),
        7021: Code("same_password", "the new password is the old one"),
        7022: Code("log_packing_failed", "the log files could not be packed"),
    }
)
_AUTHENTICATION = frozenset((7016, 7017, 7019))


def classify(code: Any, _: str) -> type[BackendError] | None:
    """Return AuthenticationError for the codes of a failed login; the vendor's other refusals are plain Rejected."""
    return AuthenticationError if vendor_json.number(code) in _AUTHENTICATION else None


def explained(error: BackendError) -> BackendError | None:
    """Return the same refusal as `<meaning> (<vendor's text>)`, None if the code is not in the vendor's table."""
    number = vendor_json.number(error.code)
    entry = CODES.get(int(number)) if number is not None else None
    if entry is None:
        return None
    return type(error)(f"{entry.meaning} ({error})", endpoint=error.endpoint, code=int(number or 0), data=error.data)
