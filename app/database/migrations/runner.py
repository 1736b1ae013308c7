"""Migrate, roll back and compare. Everything blocks; a service calls it from a thread."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from yoyo import read_migrations
from yoyo.migrations import MigrationList

from app.database.client.drivers import libpq_arguments
from app.database.migrations.backend import LedgerBackend, Record
from app.database.migrations.expectation import ExpectedSchema
from app.database.migrations.files import FOLDER, MigrationError, MigrationFile, read_files
from app.database.role_names import OWNER
from app.log import logger
from app.settings import DatabaseSettings, Target

log = logger(__name__)

# With what the access log puts before it, a row of it holds as much.
_MESSAGE_MAX = 240
_WAY_OUT = (
    "Restore it, and put a change into a new migration. In the local tier the latest migration can "
    "be taken back as it was applied: `database rollback --force`, then `database migrate`"
)

Progress = Callable[[str, int, int], None]


def _silent(name: str, done: int, total: int) -> None:
    del name, done, total


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The files against the ledger. `problems` is empty when they agree.

    `newer` is what a younger release has applied: no harm while instances are replaced one by one.
    """

    files: Sequence[MigrationFile]
    records: Sequence[Record]
    pending: Sequence[MigrationFile]
    newer: Sequence[str]
    problems: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Migrator:
    """What is needed to migrate one database; `folder` is another one only in tests."""

    target: Target
    settings: DatabaseSettings
    instance: str
    folder: Path = FOLDER

    def migrate(self, progress: Progress = _silent) -> list[str]:
        """Apply what is pending, grant the roles their rights, and return the names applied.

        Any number of processes may call this at once: one works, the others wait for it. Changes
        nothing where a newer release has migrated: the schema and the rights are then its own.
        Raises MigrationError, or psycopg.Error when the database is away or a statement fails.
        """
        files = read_files(self.folder)
        with self._backend(files) as backend, backend.lock():
            backend.init_database()
            ledger = _compare(files, backend.records())
            _refuse([*ledger.problems, *filter(None, (file.missing for file in ledger.pending))])
            if ledger.newer:
                # Our list of rights is out of date: to apply it would take rights from the newer
                # release, and to record the result would make that loss the expected schema.
                log.info("migrated_by_newer_release", newest=ledger.newer[-1])
                return []
            migrations = self._yoyo(files)
            expected = ExpectedSchema(backend.connection, self.instance)
            expected.begin(work=bool(ledger.pending))
            for position, file in enumerate(ledger.pending):
                progress(file.name, position, len(ledger.pending))
                with _named(file.name):
                    backend.apply_one(migrations[file.name])
            progress("", len(ledger.pending), len(ledger.pending))
            # Those from before there were columns for their texts.
            for record in backend.records() if ledger.pending else ledger.records:
                if record.state == "applied" and record.applied_text is None:
                    backend.store_texts(backend.files[record.name])
            expected.grant(work=bool(ledger.pending))
            expected.end(work=bool(ledger.pending))
            return [file.name for file in ledger.pending]

    def roll_back(
        self, steps: int, progress: Progress = _silent, *, force: bool = False
    ) -> list[str]:
        """Take back the latest migrations as they were applied, and return their names.

        `force` passes over every disagreement that ends with them, such as a file that was edited
        since; the access log records it.
        Raises MigrationError, or psycopg.Error when the database is away.
        """
        files = read_files(self.folder)
        with self._backend(files) as backend, backend.lock():
            ledger = _compare(files, backend.records())
            records = [*reversed(ledger.records)][:steps]
            names = [record.name for record in records]
            left = _compare(files, ledger.records[: -len(records)]) if force else ledger
            _refuse(left.problems)
            with TemporaryDirectory() as folder:
                _write_texts(Path(folder), records, backend.files)
                migrations = {m.id: m for m in read_migrations(folder)}
                expected = ExpectedSchema(backend.connection, self.instance)
                expected.begin(work=bool(names))
                for position, name in enumerate(names):
                    progress(name, position, len(names))
                    remark = ", forced" if force else ""
                    with _named(name):
                        backend.rollback_one(migrations[name], remark=remark)
                progress("", len(names), len(names))
                expected.end(work=bool(names))
            return names

    def accept(self, message: str, actor: str) -> list[str]:
        """Make the present schema the expected one, and return what differed.

        Raises MigrationError while files and ledger disagree: that is not for this to hide.
        """
        if not 1 <= len(message) <= _MESSAGE_MAX or not message.isprintable():
            raise MigrationError(
                f"--message: must be 1 to {_MESSAGE_MAX} characters, all of which print"
            )
        files = read_files(self.folder)
        with self._backend(files) as backend, backend.lock():
            ledger = _compare(files, backend.records())
            _refuse(
                [
                    *ledger.problems,
                    *(f"{file.name} is pending" for file in ledger.pending),
                    *(
                        f"a newer release has applied {name}: accept the schema with that release"
                        for name in ledger.newer
                    ),
                ]
            )
            with backend.connection.transaction():
                differed = ExpectedSchema(backend.connection, self.instance).accept(message)
                backend.tell(actor, "schema", f"accepted: {message}")
            return differed

    def status(self) -> Ledger:
        """Compare files and ledger, changing nothing."""
        files = read_files(self.folder)
        with self._backend(files) as backend:
            return _compare(files, backend.records())

    @contextmanager
    def _backend(self, files: Sequence[MigrationFile]) -> Iterator[LedgerBackend]:
        backend = LedgerBackend(
            libpq_arguments(self.target, self.settings),
            owner=OWNER,
            instance=self.instance,
            files={file.name: file for file in files},
        )
        with backend:
            yield backend

    def _yoyo(self, files: Sequence[MigrationFile]) -> dict[str, MigrationList]:
        migrations = {m.id: m for m in read_migrations(str(self.folder))}
        if set(migrations) != {file.name for file in files}:
            raise MigrationError("yoyo reads other files than were checked")
        return migrations


def _compare(files: Sequence[MigrationFile], records: Sequence[Record]) -> Ledger:
    applied = {record.name: record for record in records if record.state == "applied"}
    by_name = {file.name: file for file in files}
    unknown = [record for record in records if record.name not in by_name]
    # Also one that a newer release has begun: its own files before that are all applied.
    newest = max((record.timestamp for record in [*applied.values(), *unknown]), default=0)
    pending = [file for file in files if file.name not in applied]
    problems = [
        f"{name} was applied, and its file has been edited since. {_WAY_OUT}"
        for name, record in applied.items()
        if name in by_name and by_name[name].checksum != record.checksum
    ]
    problems += [
        f"{record.name} was {record.state}, and its file is gone. {_WAY_OUT}"
        for record in unknown
        if record.timestamp < files[-1].timestamp
    ]
    problems += [
        f"{file.name} comes too late: a newer migration has been applied already"
        for file in pending
        if file.timestamp <= newest
    ]
    newer = [record.name for record in unknown if record.timestamp >= files[-1].timestamp]
    return Ledger(
        files=files, records=records, pending=pending, newer=newer, problems=sorted(problems)
    )


def _write_texts(
    folder: Path, records: Sequence[Record], files: Mapping[str, MigrationFile]
) -> None:
    """Write each migration as it was applied.

    For one that an older release applied, only the file has the text. Raises MigrationError that
    names one for which there is neither.
    """
    for record in records:
        up, down = record.applied_text, record.rollback_text
        file = files.get(record.name)
        if file is not None and file.checksum == record.checksum:
            up, down = file.up, file.down
        if up is None or down is None:
            raise MigrationError(
                f"{record.name} cannot be rolled back: its text was not stored when it was "
                "applied, and its file is not here as it was then"
            )
        (folder / f"{record.name}.sql").write_text(up, encoding="utf-8")
        (folder / f"{record.name}.rollback.sql").write_text(down, encoding="utf-8")


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise MigrationError("; ".join(problems))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say which file failed. PostgreSQL's own message names objects, and no values of rows."""
    try:
        yield
    except psycopg.OperationalError:
        raise  # connection, locks, resources: the file is not to blame
    except psycopg.Error as error:
        raise MigrationError(f"{name} failed: {error.diag.message_primary or error}") from None
