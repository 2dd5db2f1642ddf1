"""The connection to the MQTT broker; nothing else imports paho.

settings   what a connection needs, and what it delivers
packets    what is sent, and what it weighs
limits     what is too large to be sent
window     the order of messages, and how many may be unacknowledged
pump       paho driven by the event loop
dialect    which MQTT the broker speaks
link       one connection: what is said on it
retry      when to try again, and how loudly to say so
client     MqttClient: one link after another, for ever
"""

from __future__ import annotations

from fleet2mqtt.mqtt.client import MqttClient
from fleet2mqtt.mqtt.settings import Message, Settings, tls_context

__all__ = ["Message", "MqttClient", "Settings", "tls_context"]
