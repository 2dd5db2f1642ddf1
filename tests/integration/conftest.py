"""Home Assistant in process, with a broker of its own making and a bridge played from the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from custom_components.fleet2mqtt.const import DOMAIN  # first: the plugin has a package of this name, too

# isort: split
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from tests.integration.bridge import BASE, ID, Bridge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from homeassistant.core import HomeAssistant
    from pytest_homeassistant_custom_component.typing import MqttMockHAClient, MqttMockPahoClient

__all__ = ["DOMAIN"]


@pytest.fixture(autouse=True, scope="session")
def patience_with_threads() -> Iterator[None]:
    """Time for Home Assistant's worker threads to end by themselves.

    Its executor waits a second in all for idle threads, then raises SystemExit inside them wherever they are. That may
    be within the interpreter's own bookkeeping: the thread is then listed for ever, and the plugin's clean-up check
    fails a test that left nothing. A busy machine needs more than a second.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("homeassistant.util.executor.EXECUTOR_SHUTDOWN_TIMEOUT", 600)
        yield


@pytest.fixture(autouse=True)
def hasty_subscriptions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Home Assistant gathers subscriptions for half a second, which these tests need not wait for."""
    for name in ("INITIAL_SUBSCRIBE_COOLDOWN", "SUBSCRIBE_COOLDOWN", "UNSUBSCRIBE_COOLDOWN", "DISCOVERY_COOLDOWN"):
        monkeypatch.setattr(f"homeassistant.components.mqtt.client.{name}", 0.01)


@pytest.fixture(autouse=True)
def custom_integrations(enable_custom_integrations: None) -> None:
    """Home Assistant loads ours."""


@pytest.fixture
def expected_lingering_timers() -> bool:
    """The MQTT client of these tests keeps one."""
    return True


@pytest.fixture
def bridge(hass: HomeAssistant, mqtt_mock: MqttMockHAClient, mqtt_client_mock: MqttMockPahoClient) -> Bridge:
    """A bridge that is online, with one backend of each kind that the actions are for."""
    return Bridge(hass, mqtt_client_mock)


@pytest.fixture
def entry(hass: HomeAssistant) -> MockConfigEntry:
    """An entry for the bridge, not set up yet."""
    entry = MockConfigEntry(domain=DOMAIN, title="fleet2mqtt", unique_id=ID, data={"base_topic": BASE})
    entry.add_to_hass(hass)
    return entry


@pytest.fixture
async def loaded(hass: HomeAssistant, bridge: Bridge, entry: MockConfigEntry) -> MockConfigEntry:
    """The same, set up."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    return entry
