"""Ports that a demo chooses before its servers listen."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.cli.ports import HOST, reserved_port
from tests.broker import free_port

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_reserved_port_is_given_to_no_client_and_is_free_for_a_server() -> None:
    with reserved_port(0) as port:
        with socket.socket() as client, pytest.raises(OSError, match="in use"):
            client.bind((HOST, port))
        with socket.create_server((HOST, port)) as server:
            assert server.getsockname() == (HOST, port)


def test_reserved_port_is_free_again_afterwards(locks: Path) -> None:
    with reserved_port(0) as port:
        assert [path.name.split("-port-")[1] for path in locks.iterdir()] == [f"{port}.lock"]
    with socket.socket() as client:
        client.bind((HOST, port))
    assert list(locks.iterdir()) == []


def test_reserved_port_is_not_the_preferred_one_where_a_server_listens() -> None:
    with socket.create_server((HOST, free_port())) as server, reserved_port(server.getsockname()[1]) as port:
        assert port not in {0, server.getsockname()[1]}


def test_reserved_ports_of_two_demos_differ() -> None:
    preferred = free_port()
    with reserved_port(preferred) as first, reserved_port(preferred) as second:
        assert first == preferred
        assert second != preferred
