"""The contract on MQTT (docs/mqtt.md) as code, without effects.

topics     topics and topic filters
payloads   state, results, responses, availability
published  the values of a device within Home Assistant's limits
values     command values
discovery  Home Assistant's discovery messages
"""
