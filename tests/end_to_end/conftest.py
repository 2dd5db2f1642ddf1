"""The end-to-end tests against a cluster, by --cluster-nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import bridge_under_test
from tests.cluster.under_test import open_cluster_under_test

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def cluster_under_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run bridges as a cluster where that was asked for."""
    count = request.config.getoption("--cluster-nodes")
    if not count:
        yield
        return
    with open_cluster_under_test(count) as cluster:
        bridge_under_test.clusters.append(cluster)
        yield
        bridge_under_test.clusters.remove(cluster)
