"""The listener for people and probes: page, health, readiness and metrics."""
