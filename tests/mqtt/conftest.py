"""A fixture for clients that are stopped at the end of their test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.mqtt import subject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Start(Protocol):
    """Function with the signature of subject.start."""

    def __call__(self, port: int, **options: Any) -> subject.Subject: ...


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    started: list[subject.Subject] = []

    def start(port: int, **options: Any) -> subject.Subject:
        started.append(subject.start(port, **options))
        return started[-1]

    yield start
    for each in started:
        await each.stop()
