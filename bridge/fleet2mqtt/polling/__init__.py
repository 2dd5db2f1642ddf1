"""Polls of the sources of a backend, and what is available by them."""
