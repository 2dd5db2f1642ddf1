"""`fleet2mqtt cluster status | drain | import`: the nodes of a cluster that is running, and how one begins."""

from __future__ import annotations

import argparse
import asyncio

from fleet2mqtt import app
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


async def import_data(options: argparse.Namespace) -> int:
    """Copy the outbox and the files of `data_dir` into the database, which has to be empty."""
    cluster = cluster_of(options)
    config = load(options.config)
    outboxes = cluster_module("fleet2mqtt.outbox.postgres.sqlite_import")
    documents = cluster_module("fleet2mqtt.cluster.documents")
    files = await asyncio.to_thread(documents.read_documents, config.data_dir, config.backends)
    found = await outboxes.import_outbox(
        config.data_dir / app.OUTBOX, cluster.dsn.reveal(), app.outbox_limits(config), files
    )
    print_line(
        f"imported {found.events} events up to number {found.last_seq}, {found.unpublished} of them to be published,"
        f" {found.identities} identities, {found.checkpoints} checkpoints, {found.dead_letters} dead letters,"
        f" {found.files} files"
    )
    return OK


def cluster_of(options: argparse.Namespace) -> ClusterConfig:
    """Return the cluster of a configuration. Raises ConfigError without one."""
    config = load(options.config)
    if config.cluster is None:
        raise ConfigError([f"{options.config}: there is no cluster: in it"])
    return config.cluster
