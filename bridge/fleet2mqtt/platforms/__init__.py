"""One package per vendor system, found by the entry point group fleet2mqtt.platforms."""
