"""Run a full PostgreSQL over TCP, with the features that the embedded one lacks.

The programs are those in the folder FLAGSTONE_FULL_POSTGRES_BIN, or Debian's newest. Without them
tests are skipped, or fail with FLAGSTONE_FULL_POSTGRES=required.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
import trustme
from psycopg import sql as psql

from app.database.client.drivers import libpq_arguments
from app.database.embedded.cluster import programs as embedded_programs
from app.database.role_names import OWNER
from app.database.roles.provision import Provisioner
from app.settings import Secret, Target, Tls, TlsMode, load
from tests.ports import free_port

CERTIFIED = "certified"
# The folder with the programs of a version other than Debian's newest.
CHOSEN_PROGRAMS = "FLAGSTONE_FULL_POSTGRES_BIN"

_START_SECONDS = 120
# Strong enough for the staging tier.
_PASSWORD = "rowan7-kestrel-Plume42"
_INITDB = ("--auth=scram-sha-256", "--username=postgres", "--encoding=UTF8", "--no-sync")
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB")
_RULES_TLS = f"""\
local all all scram-sha-256
hostssl all {CERTIFIED} 127.0.0.1/32 cert
hostssl all all 127.0.0.1/32 scram-sha-256
"""
_RULES_PLAIN = """\
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
host replication postgres 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A private certificate authority and its certificate file."""

    ca: trustme.CA
    file: Path

    def certificate(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Return the files of a certificate for a host, or for the role of a client."""
        certificate = self.ca.issue_cert(name, common_name=name)
        chain, key = folder / f"{name}.pem", folder / f"{name}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        # libpq and the server refuse a key that others may read.
        key.touch(0o600)
        certificate.private_key_pem.write_to_path(key)
        return chain, key


@dataclass(frozen=True, kw_only=True)
class FullServer:
    """A running server with its superuser and our roles."""

    folder: Path
    superuser: Target
    provisioner: Provisioner
    authority: Authority | None

    @property
    def port(self) -> int:
        return self.superuser.hosts[0][1]

    def promote(self) -> None:
        """Make a standby the primary of a new timeline."""
        with self.admin() as connection:
            assert connection.execute("select pg_promote()").fetchone() == (True,)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop every process of the server, as a paused virtual machine does."""
        postmaster = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        stopped = [postmaster]
        os.kill(postmaster, signal.SIGSTOP)
        try:
            children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
            for child in map(int, children):
                os.kill(child, signal.SIGSTOP)
                stopped.append(child)
            yield
        finally:
            for process in reversed(stopped):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)

    def admin(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        target = self.superuser.named(database)
        return psycopg.connect(
            **libpq_arguments(target, self.provisioner.settings), autocommit=True
        )

    def target(self, role: str, database: str = "flagstone") -> Target:
        password = self.provisioner.targets()[role].password
        return self.superuser.named(database).as_role(role, password)

    def create_database(self, name: str) -> str:
        """Create a database of the owner role; replace one of the same name."""
        with self.admin() as connection:
            for template in (
                "drop database if exists {} with (force)",
                f"create database {{}} owner {OWNER}",
            ):
                connection.execute(psql.SQL(template).format(psql.Identifier(name)))
        return name


def missing(program: str) -> None:
    """Skip the test, or fail it with FLAGSTONE_FULL_POSTGRES=required."""
    reason = f"{program} is not installed"
    if os.environ.get("FLAGSTONE_FULL_POSTGRES") == "required":
        pytest.fail(f"{reason}, and FLAGSTONE_FULL_POSTGRES=required")
    pytest.skip(reason)


def programs() -> Path:
    """Return the folder of the server's programs."""
    chosen = os.environ.get(CHOSEN_PROGRAMS)
    if chosen:
        return Path(chosen)
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not folders:
        missing("a full PostgreSQL under /usr/lib/postgresql")
    return max(folders, key=lambda path: float(path.parent.name))


def _basebackup() -> Path:
    """Return the program of the server's version or of a newer one."""
    for folder in (programs(), embedded_programs()):
        if (folder / "pg_basebackup").exists():
            return folder / "pg_basebackup"
    missing("pg_basebackup")
    raise AssertionError("unreachable")


def account() -> dict[str, Any]:
    """Return the arguments that make `subprocess` run as postgres: a server refuses root."""
    if os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam("postgres")
    except KeyError:
        missing("an account named postgres")
        raise
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def own(*paths: Path) -> None:
    """Give the files to the account that the servers run as."""
    servers = account()
    for path in paths if servers else ():
        os.chown(path, servers["user"], servers["group"])


@contextmanager
def open_folder(prefix: str) -> Iterator[Path]:
    """Yield a folder that another account can enter."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def full_server(*, tls: bool) -> Iterator[FullServer]:
    """Run a server. With TLS, it accepts only TLS over TCP, for the host name localhost."""
    with open_folder("flagstone-full-") as folder:
        data = _initialised(folder)
        port = free_port()
        server_options = [*_FAST, f"port={port}", "listen_addresses=127.0.0.1"]
        target = Target(
            hosts=(("localhost" if tls else "127.0.0.1", port),),
            database="postgres",
            user="postgres",
            password=Secret(_PASSWORD),
            tls=Tls(mode=TlsMode.DISABLE),
        )
        authority = None
        if tls:
            authority = make_authority(folder, "ca")
            chain, key = authority.certificate(folder, "localhost")
            own(key)
            server_options += [
                *("ssl=on", f"ssl_cert_file={chain}", f"ssl_key_file={key}"),
                f"ssl_ca_file={authority.file}",
            ]
            target = replace(target, tls=Tls(mode=TlsMode.VERIFY_FULL, ca=authority.file))
        (data / "pg_hba.conf").write_text(_RULES_TLS if tls else _RULES_PLAIN)
        with _running(folder, data, server_options, target):
            provisioner = Provisioner(
                admin=target, settings=load({}).database, folder=folder / "credentials"
            )
            yield FullServer(
                folder=folder, superuser=target, provisioner=provisioner, authority=authority
            )


@contextmanager
def standby_of(primary: FullServer) -> Iterator[FullServer]:
    """Run a streaming standby of a server without TLS, with its roles and passwords."""
    with open_folder("flagstone-standby-") as folder:
        data, port = folder / "data", free_port()
        data.mkdir(mode=0o700)
        own(data)
        subprocess.run(
            [
                *(_basebackup(), "--pgdata", data),
                *("--checkpoint=fast", "--wal-method=stream", "--no-sync"),
                *("--host=127.0.0.1", f"--port={primary.port}", "--username=postgres"),
            ],
            check=True,
            capture_output=True,
            cwd="/",
            env={**os.environ, "PGPASSWORD": _PASSWORD},
            **account(),
        )
        # pg_basebackup would write options that an older server does not know.
        signal_file = data / "standby.signal"
        signal_file.touch()
        own(signal_file)
        primary_conninfo = f"host=127.0.0.1 port={primary.port} user=postgres password={_PASSWORD}"
        target = replace(primary.superuser, hosts=(("127.0.0.1", port),))
        options = [
            *_FAST,
            *(f"port={port}", "listen_addresses=127.0.0.1"),
            f"primary_conninfo={primary_conninfo}",
        ]
        with _running(folder, data, options, target):
            yield replace(primary, folder=folder, superuser=target)


def make_authority(folder: Path, name: str) -> Authority:
    ca = trustme.CA()
    file = folder / f"{name}.pem"
    ca.cert_pem.write_to_path(file)
    return Authority(ca=ca, file=file)


def _initialised(folder: Path) -> Path:
    data, password_file = folder / "data", folder / "password"
    data.mkdir(mode=0o700)
    password_file.write_text(_PASSWORD)
    own(data, password_file)
    subprocess.run(
        [programs() / "initdb", "-D", data, "--pwfile", password_file, *_INITDB],
        check=True,
        capture_output=True,
        cwd="/",
        **account(),
    )
    return data


@contextmanager
def _running(folder: Path, data: Path, options: list[str], target: Target) -> Iterator[None]:
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(programs() / "postgres", "-D", data, "-k", data),
                *(word for option in options for word in ("-c", option)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            **account(),
        )
    try:
        _wait_until_ready(process, target, log)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(_START_SECONDS)


def _wait_until_ready(process: subprocess.Popen[bytes], target: Target, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    arguments = libpq_arguments(target, load({}).database)
    while process.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(**arguments).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the full PostgreSQL does not answer: {log.read_text()[-1000:]}")


class HasAdmin(Protocol):
    def admin(self) -> psycopg.Connection[tuple[object, ...]]: ...


def version_of(server: HasAdmin) -> int:
    with server.admin() as connection:
        return connection.info.server_version // 10_000


@pytest.fixture(scope="session")
def plain_server() -> Iterator[FullServer]:
    """Run a full server over TCP without TLS, with our roles and an empty database."""
    with full_server(tls=False) as server:
        server.provisioner.provision()
        yield server


@pytest.fixture(scope="session")
def tls_server() -> Iterator[FullServer]:
    """Run a full server that accepts TLS only, neither provisioned nor migrated."""
    with full_server(tls=True) as server:
        yield server
