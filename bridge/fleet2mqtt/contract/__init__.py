"""The contract on MQTT (docs/mqtt.md) as code, without effects.

topics     topics and topic filters
payloads   state, results, responses, availability
values     command values
discovery  Home Assistant's discovery messages
"""
