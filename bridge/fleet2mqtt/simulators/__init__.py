"""Simulators of the vendors' systems, each from the vendor's document alone."""
