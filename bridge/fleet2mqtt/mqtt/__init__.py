"""The MQTT client and the embedded broker; no other package imports paho or amqtt.

client           MqttClient: one connection after another, with back-off between them
connection       one connection, and the protocol negotiation
subscriber       a connection to a broker of somebody else, from which a platform receives messages
network_loop     paho's socket on the event loop
flow_control     order and bound of messages in flight; packet size limit
withheld         messages over which the broker closes the connection
refusal_log      log messages about refused messages
settings         settings of a connection; messages in both directions
embedded_broker  amqtt on loopback
paho_overrides, amqtt_overrides: what relies on private members of these libraries
"""

from __future__ import annotations

from fleet2mqtt.mqtt.client import MqttClient
from fleet2mqtt.mqtt.settings import Message, Settings, TlsFiles
from fleet2mqtt.mqtt.subscriber import Subscriber, SubscriberSettings

__all__ = ["Message", "MqttClient", "Settings", "Subscriber", "SubscriberSettings", "TlsFiles"]
