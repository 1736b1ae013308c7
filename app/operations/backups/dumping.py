"""Making a backup: one snapshot for the counts and for pg_dump, piped into age, named at the end.

Nothing is held in memory but a few buffers, whatever the size. age closes its file cleanly when
pg_dump is killed, so a good file proves nothing by itself: it gets its name only when both have
ended well.
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
from app.operations.backups import programs, store, unfinished
from app.operations.backups.aside import Aside
from app.operations.backups.errors import BackupError
from app.operations.backups.manifest import FORMAT, Manifest
from app.operations.backups.moment import Moment, hold, look, stored_tables
from app.operations.backups.programs import Program
from app.operations.backups.sealing import BUFFER_BYTES, Sealing
from app.operations.backups.statements import LOCK_WAIT_SECONDS, connected, is_owner
from app.settings import DatabaseSettings, Target, TlsMode

# What has been read from pg_dump, and what it may come to.
Progress = Callable[[int, int], None]

# pg_dump writes all the time once it has its locks; a dead or frozen server does not say so.
STALL_SECONDS = 120.0
# 20 GB, beyond which physical backups are the better way, at 2 MB/s.
WHOLE_SECONDS = 3 * 3600.0
_END_SECONDS = 10
_WATCH_SECONDS = 0.1
# Of 48 MB of flags and their history, none left 37 MB, gzip:1 5.2 MB in a tenth more time, and
# gzip:6 4.5 MB in half as much more. The wheel's pg_dump has neither zstd nor lz4.
_COMPRESSION = "gzip:1"


@dataclass(frozen=True, kw_only=True)
class BackupRequest:
    """What a backup is made of, and for whom."""

    target: Target
    settings: DatabaseSettings
    folder: Path
    recipients: Sequence[str]
    signer: Signer


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long pg_dump may say nothing, and how long all may take."""

    stall_seconds: float = STALL_SECONDS
    whole_seconds: float = WHOLE_SECONDS


_LIMITS = Limits()


def create(request: BackupRequest, report: Progress, limits: Limits = _LIMITS) -> Manifest:
    """Make a backup and return its manifest.

    Blocks; an interruption leaves nothing behind. Raises BackupError, OSError, psycopg.Error.
    """
    started = time.monotonic()
    with (
        unfinished.new(request.folder) as partial,
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
            hold(connection, tables)
            moment = look(connection)
            owner = is_owner(connection)
            sealing = Sealing(partial / store.DATA, request.recipients)
            with _dump(program, replace(request, target=target), moment, as_owner=owner) as dump:
                _watch(dump, sealing, limits, lambda done: report(done, moment.bytes))
        report(sealing.plain_bytes, sealing.plain_bytes)
        manifest = manifests.signed(
            Manifest(
                format=FORMAT,
                name=unfinished.name_of(partial),
                created_at=moment.at,
                seconds=round(time.monotonic() - started, 3),
                database=moment.database,
                migration=moment.migration,
                heads=moment.heads,
                tables=moment.tables,
                postgres_version=moment.server_version,
                dump_version=program.major,
                app_version=VERSION,
                recipients=request.recipients,
                plain_bytes=sealing.plain_bytes,
                bytes=sealing.bytes,
                sha256=sealing.sha256,
                public_key=request.signer.public_key,
            ),
            request.signer,
        )
        manifests.write(partial, manifest)
        unfinished.finish(partial)
    return manifest


@contextmanager
def _dump(
    program: Program, request: BackupRequest, moment: Moment, *, as_owner: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """Run pg_dump, and end it with the block. Raises BackupError when it fails."""
    with (
        programs.password_file(request.target.password) as descriptors,
        tempfile.TemporaryFile() as errors,
    ):
        process = subprocess.Popen(  # noqa: S603 - a program of PostgreSQL, by its full path
            [
                *(program.path, "--format=custom", f"--compress={_compression(program)}"),
                *("--no-password", f"--snapshot={moment.snapshot}"),
                f"--lock-wait-timeout={LOCK_WAIT_SECONDS}s",
                *(f"--schema={schema}" for schema in moment.schemas),
                *([f"--role={OWNER}"] if as_owner else []),
                f"--dbname={_conninfo(request, descriptors)}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=BUFFER_BYTES,
            env=programs.environment(),
            pass_fds=descriptors,
            # A session of its own, so that Ctrl-C in a terminal reaches us first.
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
        raise BackupError("pg_dump has said all and does not end") from None


def _compression(program: Program) -> str:
    # Before 16 it was a number alone.
    return _COMPRESSION if program.major >= 16 else _COMPRESSION.rpartition(":")[2]


def _conninfo(request: BackupRequest, descriptors: Sequence[int]) -> str:
    # The password goes by file: every account of the machine can read a command line.
    changed: dict[str, Any] = {"password": None, "application_name": "flagstone-backup"}
    if descriptors:
        changed["passfile"] = f"/dev/fd/{descriptors[0]}"
    return make_conninfo(**libpq_arguments(request.target, request.settings) | changed)


def _ended(code: int, errors: BinaryIO) -> str:
    """Say why pg_dump ended: its last line names objects and roles, and quotes no rows."""
    if code < 0:
        return f"pg_dump was killed by signal {-code}; there is no backup"
    errors.seek(0)
    lines = errors.read(BUFFER_BYTES).decode(errors="replace").strip().splitlines()
    told = next((line for line in lines if "error:" in line), lines[-1] if lines else "")
    return f"pg_dump failed: {told.partition('error: ')[2] or told or f'exit code {code}'}"


def _watch(
    process: subprocess.Popen[bytes],
    sealing: Sealing,
    limits: Limits,
    report: Callable[[int], None],
) -> None:
    """Seal what pg_dump writes, for as long as it goes on. Raises BackupError."""
    source = process.stdout
    assert source is not None  # noqa: S101 - it was asked for
    aside = Aside("age", lambda: sealing.run(source))
    started = moved = time.monotonic()
    seen = 0
    try:
        aside.begin()
        while not aside.wait(_WATCH_SECONDS):
            now = time.monotonic()
            if sealing.plain_bytes > seen:
                seen, moved = sealing.plain_bytes, now
            elif now - moved > limits.stall_seconds:
                raise BackupError(f"pg_dump said nothing for {limits.stall_seconds:g} s")
            if now - started > limits.whole_seconds:
                raise BackupError(f"pg_dump did not end within {limits.whole_seconds:g} s")
            report(seen)
    finally:
        if aside.is_under_way:
            # Which ends its output, and so the work.
            process.kill()
            aside.wait(_END_SECONDS)
    if isinstance(sealing.failure, OSError):
        raise BackupError(f"the backup cannot be written: {sealing.failure.strerror}")
    if sealing.failure is not None:
        raise BackupError(f"the backup cannot be sealed: {type(sealing.failure).__name__}")
