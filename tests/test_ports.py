"""Ports for tests: kept from whoever else looks for one, until their server listens."""

from __future__ import annotations

import socket

import pytest

from tests.broker import HOST, free_port


def test_port_that_was_given_is_free_to_its_server_only() -> None:
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((HOST, port))
    with socket.create_server((HOST, port)), socket.create_connection((HOST, port)):
        pass
