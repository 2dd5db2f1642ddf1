"""Devices, entity descriptions, ids, and the registry of the newest device per id."""
