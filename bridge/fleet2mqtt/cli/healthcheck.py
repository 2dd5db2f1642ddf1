"""`fleet2mqtt healthcheck`: the readiness of a bridge that runs on this machine, for a container's health check."""

from __future__ import annotations

import argparse
from ipaddress import ip_address

import aiohttp

from fleet2mqtt.cli.process import FAILED, OK, print_line
from fleet2mqtt.config.loader import load
from fleet2mqtt.config.models import ListenConfig

TIMEOUT = 8.0


async def run(options: argparse.Namespace) -> int:
    """Print the response of /readyz; return 0 if the bridge is ready."""
    url = readiness_url(load(options.config).web)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            print_line(await response.text())
            return OK if response.ok else FAILED
    except (aiohttp.ClientError, TimeoutError) as error:
        print_line(f"{url}: {str(error) or 'no response'}")
        return FAILED


def readiness_url(web: ListenConfig) -> str:
    """Return the address of /readyz, on loopback where the bridge listens on all addresses."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(web.host)  # noqa: S104 - what is configured
    if host is None:
        host = f"[{web.host}]" if _is_ipv6(web.host) else web.host
    return f"http://{host}:{web.port}/readyz"


def _is_ipv6(host: str) -> bool:
    try:
        return ip_address(host).version == 6
    except ValueError:
        return False
