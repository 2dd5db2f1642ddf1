"""The MQTT client and the embedded broker; no other package imports paho, mqtt5 or amqtt.

client           MqttClient: one connection after another, with back-off between them
connection       one connection, and the protocol negotiation
takeover         a trial of what a broker does when a client id connects twice
subscriber       a connection to a broker of somebody else, from which a platform receives messages
link             what stands between a connection and the network: mqtt5_link for MQTT 5, paho_link for 3.1.1
flow_control     order and bound of messages in flight; packet size limit
withheld         messages over which the broker closes the connection
refusal_log      log messages about refused messages
settings         settings of a connection; messages in both directions
embedded_broker  amqtt on loopback
amqtt_overrides  what relies on private members of amqtt
"""

from __future__ import annotations

from fleet2mqtt.mqtt.client import MqttClient
from fleet2mqtt.mqtt.settings import Message, Settings, TlsFiles
from fleet2mqtt.mqtt.subscriber import Subscriber, SubscriberSettings

__all__ = ["Message", "MqttClient", "Settings", "Subscriber", "SubscriberSettings", "TlsFiles"]
