"""Migrate, roll back and compare. Every call blocks: the service calls from a thread."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
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
from app.program import PROGRAM
from app.settings import DatabaseSettings, Target

log = logger(__name__)

# A row of the access log has 255 characters, with the words before the message.
_MESSAGE_MAX = 240
_WAY_OUT = (
    "Restore it, and write a new migration for a change. In the local tier you can roll back the "
    "latest migration as it was applied: `database rollback --force`, then `database migrate`"
)

_OTHER_HISTORY = (
    "this database was created from other migrations: its first one is {}, and that of this "
    f"release is {{}}. Use a new, empty database. To keep the entries, run `{PROGRAM} "
    f"configuration export` with the release that created the database, and `{PROGRAM} "
    "configuration import` with this one. In the local tier without DATABASE_URL, rename DATA_DIR: "
    "the next start creates a new database"
)

# The name of a migration, how many are done, and how many there are.
Progress = Callable[[str, int, int], None]


def _silent(*_: object) -> None:
    """Ignore the progress."""


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The files compared with the ledger. `problems` is empty if they match.

    `newer` lists migrations of a newer release. They are allowed, since instances are replaced one
    by one.
    """

    files: Sequence[MigrationFile]
    records: Sequence[Record]
    pending: Sequence[MigrationFile]
    newer: Sequence[str]
    problems: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Migrator:
    """Migrates one database. Only tests use another `folder`."""

    target: Target
    settings: DatabaseSettings
    instance: str
    folder: Path = FOLDER

    def migrate(
        self, progress: Progress = _silent, on_build: Callable[[str, str], None] = _silent
    ) -> list[str]:
        """Apply pending migrations, grant the roles their rights, and return the applied names.

        `on_build` gets the name of a migration, and how far its build of an index is.

        Several processes may call this at once: one works, and the others wait. Change nothing if a
        newer release has migrated. Raises MigrationError, or psycopg.Error if the database is away
        or a statement fails.
        """
        files = read_files(self.folder)
        with self._backend(files) as backend, backend.lock():
            backend.init_database()
            ledger = _compare(files, backend.records())
            _raise_problems(
                [*ledger.problems, *filter(None, (file.missing for file in ledger.pending))]
            )
            if ledger.newer:
                # Our list of rights is out of date. Granting by it would revoke rights of the newer
                # release, and storing the result would make that the expected schema.
                log.info("migrated_by_newer_release", newest=ledger.newer[-1])
                return []
            migrations = self._yoyo(files)
            expected = ExpectedSchema(backend.connection, self.instance)
            expected.begin(work=bool(ledger.pending))
            for position, file in enumerate(ledger.pending):
                progress(file.name, position, len(ledger.pending))
                with _name_in_errors(file.name):
                    backend.apply_one(migrations[file.name], partial(on_build, file.name))
            progress("", len(ledger.pending), len(ledger.pending))
            expected.grant(work=bool(ledger.pending))
            expected.end(work=bool(ledger.pending))
            return [file.name for file in ledger.pending]

    def roll_back(
        self, steps: int, progress: Progress = _silent, *, force: bool = False
    ) -> list[str]:
        """Roll back the latest migrations as they were applied, and return their names.

        `force` ignores problems of these migrations, for example an edited file. The access log
        records it. Raises MigrationError, or psycopg.Error if the database is away.
        """
        files = read_files(self.folder)
        with self._backend(files) as backend, backend.lock():
            ledger = _compare(files, backend.records())
            records = [*reversed(ledger.records)][:steps]
            names = [record.name for record in records]
            checked = _compare(files, ledger.records[: -len(records)]) if force else ledger
            _raise_problems(checked.problems)
            with TemporaryDirectory() as folder:
                for record in records:
                    up, down = (
                        Path(folder, record.name + end) for end in (".sql", ".rollback.sql")
                    )
                    up.write_text(record.applied_text, encoding="utf-8")
                    down.write_text(record.rollback_text, encoding="utf-8")
                migrations = {m.id: m for m in read_migrations(folder)}
                expected = ExpectedSchema(backend.connection, self.instance)
                expected.begin(work=bool(names))
                for position, name in enumerate(names):
                    progress(name, position, len(names))
                    remark = ", forced" if force else ""
                    with _name_in_errors(name):
                        backend.rollback_one(migrations[name], remark)
                progress("", len(names), len(names))
                expected.end(work=bool(names))
            return names

    def accept(self, message: str, actor: str) -> list[str]:
        """Store the current schema as the expected one, and return the drift.

        Raises MigrationError if files and ledger differ: accepting must not hide the difference.
        """
        if not 1 <= len(message) <= _MESSAGE_MAX or not message.isprintable():
            raise MigrationError(f"--message: must be 1 to {_MESSAGE_MAX} printable characters")
        files = read_files(self.folder)
        with self._backend(files) as backend, backend.lock():
            ledger = _compare(files, backend.records())
            _raise_problems(
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
                drift = ExpectedSchema(backend.connection, self.instance).accept(message)
                backend.log_access(actor, "schema", f"accepted: {message}")
            return drift

    def status(self) -> Ledger:
        """Compare files and ledger."""
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
            raise MigrationError("yoyo reads other files than the ones that were checked")
        return migrations


def _compare(files: Sequence[MigrationFile], records: Sequence[Record]) -> Ledger:
    by_name = {file.name: file for file in files}
    if records and records[0].name not in by_name:
        problem = _OTHER_HISTORY.format(records[0].name, files[0].name)
        return Ledger(files=files, records=records, pending=[], newer=[], problems=[problem])
    applied = {record.name: record for record in records if record.state == "applied"}
    unknown = [record for record in records if record.name not in by_name]
    # Includes one that a newer release has begun: all its files before that are applied.
    newest = max((record.timestamp for record in [*applied.values(), *unknown]), default=0)
    pending = [file for file in files if file.name not in applied]
    problems = [
        f"{name} was applied, and its file was edited since. {_WAY_OUT}"
        for name, record in applied.items()
        if name in by_name and by_name[name].checksum != record.checksum
    ]
    problems += [
        f"{record.name} was {record.state}, and its file is missing. {_WAY_OUT}"
        for record in unknown
        if record.timestamp < files[-1].timestamp
    ]
    problems += [
        f"{file.name} is older than an applied migration; give it a new timestamp"
        for file in pending
        if file.timestamp <= newest
    ]
    newer = [record.name for record in unknown if record.timestamp >= files[-1].timestamp]
    return Ledger(
        files=files, records=records, pending=pending, newer=newer, problems=sorted(problems)
    )


def _raise_problems(problems: Sequence[str]) -> None:
    if problems:
        raise MigrationError("; ".join(problems))


@contextmanager
def _name_in_errors(name: str) -> Iterator[None]:
    """Raise MigrationError with the name of the file. The message has no values of rows."""
    try:
        yield
    except psycopg.OperationalError:
        raise  # The cause is the connection, a lock or resources, not the file.
    except psycopg.Error as error:
        raise MigrationError(f"{name} failed: {error.diag.message_primary or error}") from None
