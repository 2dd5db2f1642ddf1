"""Commands, reads and requests from MQTT: routed, queued, executed, replied to."""
