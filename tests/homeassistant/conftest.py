"""One real Home Assistant for all tests here, as it takes some ten seconds to start and to connect.

So a test brings devices under names of its own, and judges the log only from its own beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.broker import Broker
from tests.homeassistant.hass import PROJECT, Hass

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hass_broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker]:
    """The broker that Home Assistant is connected to."""
    async with Broker(directory=tmp_path_factory.mktemp("hass-broker")) as broker:
        yield broker


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hass(hass_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hass]:
    """Home Assistant, running, with MQTT set up and the integration's files in place."""
    directory = tmp_path_factory.mktemp("hass") / "config"
    async with Hass(directory=directory, custom_components=PROJECT / "custom_components") as hass:
        await hass.setup_mqtt(hass_broker)
        yield hass
