"""Create a backup: one snapshot for the counts and pg_dump, whose output goes through age.

Memory is a few buffers, whatever the size of the database. When pg_dump is killed, age still ends
its file cleanly. So a backup gets its name only after both have succeeded.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from psycopg.conninfo import make_conninfo

from app import VERSION
from app.crypto.signing import Signer
from app.database.client.drivers import libpq_arguments
from app.database.role_names import OWNER
from app.operations.backups import manifest as manifests
from app.operations.backups import partial_backup, programs, store
from app.operations.backups.connection import LOCK_WAIT_SECONDS, connected, is_owner
from app.operations.backups.encryption import BUFFER_BYTES, EncryptedFile
from app.operations.backups.errors import BackupError
from app.operations.backups.manifest import FORMAT, Manifest
from app.operations.backups.programs import Program
from app.operations.backups.snapshot import (
    DumpSnapshot,
    lock_tables,
    read_snapshot,
    stored_tables,
)
from app.operations.backups.worker_thread import WorkerThread
from app.settings import DatabaseSettings, Target, TlsMode

# Bytes read from pg_dump, and an estimate of the total.
Progress = Callable[[int, int], None]

# pg_dump writes without pause once it has its locks. A frozen server would block it forever.
STALL_SECONDS = 120.0
# 20 GB at 2 MB/s. Larger databases are better served by physical backups.
WHOLE_SECONDS = 3 * 3600.0
_END_SECONDS = 10
_WATCH_SECONDS = 0.1
# For 48 MB of flags with history: 37 MB without compression, 5.2 MB with gzip:1 in 10 % more time,
# 4.5 MB with gzip:6 in 50 % more. The embedded pg_dump has neither zstd nor lz4.
_COMPRESSION = "gzip:1"


@dataclass(frozen=True, kw_only=True)
class BackupRequest:
    """The database to back up, the folder, and the recipients who can open the backup."""

    target: Target
    settings: DatabaseSettings
    folder: Path
    recipients: Sequence[str]
    signer: Signer


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long pg_dump may write nothing, and how long the whole dump may take."""

    stall_seconds: float = STALL_SECONDS
    whole_seconds: float = WHOLE_SECONDS


_LIMITS = Limits()


def create_backup(request: BackupRequest, report: Progress, limits: Limits = _LIMITS) -> Manifest:
    """Create a backup and return its manifest.

    Blocks. An interruption leaves no files. Raises BackupError, OSError, psycopg.Error.
    """
    started = time.monotonic()
    with (
        partial_backup.create(request.folder) as folder,
        connected(request.target, request.settings) as connection,
    ):
        # pg_dump must reach the same server: another one does not know the snapshot.
        info = connection.info
        target = replace(request.target, hosts=((info.host, info.port),))
        tls = (not target.is_socket and target.tls.mode) or TlsMode.DISABLE
        program = programs.find("pg_dump", info.server_version // 10_000, tls)
        tables = stored_tables(connection)
        with connection.transaction():
            connection.execute("set transaction isolation level repeatable read, read only")
            lock_tables(connection, tables)
            snapshot = read_snapshot(connection)
            owner = is_owner(connection)
            file = EncryptedFile(folder / store.DATA, request.recipients)
            with _dump(program, replace(request, target=target), snapshot, as_owner=owner) as dump:
                _watch(dump, file, limits, lambda done: report(done, snapshot.bytes))
        report(file.plain_bytes, file.plain_bytes)
        manifest = manifests.signed(
            Manifest(
                format=FORMAT,
                name=partial_backup.name_of(folder),
                created_at=snapshot.at,
                seconds=round(time.monotonic() - started, 3),
                database=snapshot.database,
                migration=snapshot.migration,
                heads=snapshot.heads,
                tables=snapshot.tables,
                postgres_version=snapshot.server_version,
                dump_version=program.major,
                app_version=VERSION,
                recipients=request.recipients,
                plain_bytes=file.plain_bytes,
                bytes=file.bytes,
                sha256=file.sha256,
                public_key=request.signer.public_key,
            ),
            request.signer,
        )
        manifests.write(folder, manifest)
        partial_backup.finish(folder)
    return manifest


@contextmanager
def _dump(
    program: Program, request: BackupRequest, snapshot: DumpSnapshot, *, as_owner: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """Run pg_dump, and end it with the block. Raises BackupError when it fails."""
    with (
        programs.password_file(request.target.password) as descriptors,
        tempfile.TemporaryFile() as errors,
    ):
        process = subprocess.Popen(  # noqa: S603 - a program of PostgreSQL, by its full path
            [
                *(program.path, "--format=custom", f"--compress={_compression(program)}"),
                *("--no-password", f"--snapshot={snapshot.snapshot}"),
                f"--lock-wait-timeout={LOCK_WAIT_SECONDS}s",
                *(f"--schema={schema}" for schema in snapshot.schemas),
                *([f"--role={OWNER}"] if as_owner else []),
                f"--dbname={_conninfo(request, descriptors)}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=BUFFER_BYTES,
            env=programs.environment(),
            pass_fds=descriptors,
            # A new session: Ctrl-C in the terminal must not reach pg_dump. We end it.
            start_new_session=True,
        )
        try:
            yield process
            if _code(process) != 0:
                raise BackupError(_ended(process.returncode, errors))
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _code(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        raise BackupError("pg_dump closed its output and does not end") from None


def _compression(program: Program) -> str:
    # Before version 16 the option was a number.
    return _COMPRESSION if program.major >= 16 else _COMPRESSION.rpartition(":")[2]


def _conninfo(request: BackupRequest, descriptors: Sequence[int]) -> str:
    # The password goes by file: every account of the machine can read a command line.
    changed: dict[str, Any] = {"password": None, "application_name": "flagstone-backup"}
    if descriptors:
        changed["passfile"] = f"/dev/fd/{descriptors[0]}"
    return make_conninfo(**libpq_arguments(request.target, request.settings) | changed)


def _ended(code: int, errors: BinaryIO) -> str:
    """Return why pg_dump failed. Its error line names objects and roles, never rows."""
    if code < 0:
        return f"pg_dump was killed by signal {-code}; there is no backup"
    errors.seek(0)
    lines = errors.read(BUFFER_BYTES).decode(errors="replace").strip().splitlines()
    line = next((line for line in lines if "error:" in line), lines[-1] if lines else "")
    return f"pg_dump failed: {line.partition('error: ')[2] or line or f'exit code {code}'}"


def _watch(
    process: subprocess.Popen[bytes],
    file: EncryptedFile,
    limits: Limits,
    report: Callable[[int], None],
) -> None:
    """Encrypt the output of pg_dump until it ends. Raises BackupError."""
    source = process.stdout
    assert source is not None  # noqa: S101 - Popen got PIPE
    thread = WorkerThread("age", lambda: file.run(source))
    started = moved = time.monotonic()
    seen = 0
    try:
        thread.start()
        while not thread.wait(_WATCH_SECONDS):
            now = time.monotonic()
            if file.plain_bytes > seen:
                seen, moved = file.plain_bytes, now
            elif now - moved > limits.stall_seconds:
                raise BackupError(f"pg_dump wrote nothing for {limits.stall_seconds:g} s")
            if now - started > limits.whole_seconds:
                raise BackupError(f"pg_dump did not end within {limits.whole_seconds:g} s")
            report(seen)
    finally:
        if thread.is_running:
            # The end of its output ends the thread.
            process.kill()
            thread.wait(_END_SECONDS)
    if isinstance(file.failure, OSError):
        raise BackupError(f"the backup cannot be written: {file.failure.strerror}")
    if file.failure is not None:
        raise BackupError(f"the backup cannot be encrypted: {type(file.failure).__name__}")
