"""Constants of several modules."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

DOMAIN: Final = "fleet2mqtt"
LOGGER: Final = logging.getLogger(__package__)

CONF_BASE_TOPIC: Final = "base_topic"
CONF_OFFLINE_AFTER: Final = "offline_after"
DEFAULT_BASE_TOPIC: Final = "fleet2mqtt"
DEFAULT_OFFLINE_AFTER: Final = timedelta(minutes=15)

EVENT_ALARM: Final = "fleet2mqtt_alarm"

DOCUMENTATION: Final = "https://github.com/fleet2mqtt/fleet2mqtt/blob/main/docs/home-assistant.md"

INFO_TIMEOUT: Final = 5.0
"""Seconds to wait for the retained bridge/info, which a broker sends at once."""
ANSWER_TIMEOUT: Final = 75.0
"""Seconds to wait for an answer: longer than a request may wait in the bridge, so that the bridge has the last word."""
HISTORY_TIMEOUT: Final = 15.0
"""Seconds to wait for a page of alarms, which the bridge reads from its disk; it is asked again later."""
