"""The peer of most figures: a PostgreSQL primary with one synchronous standby, TLS between them, set up by itself.

Own data directories, own ports, own processes; never a service of the machine. As root the servers run as the user
`postgres`, because PostgreSQL refuses root. Debian's package is installed when the programs are missing.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.certificates import A, make_authority
from tests.process.programs import free_port

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "synchronous_standby_names": "'*'",
    "wal_sync_method": "fdatasync",
    "full_page_writes": "on",
    "wal_level": "replica",
    "wal_compression": "off",
    "max_connections": "300",
    "max_wal_senders": "8",
    "shared_buffers": "256MB",
    "max_wal_size": "8GB",
    "wal_keep_size": "1GB",
    "checkpoint_timeout": "30min",
    "ssl": "on",
    "listen_addresses": "'127.0.0.1'",
    "autovacuum": "off",
}
"""Synchronous to the standby's fsync; checkpoints and vacuum are kept out of the way, which favours it."""
TABLE = "CREATE TABLE lines (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, client integer, text text)"
INSERT = f"INSERT INTO lines (client, text) VALUES (:client_id, '{'x' * 100}');\n"
HOUSE: Any = {"cwd": "/", "env": {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}}
"""Where its programs run: without the settings and the keys of whoever measures."""
FILL_ROWS = 100_000
ROW_BYTES = 1000


def programs() -> Path:
    """Where PostgreSQL's programs are; installs Debian's package, without a cluster of its own, when there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found and os.geteuid() == 0 and shutil.which("apt-get"):
        configuration = Path("/etc/postgresql-common/createcluster.d")
        configuration.mkdir(parents=True, exist_ok=True)
        (configuration / "no-main-cluster.conf").write_text("create_main_cluster = false\n")
        subprocess.run(["apt-get", "update"], check=True, stdout=subprocess.DEVNULL)
        install = ["apt-get", "install", "-y", "--no-install-recommends", "postgresql"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise SystemExit("PostgreSQL is not installed: apt-get install postgresql, then measure again")
    return found[-1].parent


class Server:
    """One PostgreSQL server; `words` of a command run as its user."""

    def __init__(self, bin_directory: Path, data: Path, port: int) -> None:
        self.bin = bin_directory
        self.data = data
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, name: str, *words: object) -> list[str]:
        """The command line of one of PostgreSQL's programs."""
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
        return [*prefix, str(self.bin / name), *map(str, words)]

    def call(self, name: str, *words: object, check: bool = True) -> str:
        """Run a program to its end; returns what it printed."""
        done = subprocess.run(self.command(name, *words), capture_output=True, text=True, **HOUSE)
        if check and done.returncode:
            raise SystemExit(f"{name} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self) -> Server:
        """Start the server and wait until it answers."""
        words = self.command("postgres", "-D", self.data, "-p", self.port, "-k", self.data.parent)
        words = [*words[:1], "--pdeathsig=INT", *words[1:]] if words[0] == "setpriv" else words
        with open(self.data.parent / f"{self.data.name}.log", "ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, **HOUSE, start_new_session=True)
        for _ in range(300):
            if not subprocess.run(
                self.command("pg_isready", "-q", "-h", self.data.parent, "-p", self.port), **HOUSE
            ).returncode:
                return self
            time.sleep(0.1)
        raise SystemExit(f"PostgreSQL did not start; see {self.data.parent / f'{self.data.name}.log'}")

    def sql(self, text: str) -> str:
        """The only value of a statement, as text."""
        where = ("-h", self.data.parent, "-p", self.port, "-U", "postgres", "-d", "postgres")
        return self.call("psql", "-XAtq", *where, "-c", text).strip()

    def configure(self, **settings: str) -> None:
        """Append settings; read at the next start or reload."""
        with open(self.data / "postgresql.conf", "a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def stop(self) -> None:
        """Fast shutdown, by its pid; bounded."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(2)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    @property
    def pid(self) -> int:
        """Its first process; `setpriv` becomes the server without a process of its own."""
        assert self.process is not None
        return self.process.pid


class PostgresPair:
    """`primary` and, after `add_standby`, `standby`. Clients connect through a Unix socket in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "postgres"
        self.directory.mkdir()
        own(self.directory)
        self._bin = programs()
        self.primary = Server(self._bin, self.directory / "primary", free_port())
        self.standby: Server | None = None

    def found(self) -> None:
        """Make and start the primary; replication only over TLS and with a password."""
        primary = self.primary
        primary.call("initdb", "-D", primary.data, "-U", "postgres", "-A", "trust", "--no-instructions")
        make_authority(self.directory)
        for name, made in (("server.crt", f"{A}.crt"), ("server.key", f"{A}.key")):
            (primary.data / name).write_bytes((self.directory / made).read_bytes())
            (primary.data / name).chmod(0o600)
            own(primary.data / name)
        (primary.data / "pg_hba.conf").write_text(
            "local all all trust\nhostssl replication replicator 127.0.0.1/32 scram-sha-256\n"
        )
        primary.configure(**{**SETTINGS, "synchronous_standby_names": "''"})
        primary.start()
        primary.sql("CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'loopback'")
        primary.sql(TABLE)

    def source(self) -> str:
        """How a standby or a copy connects: TLS required, the certificate checked."""
        authority = self.directory / "ca.crt"
        return (
            f"host=127.0.0.1 port={self.primary.port} user=replicator password=loopback"
            f" sslmode=verify-ca sslrootcert={authority}"
        )

    def base_backup(self, target: Path, *words: str) -> list[str]:
        """The command line of a durable copy over TLS."""
        return self.primary.command(
            "pg_basebackup", "-d", self.source(), "-D", target, "-X", "stream", "--checkpoint=fast", *words
        )

    def add_standby(self) -> None:
        """Copy, start the standby, and make it synchronous; returns when it is."""
        data = self.directory / "standby"
        subprocess.run(self.base_backup(data, "-R"), check=True, **HOUSE, stdout=subprocess.DEVNULL)
        self.standby = Server(self._bin, data, free_port()).start()
        self.primary.configure(synchronous_standby_names=SETTINGS["synchronous_standby_names"])
        self.primary.sql("SELECT pg_reload_conf()")
        for _ in range(200):
            if self.primary.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1":
                return
            time.sleep(0.1)
        raise SystemExit("PostgreSQL's standby did not become synchronous")

    def fill(self, megabytes: int) -> int:
        """Insert rows of ROW_BYTES random text until the database has about this size; returns its bytes."""
        self.primary.sql("ALTER TABLE lines ALTER text SET STORAGE EXTERNAL")
        piece = "(SELECT string_agg(md5(random()::text || i), '') FROM generate_series(1, 31) s(i) WHERE n IS NOT NULL)"
        while (size := int(self.primary.sql("SELECT pg_database_size('postgres')"))) < megabytes * 1_000_000:
            rows = max(min(FILL_ROWS, (megabytes * 1_000_000 - size) // 1080 + 1), 1)
            self.primary.sql(f"INSERT INTO lines (client, text) SELECT n, {piece} FROM generate_series(1, {rows}) g(n)")
        self.primary.sql("CHECKPOINT")
        return size

    def insert_script(self) -> Path:
        """pgbench's script: one insert, one transaction."""
        path = self.directory / "insert.sql"
        path.write_text(INSERT)
        return path

    def pgbench(self, clients: int, seconds: float, *words: object) -> list[str]:
        """The command line of a load: one insert for each transaction, prepared statements, a Unix socket."""
        where = ("-h", self.directory, "-p", self.primary.port, "-U", "postgres", "postgres")
        how = ("-n", "-M", "prepared", "-f", self.insert_script(), "-c", clients, "-j", 1, "-T", max(round(seconds), 1))
        return self.primary.command("pgbench", *how, *words, *where)

    def measure(self, clients: int, seconds: float) -> dict[str, float]:
        """Writes per second with p50 and p99 in milliseconds, as pgbench's own log of every transaction says."""
        for old in self.directory.glob("log.*"):
            old.unlink()
        done = subprocess.run(
            self.pgbench(clients, seconds, "-l", "--log-prefix", self.directory / "log"),
            capture_output=True, text=True, **HOUSE,
        )  # fmt: skip
        rate = re.search(r"tps = ([0-9.]+)", done.stdout)
        if done.returncode or rate is None:
            raise SystemExit(f"pgbench failed: {done.stdout}{done.stderr}")
        took = sorted(
            int(line.split()[2]) for log in self.directory.glob("log.*") for line in log.read_text().splitlines()
        )
        p50, p99 = (took[int(len(took) * share)] / 1000 for share in (0.5, 0.99))
        return {"clients": clients, "writes_per_s": float(rate[1]), "p50_ms": p50, "p99_ms": p99}

    def shown_settings(self) -> dict[str, str]:
        """What the servers themselves say of what they run with."""
        names = ("server_version", *SETTINGS)
        shown = {name: self.primary.sql(f"SHOW {name}") for name in names}
        shown["tls"] = self.primary.sql(
            "SELECT version || ' ' || cipher FROM pg_stat_ssl JOIN pg_stat_replication USING (pid) LIMIT 1"
        )
        return shown

    @property
    def pids(self) -> list[int]:
        """The first processes of both servers."""
        return [server.pid for server in (self.primary, self.standby) if server is not None]

    def stop(self) -> None:
        """End both."""
        if self.standby is not None:
            self.standby.stop()
        self.primary.stop()


def own(path: Path) -> None:
    """Give a path to the user that PostgreSQL runs as."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(path, user.pw_uid, user.pw_gid)


@contextmanager
def postgres_pair(directory: Path, *, standby: bool = True) -> Iterator[PostgresPair]:
    """A running pair below `directory`, which other users may enter; ended on the way out."""
    directory.chmod(0o755)
    pair = PostgresPair(directory)
    try:
        pair.found()
        if standby:
            pair.add_standby()
        yield pair
    finally:
        pair.stop()
