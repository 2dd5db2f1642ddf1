"""`fleet2mqtt cluster status | drain`: the nodes of a cluster that is running."""

from __future__ import annotations

import argparse

from fleet2mqtt.cli.process import FAILED, OK, cluster_module, print_line
from fleet2mqtt.config.loader import load
from fleet2mqtt.config.models import ClusterConfig
from fleet2mqtt.errors import ConfigError


async def status(options: argparse.Namespace) -> int:
    """Print a line for each node."""
    commands = cluster_module("fleet2mqtt.cluster.status")
    for line in commands.lines(await commands.nodes(cluster_of(options))):
        print_line(line)
    return OK


async def drain(options: argparse.Namespace) -> int:
    """Have a node hand over what it owns."""
    commands = cluster_module("fleet2mqtt.cluster.status")
    if not await commands.drain(cluster_of(options), options.node):
        print_line(f"there is no node {options.node}")
        return FAILED
    print_line(f"{options.node} hands over what it owns, and takes nothing until it is started again")
    return OK


def cluster_of(options: argparse.Namespace) -> ClusterConfig:
    """Return the cluster of a configuration. Raises ConfigError without one."""
    config = load(options.config)
    if config.cluster is None:
        raise ConfigError([f"{options.config}: there is no cluster: in it"])
    return config.cluster
