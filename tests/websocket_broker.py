"""A real mosquitto with a websocket listener: the broker that a vendor would run for applications."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.broker import HOST, Broker, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.certificates import Certificates


@asynccontextmanager
async def websocket_broker(
    directory: Path,
    *,
    users: Mapping[str, str] | None = None,
    certificates: Certificates | None = None,
    extra: str = "",
) -> AsyncIterator[tuple[Broker, str]]:
    """Run a mosquitto; yield it with the URL of its websocket listener, wss with `certificates`.

    Its plain listener, which the broker's own `publish` uses, stays without TLS.
    """
    port = free_port()
    lines = [extra, f"listener {port} {HOST}", "protocol websockets"]
    if certificates is not None:
        lines += [f"cafile {certificates.ca}", f"certfile {certificates.server_certificate}"]
        lines += [f"keyfile {certificates.server_key}"]
    broker = Broker(directory=directory / "vendor-broker", users=users or {}, extra="\n".join(lines))
    async with broker:
        yield broker, f"{'wss' if certificates else 'ws'}://{HOST}:{port}"
