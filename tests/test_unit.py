"""Sources that the options of a backend leave out."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fleet2mqtt.devices.model import Update
from fleet2mqtt.devices.selection import Detail, Override, Rule, Selection
from fleet2mqtt.sdk.api import Source
from fleet2mqtt.unit import unpolled_sources
from tests.sample_devices import row


async def poll() -> AsyncIterator[Update]:
    updates: tuple[Update, ...] = ()
    for update in updates:
        yield update


def source(**options: Any) -> Source:
    values: dict[str, Any] = {"name": "lines", "interval": 60.0, "poll": poll}
    return Source(**values | options)


USUAL, HIDDEN = row("usual"), row("hidden", enabled=False)
FULL = Selection(entities=Detail.FULL)
WITHOUT_LINES = Selection(exclude=(Rule(kind="line"),))


@pytest.mark.parametrize(
    ("options", "selection", "polled"),
    [
        ({}, Selection(), True),
        ({}, Selection(entities=Detail.MINIMAL), True),
        ({"interval": math.inf}, Selection(), False),
        ({"entities": (USUAL, HIDDEN)}, Selection(), True),
        ({"entities": (HIDDEN,)}, Selection(), False),
        ({"entities": (HIDDEN,)}, FULL, True),
        ({"entities": (HIDDEN,)}, Selection(overrides={"hidden": Override(enabled=True)}), True),
        ({"entities": (USUAL,)}, Selection(overrides={"usual": Override(enabled=False)}), False),
        ({"entities": (USUAL,)}, Selection(entities=Detail.MINIMAL), False),
        ({"kind": "line"}, WITHOUT_LINES, False),
        ({"kind": "line"}, Selection(exclude=(Rule(kind="line", name="*7"),)), True),
        ({"kind": "channel"}, WITHOUT_LINES, True),
        ({"entities": (HIDDEN,), "primary": True}, Selection(), True),
    ],
)
def test_source_is_polled_only_for_what_is_published(
    options: dict[str, Any], selection: Selection, polled: bool
) -> None:
    assert unpolled_sources([source(**options)], selection) == (frozenset() if polled else {"lines"})
