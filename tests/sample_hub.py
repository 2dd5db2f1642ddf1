"""A hub with the alarm handling of a bridge without conditions and rules, for tests of other parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet2mqtt.alarms.handling import AlarmHandling, AlarmSources
from fleet2mqtt.alarms.maintenance import MaintenanceWindows
from fleet2mqtt.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleet2mqtt.alarms.manager import AlarmOptions
    from fleet2mqtt.contract.topics import Topics
    from fleet2mqtt.devices.registry import Registry
    from fleet2mqtt.outbox import Outbox
    from fleet2mqtt.publishing.publisher import Publisher


def alarm_handling(  # noqa: PLR0913, PLR0917 - as AlarmHandling
    outbox: Outbox,
    registry: Registry,
    publisher: Publisher,
    topics: Topics,
    on_events: Callable[[], None],
    options: AlarmOptions | None = None,
    sources: AlarmSources | None = None,
) -> AlarmHandling:
    windows = MaintenanceWindows(outbox)
    return AlarmHandling(outbox, registry, publisher, topics, windows, on_events, options, sources)


def sample_hub(
    outbox: Outbox, registry: Registry, publisher: Publisher, topics: Topics, on_alarms: Callable[[], None]
) -> Hub:
    alarms = alarm_handling(outbox, registry, publisher, topics, on_alarms)
    return Hub(outbox, registry, publisher, topics, alarms, on_alarms)
