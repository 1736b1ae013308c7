"""Reading a backup: age, through pg_restore, to a script of SQL; nothing in clear touches the disk.

age authenticates each piece as it comes, and that none is missing at the end only at the end. So
whoever applies the script must not commit before it has run out: until then nothing is sure.
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
from app.operations.backups.aside import Aside
from app.operations.backups.errors import BackupError
from app.operations.backups.manifest import Manifest
from app.operations.backups.script import Copy, Script
from app.operations.backups.store import DATA
from app.private_files import open_regular

# Of the data's bytes, how many have been read, and how many there are.
Progress = Callable[[int, int], None]

_STALL_SECONDS = 120.0
_END_SECONDS = 10
_CHUNK = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class BackupSource:
    """A backup whose manifest is to be believed, and who can open it."""

    folder: Path
    manifest: Manifest
    identity: Identity


def check_digest(source: BackupSource, report: Progress) -> None:
    """Read all of the data and compare it with the manifest. Raises BackupError."""
    with _opened(source) as file:
        read = _Reading(file, source.manifest, report)
        while read.read(_CHUNK):
            pass
        read.check()


def script(
    source: BackupSource, report: Progress, *, schema: str | None = None
) -> Iterator[bytes | Copy]:
    """Yield the script of a backup; of one schema's objects if it is named, without itself.

    Once it has run out all of the data was there, unchanged. Raises BackupError before that.
    """
    program = programs.find("pg_restore", source.manifest.dump_version)
    chosen: Sequence[str] = [f"--schema={schema}"] if schema else []
    with _opened(source) as file:
        process = subprocess.Popen(  # noqa: S603 - a program of PostgreSQL, by its full path
            [program.path, "--file=-", "--no-owner", "--no-privileges", *chosen],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # What it says may quote the data.
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=programs.environment(),
            start_new_session=True,
        )
        opening = _Opening(_Reading(file, source.manifest, report), process, source.identity)

        def read() -> bytes:
            content = _read(process)
            if not content:
                # Before anything is made of the last piece: an end may be a cut.
                opening.finish()
                _check_code(process)
            return content

        try:
            opening.start()
            yield from Script(read).pieces()
        finally:
            process.kill()
            process.wait()
            opening.stop()


def _opened(source: BackupSource) -> BinaryIO:
    try:
        return open_regular(source.folder / DATA)
    except OSError as error:
        raise BackupError(
            f"{source.manifest.name}: {DATA} cannot be read: {error.strerror}"
        ) from None


def _read(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    if not select.select([process.stdout], [], [], _STALL_SECONDS)[0]:
        raise BackupError(f"pg_restore said nothing for {_STALL_SECONDS:g} s")
    return process.stdout.read(_CHUNK)


def _check_code(process: subprocess.Popen[bytes]) -> None:
    try:
        code = process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        raise BackupError("pg_restore has said all and does not end") from None
    if code < 0:
        raise BackupError(f"pg_restore was killed by signal {-code}")
    if code != 0:
        raise BackupError("pg_restore cannot read what is in the data")


class _Reading:
    """The data as it is read: its digest, and how far it is."""

    def __init__(self, file: BinaryIO, manifest: Manifest, report: Progress) -> None:
        self._file = file
        self._manifest = manifest
        self._report = report
        self._digest = hashlib.sha256()
        self._bytes = 0
        self.is_wanted = True

    def read(self, size: int) -> bytes:
        content = self._file.read(size) if self.is_wanted else b""
        self._digest.update(content)
        self._bytes += len(content)
        self._report(self._bytes, self._manifest.bytes)
        return content

    def check(self) -> None:
        """Compare what was read, which must be all of it. Raises BackupError."""
        name, expected = self._manifest.name, self._manifest.bytes
        if self._bytes != expected:
            raise BackupError(
                f"{name}: {DATA} has {counted(self._bytes, 'byte')} instead of {expected}"
            )
        if self._digest.hexdigest() != self._manifest.sha256:
            raise BackupError(f"{name}: {DATA} was changed since: its SHA-256 is another")


class _Opening:
    """Opens the data in a thread and hands it to pg_restore."""

    def __init__(
        self, reading: _Reading, process: subprocess.Popen[bytes], identity: Identity
    ) -> None:
        self._reading = reading
        self._process = process
        self._identity = identity
        self._failure: BackupError | None = None
        self._is_read = True
        self._aside = Aside("age", self._run)

    def start(self) -> None:
        self._aside.begin()

    def stop(self) -> None:
        """End at the next piece, wherever it is."""
        self._reading.is_wanted = False
        if self._aside.is_under_way:
            self._aside.wait(_END_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def finish(self) -> None:
        """Wait until all is read. Raises BackupError when it was not what it should be."""
        if not self._aside.wait(_STALL_SECONDS):
            raise BackupError("the data does not come to its end")
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        sink = self._process.stdin
        assert sink is not None  # noqa: S101 - it was asked for
        try:
            self._identity.decrypt_stream(self._reading, self)
            while self._reading.read(_CHUNK):
                pass
            self._reading.check()
        except ForeignError:
            self._failure = BackupError(
                "the data does not open: it is for another identity, or was changed"
            )
        except BackupError as error:
            self._failure = error
        except OSError as error:
            self._failure = BackupError(f"the data cannot be read: {error.strerror}")
        finally:
            with suppress(OSError):
                sink.close()

    def write(self, content: bytes) -> int:
        """Be the sink of age. What pg_restore does not want is checked all the same."""
        if self._is_read:
            try:
                _write_all(self._process, content)
            except OSError:
                self._is_read = False
        return len(content)

    def flush(self) -> None:
        """Do nothing: what is written is with pg_restore."""


def _write_all(process: subprocess.Popen[bytes], content: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - it was asked for
    rest = memoryview(content)
    while rest:
        written = process.stdin.write(rest)
        rest = rest[written or 0 :]
