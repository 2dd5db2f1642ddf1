"""URLs of the channels that the documentation names, as Apprise takes them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import apprise
import pytest

from fleet2mqtt.config.apprise_library import build_target
from tests.process import ran

PAGE = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| ([^|]+?) \| `([^`|]+://[^`|]*)` \|", PAGE, re.MULTILINE))
"""Channels and the forms of their URLs, in the table of the page."""
CHANNELS = ["E-Mail", "WeCom Bot", "DingTalk", "Feishu", "Telegram", "Slack", "ntfy", "JSON", "Syslog", "Remote Syslog"]


def members(target: Any) -> dict[str, Any]:
    left_out = {"asset", "logger", "tags"}
    return {name: value for name, value in vars(target).items() if name not in left_out and "store" not in name}


def test_page_has_all_channels() -> None:
    built = [build_target(url) for url in ROWS.values()]
    assert sorted({str(each and each.service_name) for each in built}) == sorted(CHANNELS)


@pytest.mark.parametrize("url", ROWS.values())
def test_documented_url_is_parsed_as_apprise_parses_it(url: str) -> None:
    target: Any = build_target(url)
    same: Any = apprise.Apprise.instantiate(url)
    assert target is not None
    assert type(target) is type(same)
    assert target.url() == same.url()


@pytest.mark.parametrize(
    "url", ["dingtalk://", "wecombot://", "mailto://", "tgram://x", "slack://a", "json://", "nope://a", "x"]
)
def test_url_that_lacks_a_part_is_refused(url: str) -> None:
    assert build_target(url) is None


@pytest.mark.parametrize(
    "scheme",
    ["https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "gotify://h/AbCdEf0123456Z"],
)
def test_other_channel_is_found_by_apprise(scheme: str) -> None:
    assert build_target(scheme) is not None


async def test_known_channel_loads_only_its_module() -> None:
    """All of Apprise's modules would take a second of each start, and 20 MB."""
    code = (
        "import sys; from fleet2mqtt.config.apprise_library import build_target; assert build_target('json://a');"
        "assert build_target('mailto://a.example.com?from=a@example.com&to=b@example.com');"
        "print(sorted(name for name in sys.modules if name.startswith('apprise.plugins.')))"
    )
    ended = await ran(sys.executable, "-c", code)
    assert "custom_json" in ended.output
    assert "telegram" not in ended.output, ended
