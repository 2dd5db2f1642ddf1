"""The web page, health, readiness and metrics; read-only."""
