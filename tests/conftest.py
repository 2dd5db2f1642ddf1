"""Fixtures for all tests: a real broker, started for each test that asks for one."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from fleet2mqtt.ops.logging import MqttLog
from tests.broker import Broker
from tests.certificates import Certificates, make_certificates
from tests.loop_time import LoopTime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


_LONG = (
    "tests/homeassistant/",
    "tests/packaging/",
    "tests/end_to_end/test_alarm_day.py",
    "tests/end_to_end/test_kill.py",
    "tests/end_to_end/test_notification_kills.py",
    "tests/platforms/test_all_platforms.py",
    "tests/faults/",
    "tests/cli/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first: with several workers none of them is left over for one worker at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """The levels and handlers of loggers are what they were before a test that ran a command in process."""
    loggers = [logging.getLogger(name) for name in (None, "fleet2mqtt")]
    before = [(logger.level, set(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        for handler in set(logger.handlers) - handlers:
            if isinstance(handler, MqttLog) or type(handler) is logging.StreamHandler:  # not those of pytest
                logger.removeHandler(handler)


class StartBroker(Protocol):
    """Starts a broker with the options of Broker; it ends with the test."""

    async def __call__(self, **options: Any) -> Broker: ...


@pytest.fixture
async def start_broker(tmp_path: Path) -> AsyncIterator[StartBroker]:
    async with AsyncExitStack() as stack:
        started = 0

        async def start(**options: Any) -> Broker:
            nonlocal started
            started += 1
            return await stack.enter_async_context(Broker(directory=tmp_path / f"broker-{started}", **options))

        yield start


@pytest.fixture
async def loop_time() -> LoopTime:
    """The clock of the test's event loop, which can be advanced."""
    return LoopTime()


@pytest.fixture
async def broker(start_broker: StartBroker) -> Broker:
    """A mosquitto with its defaults, open to all, without TLS."""
    return await start_broker()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-cases", action="store_true", help="rewrite the expected output of the platforms' case folders"
    )
    parser.addoption(
        "--cluster-nodes", type=int, default=0, help="run each bridge of tests/end_to_end as a cluster of so many nodes"
    )


@pytest.fixture
def update_cases(request: pytest.FixtureRequest) -> bool:
    """True where the expected output of cases is to be rewritten."""
    return bool(request.config.getoption("--update-cases"))
