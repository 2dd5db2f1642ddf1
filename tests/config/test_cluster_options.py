"""The options of a cluster."""

from __future__ import annotations

import pytest

from fleet2mqtt.config.models import ClusterConfig, Secret
from tests.configuring import BACKENDS, problems, read

MQTT = "mqtt: {host: broker}\n"
DSN = "the database: postgresql://USER:PASSWORD@HOST,HOST/DATABASE, or host=... dbname=..."


def test_cluster_with_every_option_has_its_values() -> None:
    config = read(
        f"{BACKENDS}{MQTT}cluster: {{dsn: 'postgresql://u:p%40ss@h/d', node: a, ttl: 5, require_replication: false}}"
    )
    dsn = Secret("postgresql://u:p%40ss@h/d")
    assert config.cluster == ClusterConfig(dsn=dsn, node="a", ttl=5, require_replication=False)
    assert {dsn.reveal(), "p%40ss", "p@ss"} <= config.secrets


def test_node_left_out_is_the_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "machine-1")
    config = read(f"{BACKENDS}{MQTT}cluster: {{dsn: host=h password='se same'}}")
    assert config.cluster is not None
    assert config.cluster.node == "machine-1"
    assert config.cluster.require_replication
    assert "se same" in config.secrets


NODE = "expected a name of at most 63 characters of A-Z a-z 0-9 . _ -, the first a letter or digit"
EMBEDDED = "a cluster needs mqtt: with a broker that all nodes use; the embedded one is each node's own"
COLLIDING = "in a cluster no name may begin with another one and _ (a_): their devices' ids may collide"
TWO = "backends:\n  a: {platform: ums, url: 'http://a'}\n  a_b: {platform: ums, url: 'http://a'}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{BACKENDS}{MQTT}cluster: {{node: a}}", f"3: cluster.dsn: missing; expected {DSN}"),
        (f"{BACKENDS}{MQTT}cluster: {{dsn: somewhere}}", f"3: cluster.dsn: expected {DSN}"),
        (f"{BACKENDS}{MQTT}cluster: {{dsn: host=h, node: a/b}}", f"3: cluster.node: {NODE}"),
        (f"{BACKENDS}{MQTT}cluster: {{dsn: host=h, ttl: 0.1}}", "3: cluster.ttl: expected a number from 1 to 600"),
        (f"{BACKENDS}cluster: {{dsn: host=h}}", f"2: cluster: {EMBEDDED}"),
        (f"{TWO}{MQTT}cluster: {{dsn: host=h}}", f"3: backends.a_b: {COLLIDING}"),
    ],
)
def test_problem_of_a_cluster_is_named(text: str, expected: str) -> None:
    assert problems(text) == [expected]
