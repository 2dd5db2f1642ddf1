"""Real PostgreSQL servers for tests: a primary and synchronous standbys, on free ports, to promote, kill and freeze.

    with Servers(count=3) as servers:
        dsn = servers.create_database()
        servers.primary.kill()
        servers.promote(servers.most_advanced())

PostgreSQL does not run as root, so as root everything is done as Debian's user postgres, in a directory of its own.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from tests.broker import HOST, free_port
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

USER = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "60",
    "dynamic_shared_memory_type": "mmap",  # else in /dev/shm, where whoever cleans up there deletes it
    "max_wal_senders": "6",
    "shared_buffers": "16MB",
    "min_wal_size": "8MB",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "100ms",
    "wal_receiver_timeout": "10s",
    "checkpoint_timeout": "1h",
    "max_parallel_workers": "0",
    "autovacuum_naptime": "1h",
    "recovery_init_sync_method": "syncfs",
}


# Rows are deleted, as a table that is truncated or dropped costs files.
_EMPTY = """
DO $$
DECLARE t record;
BEGIN
    FOR t IN SELECT tablename AS name FROM pg_tables WHERE schemaname = 'fleet2mqtt' AND tablename <> 'schema_version'
    LOOP
        EXECUTE format('DELETE FROM fleet2mqtt.%I', t.name);
    END LOOP;
    INSERT INTO fleet2mqtt.level DEFAULT VALUES;
    INSERT INTO fleet2mqtt.acknowledged DEFAULT VALUES;
    INSERT INTO fleet2mqtt.derivation DEFAULT VALUES;
END $$
"""
_MEMORY = Path("/dev/shm")  # noqa: S108 - a mount, not a name to guess


def _memory_has_room() -> bool:
    return _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 1024**3


def program(name: str) -> str:
    """The path of one of PostgreSQL's programs; Debian keeps them outside PATH, a folder for each version."""
    folders = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which(name, path=os.pathsep.join((*folders, os.environ.get("PATH", os.defpath))))
    if found is None:
        raise FileNotFoundError(f"the tests need a real {name}: run scripts/setup test")
    return found


def _run(*command: str) -> None:
    as_postgres: dict[str, Any] = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **as_postgres)
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}{done.stderr}"


def _wait(probe: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not probe():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain for {what}")
        time.sleep(0.02)


@dataclass(slots=True)
class Server:
    """One server. It is started with its settings, and keeps its port."""

    name: str
    directory: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.directory / self.name

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def dsn(self, database: str = "postgres") -> str:
        return f"host={HOST} port={self.port} user={USER} dbname={database}"

    def start(self) -> None:
        as_postgres: dict[str, Any] = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
        settings = [f"--{name}={value}" for name, value in (_SETTINGS | {"port": str(self.port)}).items()]
        with (self.directory / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program("postgres"), "-D", str(self.data), *settings], stdout=log, stderr=log, cwd="/", **as_postgres
            )
        _wait(self._answers, f"{self.name} to answer")

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Carry a statement out; return the rows, if it has any."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            connection.execute("SET synchronous_commit = local")
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        """Stop in order: clients are disconnected."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Stop at once, and ungracefully: what the next start finds is what was on disk."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """End every process with SIGKILL."""
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stand still: connections stay open, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on where it stood still."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def _processes(self) -> list[int]:
        if not self.running:
            return []
        assert self._process is not None
        main = self._process.pid
        return [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self.thaw()
            self._process.send_signal(how)
            try:
                self._process.wait(PATIENCE)
            finally:
                self._process.kill()
                self._process.wait()
                self._process = None

    def _answers(self) -> bool:
        assert self.running, f"{self.name} ended:\n{(self.directory / f'{self.name}.log').read_text()[-2000:]}"
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


class Servers:
    """A primary, and standbys of which `required` have to confirm each commit; 0 makes all of them asynchronous.

    Their files are in memory, where there is room for them: a disk takes seconds to delete thousands of files.
    """

    def __init__(self, count: int = 3, required: int = 1, *, on_disk: bool = False) -> None:
        self._count = count
        self._parent = None if on_disk or not _memory_has_room() else str(_MEMORY)
        self._required = required
        self._numbers = itertools.count(1)
        self._stack = ExitStack()
        self._shared = ""
        self.all: list[Server] = []

    @property
    def primary(self) -> Server:
        return self.all[0]

    @property
    def standbys(self) -> Sequence[Server]:
        return self.all[1:]

    def __enter__(self) -> Self:
        directory = Path(
            self._stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet2mqtt-postgres-", dir=self._parent))
        )
        if os.geteuid() == 0:
            shutil.chown(directory, USER, USER)
        self.all = [Server(name, directory) for name in "abcdefg"[: self._count]]
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in reversed(self.all):
            server.kill()
        self._stack.close()

    def create_database(self) -> str:
        """Make an empty database; return its DSN, which names all servers."""
        name = f"test_{next(self._numbers)}"
        self.primary.execute(f"CREATE DATABASE {name}")
        return self.dsn(name)

    def drop_database(self, dsn: str) -> None:
        """Drop a database, whoever is connected to it."""
        self.primary.execute(f"DROP DATABASE {dsn.rpartition('=')[2]} WITH (FORCE)")

    def empty_database(self) -> str:
        """Empty the one database that tests share; return its DSN, which names all servers."""
        if not self._shared:
            self._shared = self.create_database()
        name = self._shared.rpartition("=")[2]
        if self.primary.execute("SELECT to_regnamespace('fleet2mqtt') IS NOT NULL", database=name) == [(True,)]:
            self.primary.execute(_EMPTY, database=name)
        return self._shared

    def dsn(self, database: str) -> str:
        ports = ",".join(str(server.port) for server in self.all)
        return f"host={','.join([HOST] * len(self.all))} port={ports} user={USER} dbname={database}"

    def most_advanced(self) -> Server:
        """The standby that received the most of the primary's log: it alone is sure to have all that was committed.

        A standby that is ahead of the new primary could not follow it.
        """
        received = "SELECT pg_wal_lsn_diff(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')"
        return max(self.standbys, key=lambda standby: standby.execute(received))

    def promote(self, standby: Server) -> None:
        """Make a standby the primary; the others follow it by themselves."""
        with psycopg.connect(standby.dsn(), autocommit=True) as connection:
            connection.execute("SELECT pg_promote(true)")
        self.all.remove(standby)
        self.all.insert(0, standby)

    def rebuild(self, lost: Server) -> None:
        """Make a server that failed a standby of the primary, from a copy of that."""
        shutil.rmtree(lost.data)
        self._copy(lost)
        lost.start()

    def require(self, count: int) -> None:
        """Set how many standbys have to confirm a commit."""
        for server in self.all:
            if server.running:
                server.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{f'ANY {count} (*)' if count else ''}'")
                server.execute("SELECT pg_reload_conf()")
        _wait(
            lambda: (
                self.primary.execute("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'")[0][0]
                >= count
            ),
            f"{count} standbys to be synchronous",
        )

    def _start(self) -> None:
        first = self.primary
        _run(program("initdb"), "-D", str(first.data), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale",
             "--wal-segsize=1", "--no-sync", "--no-instructions")  # fmt: skip
        first.start()
        for standby in self.standbys:
            self._copy(standby)
            standby.start()
        if self._required:
            self.require(self._required)

    def _copy(self, standby: Server) -> None:
        """Make the data of a server those of the primary, which it follows."""
        ports = ",".join(str(server.port) for server in self.all)
        hosts = ",".join([HOST] * len(self.all))
        follow = f"host={hosts} port={ports} user={USER} target_session_attrs=read-write connect_timeout=2"
        _run(program("pg_basebackup"), "-D", str(standby.data), "-d", self.primary.dsn(), "-c", "fast", "--no-sync",
             "-X", "stream")  # fmt: skip
        (standby.data / "standby.signal").touch()
        with (standby.data / "postgresql.auto.conf").open("a") as file:
            file.write(f"primary_conninfo = '{follow} application_name={standby.name}'\n")
        if os.geteuid() == 0:
            shutil.chown(standby.data / "standby.signal", USER, USER)
