"""The platform's own options."""

from __future__ import annotations

from typing import Any

import pytest
import voluptuous as vol

from fleet2mqtt.platforms import omstation
from tests.platforms.omstation.connected import ACCOUNT


@pytest.mark.parametrize(
    "options",
    [
        {"username": ""},
        {"username": 7},
        {"password": 123456},
        {"password": "a\nb"},
        {"org_id": ""},
        {"language": "de"},
        {"path_prefix": "omstation"},
        {"path_prefix": "/a b"},
        {"scan_interval": {"locks": 1}},
        {"window": {"format": "iso"}},
        {"window": {"start": "yesterday"}},
        {"window": {"start": "2000-02-30"}},
        {"window": {"future_days": -1}},
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(vol.Invalid) as raised:
        vol.Schema(omstation.SCHEMA)(ACCOUNT | options)
    assert "123456" not in str(raised.value)


def test_account_is_required() -> None:
    with pytest.raises(vol.Invalid) as raised:
        vol.Schema(omstation.SCHEMA)({})
    assert "missing" in str(raised.value)


@pytest.mark.parametrize(("given", "used"), [("/", ""), ("", ""), ("/a/b/", "/a/b"), ("/omstation", "/omstation")])
def test_path_prefix_is_normalised(given: str, used: str) -> None:
    assert vol.Schema(omstation.SCHEMA)(ACCOUNT | {"path_prefix": given})["path_prefix"] == used
