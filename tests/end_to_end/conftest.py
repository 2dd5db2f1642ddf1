"""The end-to-end tests against a cluster, by --cluster-nodes: all but those about what a cluster has differently."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import bridge_under_test

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROCESSES = "starts processes of its own, without a cluster"
_OVERTAKEN = "expects lines, which a poll does not name that overtakes a push in the inbox"
_PROCESS = "starts a process, which is one node"
_FIXED = "changes base_topic, which belongs to a cluster and its database"
_NOT_RESTORED = "expects states of the last run, which may be older here than what is retained"
_INBOX = "a node that does not own the unit accepts what only the owner would refuse"

_CLOCK = "moves the clock of the event loop, which here is that of all nodes, further than a lease lasts"
_LOAD_BALANCER = "moves the port for pushes, which with several nodes is the load balancer's"
_OFFLINE = "expects `offline`, which with several nodes only the last one says"

NOT_IN_A_CLUSTER = {
    "test_alarm_day.py": _PROCESSES,
    "test_kill.py": _PROCESSES,
    "test_notification_kills.py": _OVERTAKEN,
    "test_secrets.py": _PROCESSES,
    "test_cleaning.py::test_devices_survive_restart_with_vendors_down": _NOT_RESTORED,
    "test_data_dirs.py::test_data_directory_of_an_earlier_version_is_opened": _NOT_RESTORED,
    "test_reload.py::test_option_that_needs_it_starts_the_bridge_again_in_its_process": _FIXED,
}
NOT_WITH_SEVERAL_NODES = {
    "test_notifications.py": _PROCESS,
    "test_alarms.py::test_full_outbox_rejects_counts_and_sends_retry_after": _INBOX,
    "test_alarms.py::test_unreadable_pushes_are_kept": _INBOX,
    "test_refusals.py::test_request_past_its_deadline_ends_with_timeout": _CLOCK,
    "test_reload.py::test_http_servers_move_to_another_port": _LOAD_BALANCER,
    "test_reload.py::test_restart_that_fails_goes_on_with_the_old_configuration": _OFFLINE,
    "test_requests.py::test_request_dead_letters_lists_retries_and_discards": _INBOX,
    "test_selection.py::test_alarm_pushed_before_the_first_list_is_published_for_selected_gateways_only": _INBOX,
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what does not apply to a cluster of so many nodes."""
    count = config.getoption("--cluster-nodes")
    left_out = (*(NOT_IN_A_CLUSTER if count else ()), *(NOT_WITH_SEVERAL_NODES if count > 1 else ()))
    names = tuple(f"tests/end_to_end/{each}" for each in left_out)
    deselected = [item for item in items if item.nodeid.startswith(names)] if names else []
    config.hook.pytest_deselected(items=deselected)
    items[:] = [item for item in items if item not in deselected]


@pytest.fixture(scope="session", autouse=True)
def cluster_under_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run bridges as a cluster where that was asked for."""
    count = request.config.getoption("--cluster-nodes")
    if not count:
        yield
        return
    from tests.cluster.under_test import open_cluster_under_test  # noqa: PLC0415 - psycopg, else not needed here

    with open_cluster_under_test(count) as cluster:
        bridge_under_test.clusters.append(cluster)
        yield
        bridge_under_test.clusters.remove(cluster)
