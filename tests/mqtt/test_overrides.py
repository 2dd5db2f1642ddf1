"""Private members of amqtt that the bridge relies on.

If a test fails after an update of such a library, adapt mqtt/amqtt_overrides.py, and its upper
bound in pyproject.toml.
"""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path

import pytest
from amqtt.broker import Broker as Amqtt

from fleet2mqtt.mqtt.amqtt_overrides import AmqttBroker

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
OVERRIDES: tuple[tuple[type, type, set[str]], ...] = (
    (AmqttBroker, Amqtt, {"_publish_retained_messages_for_subscription"}),
)


@pytest.mark.parametrize(("ours", "theirs", "names"), OVERRIDES)
def test_overridden_methods_have_the_signature_of_the_library(ours: type, theirs: type, names: set[str]) -> None:
    overridden = {name for name in vars(ours) if not name.startswith("__") and callable(getattr(ours, name))}
    assert overridden == names
    for name in names:
        parameters = [list(inspect.signature(getattr(each, name)).parameters) for each in (ours, theirs)]
        assert parameters[0] == parameters[1], name


def test_amqtt_has_its_subscriptions_by_filter() -> None:
    assert isinstance(vars(Amqtt)["subscriptions"], property)
    assert inspect.iscoroutinefunction(Amqtt._publish_retained_messages_for_subscription)


@pytest.mark.parametrize("library", ["aiohttp", "amqtt"])
def test_library_with_overrides_has_an_upper_bound(library: str) -> None:
    extras = [each for group in PROJECT["optional-dependencies"].values() for each in group]
    [requirement] = [each for each in (*PROJECT["dependencies"], *extras) if each.startswith(library)]
    assert ",<" in requirement
