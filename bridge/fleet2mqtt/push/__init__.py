"""Pushes from vendors: by HTTP, and as messages of a vendor's own MQTT broker."""
