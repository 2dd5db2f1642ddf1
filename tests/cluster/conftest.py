"""PostgreSQL for the tests of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.postgres import Servers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def servers() -> Iterator[Servers]:
    """A primary and two standbys, of which one has to confirm each commit."""
    with Servers() as servers:
        yield servers
