"""A certification authority for one test, with what it vouches for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """PEM files: the authority, a server on loopback, and a client."""

    ca: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    client_key: Path


def make_certificates(directory: Path, client_until: datetime | None = None) -> Certificates:
    """Create an authority and the certificates that it signs; that of the client expires at `client_until`."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1", "localhost")
    client = authority.issue_cert("client@fleet2mqtt.test", common_name="fleet2mqtt", not_after=client_until)
    made = Certificates(
        ca=directory / "ca.pem",
        server_certificate=directory / "server.pem",
        server_key=directory / "server.key",
        client_certificate=directory / "client.pem",
        client_key=directory / "client.key",
    )
    authority.cert_pem.write_to_path(made.ca)
    server.cert_chain_pems[0].write_to_path(made.server_certificate)
    server.private_key_pem.write_to_path(made.server_key)
    client.cert_chain_pems[0].write_to_path(made.client_certificate)
    client.private_key_pem.write_to_path(made.client_key)
    return made
