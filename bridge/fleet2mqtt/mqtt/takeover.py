"""A trial of session takeover: whoever connects with a client id ends the connection that had it."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

from fleet2mqtt.errors import Disconnected
from fleet2mqtt.mqtt.client import MqttClient
from fleet2mqtt.mqtt.connection import Connection, ConnectionEnded, ProtocolNegotiation, Version
from fleet2mqtt.mqtt.flow_control import PublishCounters
from fleet2mqtt.mqtt.settings import Settings
from fleet2mqtt.mqtt.withheld import WithheldMessages

TIMEOUT = 10.0
"""Seconds that the broker has to end the first connection."""


async def try_takeover(settings: Settings) -> str | None:
    """Connect twice with a client id made up for that; return what makes the broker unfit for a cluster."""
    settings = replace(
        settings, client_id=f"fleet2mqtt-check-{secrets.token_hex(3)}", will_topic=f"{settings.will_topic}/check"
    )
    try:
        version = await MqttClient(settings, ()).probe()
    except Disconnected as error:
        return str(error)
    first, second = (_connection(settings, version) for _ in range(2))
    try:
        await first.open()
        await second.open()
        async with asyncio.timeout(TIMEOUT):
            await first.run(lambda: None)
    except ConnectionEnded:
        pass  # as it shall be
    except TimeoutError:
        return "a second connection with a client id does not end the first one, so a former owner could publish on"
    finally:
        first.abort()
        await second.disconnect()
        second.abort()
    if version != Version.V5:
        return (
            f"the broker speaks MQTT {version}: commands sent during a failover are lost, and everything is offline "
            "until the next owner is there; MQTT 5 has sessions and delayed wills"
        )
    return None


def _connection(settings: Settings, version: str) -> Connection:
    withheld = WithheldMessages(first=settings.withhold_first, longest=settings.withhold_longest)
    return Connection(settings, ProtocolNegotiation.of(version), PublishCounters(), withheld, lambda _: None)
