"""Platforms made up for the tests of the configuration, and the two ways a text is read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import voluptuous as vol

from fleet2mqtt.config.loader import parse
from fleet2mqtt.config.models import Config
from fleet2mqtt.errors import ConfigError
from fleet2mqtt.sdk.api import Platform
from fleet2mqtt.sdk.validators import scan_interval

if TYPE_CHECKING:
    from fleet2mqtt.config.loader import Platforms

UMS = SimpleNamespace(
    KINDS=frozenset(("line",)),
    SCHEMA={
        vol.Optional("page_size", default=100): vol.All(int, vol.Range(min=1, max=1000)),
        vol.Optional("mode"): vol.Literal("fast"),
        vol.Optional("extra"): {vol.Optional("token"): str, vol.Optional("password"): str},
        **scan_interval("alarms", devices=60, alarms=30),
    },
)
LOCKED = SimpleNamespace(SCHEMA={vol.Optional("verify_tls", default=False): bool, vol.Required("password"): str})
PAIRED = SimpleNamespace(
    SCHEMA={vol.Optional("low"): int, vol.Optional("high"): int},
    check=lambda options: [] if "high" in options else [vol.Invalid("needs high beside it", ["low"])],
)
PLATFORMS: Platforms = {"ums": lambda: cast("Platform", UMS), "locked": lambda: cast("Platform", LOCKED)}

BACKENDS = "backends: {hq: {platform: ums, url: 'http://a'}}\n"


def problems(text: str, folder: Path | None = None) -> list[str]:
    """Return the problems of a configuration, without the name of the file."""
    file = (folder or Path("/nowhere")) / "f.yaml"
    with pytest.raises(ConfigError) as raised:
        parse(text, file, PLATFORMS)
    return [problem.replace(f"{file.parent}/", "").removeprefix("f.yaml:") for problem in raised.value.problems]


def read(text: str, folder: Path = Path("/nowhere")) -> Config:
    return parse(text, folder / "f.yaml", PLATFORMS)
