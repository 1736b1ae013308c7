"""Read a backup: from age through pg_restore to an SQL script, never in clear on the disk.

age authenticates each chunk at once, but detects missing chunks only at the end. The caller must
not commit before the script has ended.
"""

import hashlib
import select
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app.crypto.identity import ForeignError, Identity
from app.names import counted
from app.operations.backups import programs
from app.operations.backups.errors import BackupError
from app.operations.backups.manifest import Manifest
from app.operations.backups.restore_script import CopyData, ScriptReader
from app.operations.backups.store import DATA
from app.operations.backups.worker_thread import WorkerThread
from app.private_files import open_regular

# Bytes of data read, and the total.
Progress = Callable[[int, int], None]

_STALL_SECONDS = 120.0
_END_SECONDS = 10
_CHUNK = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class BackupSource:
    """A backup with a verified manifest, and an identity that can open it."""

    folder: Path
    manifest: Manifest
    identity: Identity


def check_digest(source: BackupSource, report: Progress) -> None:
    """Compare the size and digest of the data with the manifest. Raises BackupError."""
    with _opened(source) as file:
        checked = _CheckedFile(file, source.manifest, report)
        while checked.read(_CHUNK):
            pass
        checked.check()


def script(
    source: BackupSource, report: Progress, *, schema: str | None = None
) -> Iterator[bytes | CopyData]:
    """Yield the script of a backup, or only of the objects in one schema.

    The data are complete and unchanged when it ends. Otherwise it raises BackupError.
    """
    program = programs.find("pg_restore", source.manifest.dump_version)
    options: Sequence[str] = [f"--schema={schema}"] if schema else []
    with _opened(source) as file:
        process = subprocess.Popen(  # noqa: S603 - a program of PostgreSQL, by its full path
            [program.path, "--file=-", "--no-owner", "--no-privileges", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Its messages may quote the data.
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=programs.environment(),
            start_new_session=True,
        )
        decryption = _Decryption(
            _CheckedFile(file, source.manifest, report), process, source.identity
        )

        def read() -> bytes:
            content = _read(process)
            if not content:
                # Check first: an early end may be a truncated file.
                decryption.finish()
                _check_code(process)
            return content

        try:
            decryption.start()
            yield from ScriptReader(read).pieces()
        finally:
            process.kill()
            process.wait()
            decryption.stop()


def _opened(source: BackupSource) -> BinaryIO:
    try:
        return open_regular(source.folder / DATA)
    except OSError as error:
        raise BackupError(
            f"{source.manifest.name}: {DATA} cannot be read: {error.strerror}"
        ) from None


def _read(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None  # noqa: S101 - Popen got PIPE
    if not select.select([process.stdout], [], [], _STALL_SECONDS)[0]:
        raise BackupError(f"pg_restore wrote nothing for {_STALL_SECONDS:g} s")
    return process.stdout.read(_CHUNK)


def _check_code(process: subprocess.Popen[bytes]) -> None:
    try:
        code = process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        raise BackupError("pg_restore closed its output and does not end") from None
    if code < 0:
        raise BackupError(f"pg_restore was killed by signal {-code}")
    if code != 0:
        raise BackupError("pg_restore cannot read the data")


class _CheckedFile:
    """A data file that computes its digest and reports progress while it is read."""

    def __init__(self, file: BinaryIO, manifest: Manifest, report: Progress) -> None:
        self._file = file
        self._manifest = manifest
        self._report = report
        self._digest = hashlib.sha256()
        self._bytes = 0
        self.is_stopped = False

    def read(self, size: int) -> bytes:
        content = self._file.read(size) if not self.is_stopped else b""
        self._digest.update(content)
        self._bytes += len(content)
        self._report(self._bytes, self._manifest.bytes)
        return content

    def check(self) -> None:
        """Compare size and digest with the manifest, at the end. Raises BackupError."""
        name, expected = self._manifest.name, self._manifest.bytes
        if self._bytes != expected:
            raise BackupError(
                f"{name}: {DATA} has {counted(self._bytes, 'byte')} instead of {expected}"
            )
        if self._digest.hexdigest() != self._manifest.sha256:
            raise BackupError(f"{name}: {DATA} was changed: its SHA-256 differs from the manifest")


class _Decryption:
    """Decrypts the data in a thread, and writes them to pg_restore."""

    def __init__(
        self, file: _CheckedFile, process: subprocess.Popen[bytes], identity: Identity
    ) -> None:
        self._file = file
        self._process = process
        self._identity = identity
        self._failure: BackupError | None = None
        self._is_accepted = True
        self._thread = WorkerThread("age", self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread at the next chunk, and close the pipes."""
        self._file.is_stopped = True
        if self._thread.is_running:
            self._thread.wait(_END_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def finish(self) -> None:
        """Wait until all data are read. Raises BackupError when they are damaged."""
        if not self._thread.wait(_STALL_SECONDS):
            raise BackupError(f"the data were not read within {_STALL_SECONDS:g} s")
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        sink = self._process.stdin
        assert sink is not None  # noqa: S101 - Popen got PIPE
        try:
            self._identity.decrypt_stream(self._file, self)
            while self._file.read(_CHUNK):
                pass
            self._file.check()
        except ForeignError:
            self._failure = BackupError(
                "the data cannot be decrypted: they are for another identity, or were changed"
            )
        except BackupError as error:
            self._failure = error
        except OSError as error:
            self._failure = BackupError(f"the data cannot be read: {error.strerror}")
        finally:
            with suppress(OSError):
                sink.close()

    def write(self, content: bytes) -> int:
        """Receive decrypted data from age. Data after the end of pg_restore are only checked."""
        if self._is_accepted:
            try:
                _write_all(self._process, content)
            except OSError:
                self._is_accepted = False
        return len(content)

    def flush(self) -> None:
        """Do nothing: writes to the pipe are not buffered."""


def _write_all(process: subprocess.Popen[bytes], content: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - Popen got PIPE
    rest = memoryview(content)
    while rest:
        written = process.stdin.write(rest)
        rest = rest[written or 0 :]
