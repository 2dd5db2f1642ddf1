"""`fleet2mqtt healthcheck`, asked while a bridge runs and while none does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleet2mqtt.cli.healthcheck import readiness_url
from fleet2mqtt.config.models import ListenConfig
from tests.broker import HOST, free_port
from tests.commandline import fleet2mqtt, simulator, write
from tests.process import BRIDGE, running
from tests.waiting import wait_for_answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker import Broker


async def test_healthcheck_follows_the_readiness_of_the_bridge(broker: Broker, tmp_path: Path) -> None:
    async with simulator("ums") as (url, vendor):
        backends = {"hq": {"platform": "ums", "url": url, "scan_interval": {"devices": 1}}}
        web = {"host": "0.0.0.0", "port": free_port()}  # noqa: S104 - as in a container
        file = write(tmp_path, mqtt={"host": HOST, "port": broker.port}, web=web, backends=backends)
        assert (await fleet2mqtt("healthcheck", "-c", file)).code == 1

        async def is_healthy() -> bool:
            return (await fleet2mqtt("healthcheck", "-c", file)).code == 0

        async def is_unhealthy() -> bool:
            ended = await fleet2mqtt("healthcheck", "-c", file)
            return ended.code == 1 and '"ready":false' in ended.output

        async with running(*BRIDGE, "run", "-c", file):
            await wait_for_answer(is_healthy, "a healthy bridge")
            vendor.process.kill()
            await wait_for_answer(is_unhealthy, "an unhealthy bridge")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8099/readyz"),  # noqa: S104 - as in a container
        ("::", "http://[::1]:8099/readyz"),
        ("fd00::5", "http://[fd00::5]:8099/readyz"),
        ("bridge.lan", "http://bridge.lan:8099/readyz"),
    ],
)
def test_readiness_url_is_where_the_bridge_listens(host: str, url: str) -> None:
    assert readiness_url(ListenConfig(host=host, port=8099)) == url
