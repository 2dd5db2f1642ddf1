"""`fleet2mqtt demo --cluster`: PostgreSQL with standbys, and three nodes, all of which can be killed one by one."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fleet2mqtt.aio import wait_for_event
from fleet2mqtt.cli.ports import HOST, reserved_port
from fleet2mqtt.cli.process import cluster_module, print_line
from fleet2mqtt.errors import ConfigError

NODES = ("a", "b", "c")
SERVERS = ("one", "two", "three")
RESTART_DELAY = 20.0
"""Seconds after which a node that was killed is started again, as a service manager or an operator would."""
END_PATIENCE = 15.0
"""Seconds that nodes have to end in order."""
LOOK_INTERVAL = 0.5
_USER = "postgres"
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "synchronous_standby_names": "ANY 1 (*)",
    "shared_buffers": "16MB",
    "wal_retrieve_retry_interval": "200ms",
    "log_min_messages": "fatal",
}
_RECEIVED = b"SELECT pg_wal_lsn_diff(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')"
_HAPROXY = """\
defaults
    mode http
    timeout connect 2s
    timeout client 35s
    timeout server 35s
    option redispatch
    retries 2
frontend push
    bind {host}:{port}
    default_backend nodes
backend nodes
    balance roundrobin
    option httpchk GET /healthz
    retry-on conn-failure empty-response response-timeout 503
    default-server check inter 1s fall 2 rise 1
{servers}
"""


def find_program(name: str) -> str | None:
    """Return the path of a program; Debian keeps some outside an ordinary user's PATH."""
    folders = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    return shutil.which(name, path=os.pathsep.join((*folders, os.environ.get("PATH", os.defpath), "/usr/sbin")))


def _as_postgres() -> dict[str, Any]:
    """Return how a process is started that PostgreSQL does not let run as root."""
    if os.geteuid() != 0:
        return {}
    try:
        pwd.getpwnam(_USER)
    except KeyError as error:
        message = "PostgreSQL does not run as root, and there is no user postgres: run this as another user"
        raise ConfigError([message]) from error
    return {"user": _USER, "group": _USER, "extra_groups": []}


@dataclass(slots=True, kw_only=True)
class _Server:
    """One PostgreSQL server."""

    name: str
    data: Path
    port: int
    process: asyncio.subprocess.Process | None = None

    def dsn(self, attributes: str = "") -> str:
        return f"host={HOST} port={self.port} user={_user()} dbname=postgres {attributes}"

    async def start(self) -> None:
        settings = [f"--{name}={value}" for name, value in (_SETTINGS | {"port": str(self.port)}).items()]
        program = find_program("postgres") or "postgres"
        self.process = await asyncio.create_subprocess_exec(
            program,
            "-D",
            str(self.data),
            *settings,
            cwd="/",
            start_new_session=True,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            **_as_postgres(),
        )
        for _ in range(300):
            if await _run("pg_isready", "-q", "-h", HOST, "-p", str(self.port), check=False) == 0:
                return
            await asyncio.sleep(0.1)
        raise ConfigError([f"PostgreSQL does not start on port {self.port}"])

    async def received(self) -> int:
        """Return how many bytes of the primary's log this standby has received; -1 if it does not answer."""
        psycopg = cluster_module("psycopg")
        try:
            async with await psycopg.AsyncConnection.connect(
                self.dsn("connect_timeout=2"), autocommit=True
            ) as connection:
                row = await (await connection.execute(_RECEIVED)).fetchone()
        except psycopg.OperationalError:
            return -1
        return int(row[0])

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGQUIT)
            await self.process.wait()


@dataclass(slots=True, kw_only=True)
class DemoCluster:
    """Database servers and nodes of the demo, with the files and pages of the nodes."""

    servers: list[_Server]
    dsn: str
    nodes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)

    async def run(self, stop: asyncio.Event) -> None:
        """Promote a standby when the primary was killed, and start killed nodes again, until `stop`."""
        dead: dict[str, float] = {}
        loop = asyncio.get_running_loop()
        while not await wait_for_event(stop, LOOK_INTERVAL):
            if not self.servers[0].is_running and len(self.servers) > 1:
                await self._promote()
            for name, process in tuple(self.nodes.items()):
                if process.returncode is None:
                    continue
                if name not in dead:
                    print_line(f"node {name} has ended; it is started again in {RESTART_DELAY:g} seconds")
                    dead[name] = loop.time()
                elif loop.time() - dead[name] >= RESTART_DELAY:
                    del dead[name]
                    await self.start_node(name)
                    print_line(f"node {name} runs again, process {self.nodes[name].pid}")

    async def _promote(self) -> None:
        """Make the standby that received the most the primary, as Patroni or an operator would.

        It alone is sure to have all that was committed, and a standby that is ahead of it could not follow it.
        """
        lost = self.servers.pop(0)
        received = [await each.received() for each in self.servers]
        primary = self.servers[received.index(max(received))]
        self.servers.remove(primary)
        self.servers.insert(0, primary)
        print_line(f"the primary {lost.name} is gone: {primary.name} is promoted")
        await _run("pg_ctl", "promote", "-w", "-D", str(primary.data))

    async def start_node(self, name: str) -> None:
        """Start a node as a process of its own."""
        self.nodes[name] = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fleet2mqtt", "run", "-c", str(self.files[name]), start_new_session=True
        )

    async def stop_nodes(self) -> None:
        """End the nodes, those that stand still, too."""
        running = [process for process in self.nodes.values() if process.returncode is None]
        for process in running:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        ended = [asyncio.ensure_future(process.wait()) for process in running]
        if ended:
            await asyncio.wait(ended, timeout=END_PATIENCE)
        for process in running:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def about(self) -> str:
        """Return what to kill."""
        primary = self.servers[0].process
        lines = [
            f"  kill -9 {process.pid:<9} node {name}; its page while it owns the bridge unit: {self.pages[name]}"
            for name, process in self.nodes.items()
        ]
        lines.append(f"  kill -9 {primary.pid if primary else 0:<9} the primary of the database; a standby is promoted")
        lines.append("  kill -STOP …      instead of -9, and -CONT later: a node that was only paused")
        status = f"{sys.executable} -m fleet2mqtt cluster status -c {self.files[NODES[0]]}"
        return (
            "Kill any of these, one after another; alarms, states and commands go on:\n\n"
            + "\n".join(lines)
            + (f"\n\n  who owns which unit: {status}\n")
        )


def _user() -> str:
    return _USER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


async def _run(program: str, *arguments: str, check: bool = True) -> int:
    found = find_program(program)
    if found is None:
        raise ConfigError([f"{program} is not installed: install postgresql (scripts/setup test does)"])
    process = await asyncio.create_subprocess_exec(
        found,
        *arguments,
        cwd="/",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        **_as_postgres(),
    )
    _, errors = await process.communicate()
    if check and process.returncode != 0:
        raise ConfigError([f"{program} fails: {errors.decode('utf-8', 'replace').strip()}"])
    return process.returncode or 0


def _prepare(folder: Path) -> None:
    """Make a folder that PostgreSQL's user owns and reaches."""
    folder.mkdir()
    folder.parent.chmod(0o755)
    if _as_postgres():
        shutil.chown(folder, _USER, _USER)


@asynccontextmanager
async def _database(folder: Path) -> AsyncIterator[tuple[list[_Server], str]]:
    """Run a primary and two standbys; yield them and their DSN."""
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(_prepare, folder)
        servers = [
            _Server(name=name, data=folder / name, port=stack.enter_context(reserved_port(0))) for name in SERVERS
        ]
        primary = servers[0]
        await _run("initdb", "-D", str(primary.data), "-U", _user(), "-A", "trust", "-E", "UTF8", "--no-locale",
                   "--wal-segsize=4", "--no-instructions")  # fmt: skip
        stack.push_async_callback(primary.stop)
        await primary.start()
        ports = ",".join(str(each.port) for each in servers)
        hosts = ",".join([HOST] * len(servers))
        dsn = f"host={hosts} port={ports} user={_user()} dbname=postgres"
        for standby in servers[1:]:
            source = ("-d", primary.dsn(), "-c", "fast", "-X", "stream")
            await _run("pg_basebackup", "-R", "-D", str(standby.data), *source)
            follow = f"{dsn} target_session_attrs=read-write connect_timeout=2 application_name={standby.name}"
            await asyncio.to_thread(_follow, standby, follow)
            stack.push_async_callback(standby.stop)
            await standby.start()
        yield servers, dsn


def _follow(standby: _Server, conninfo: str) -> None:
    """Have a standby follow whichever server is the primary."""
    with (standby.data / "postgresql.auto.conf").open("a") as file:
        file.write(f"primary_conninfo = '{conninfo}'\n")


@asynccontextmanager
async def open_cluster(folder: Path) -> AsyncIterator[DemoCluster]:
    """Run the database; yield the cluster, whose nodes `start_nodes` starts."""
    async with _database(folder / "postgresql") as (servers, dsn):
        yield DemoCluster(servers=servers, dsn=dsn)


@asynccontextmanager
async def start_nodes(
    cluster: DemoCluster, folder: Path, values: dict[str, Any], push_port: int
) -> AsyncIterator[None]:
    """Start the nodes with these options, and HAProxy before them where it is installed, else a node for all pushes."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(cluster.stop_nodes)
        haproxy = find_program("haproxy")
        ports: list[int] = []
        for number, name in enumerate(NODES):
            alone = haproxy is None and number == 0
            ports.append(push_port if alone else stack.enter_context(reserved_port(0)))
            web_port = values["web"]["port"] if number == 0 else stack.enter_context(reserved_port(0))
            cluster.pages[name] = f"http://{values['web']['host']}:{web_port}/"
            options = values | {
                "data_dir": str(folder / f"data-{name}"),
                "cluster": {"dsn": cluster.dsn, "node": name, "ttl": 5},
                "web": values["web"] | {"port": web_port},
                "push": {"host": HOST, "port": ports[-1], "trusted_proxies": [f"{HOST}/32"]},
            }
            cluster.files[name] = folder / f"node-{name}.yaml"
            cluster.files[name].write_text(yaml.safe_dump(options), encoding="utf-8")
            await cluster.start_node(name)
        if haproxy is not None:
            await stack.enter_async_context(_haproxy(haproxy, folder, push_port, ports))
        yield


@asynccontextmanager
async def _haproxy(program: str, folder: Path, port: int, nodes: Sequence[int]) -> AsyncIterator[None]:
    servers = "\n".join(f"    server node-{name} {HOST}:{each}" for name, each in zip(NODES, nodes, strict=True))
    file = folder / "haproxy.cfg"
    file.write_text(_HAPROXY.format(host=HOST, port=port, servers=servers), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        program, "-q", "-db", "-f", str(file), stderr=asyncio.subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
