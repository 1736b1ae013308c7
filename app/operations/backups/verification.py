"""Verify a backup by a full restore into a temporary server.

Reading its table of contents would prove nothing, because that is at the beginning of the file.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import psycopg
from psycopg import sql as psql

from app.audit.chain import consistent_read
from app.audit.verification import Broken, verify
from app.database import Connection, Database, sql
from app.database.role_names import scram_verifier
from app.errors import AppError
from app.log import logger
from app.operations.backups import data_reader, disk_space, store
from app.operations.backups.connection import connected, refusal
from app.operations.backups.data_reader import BackupSource, Progress
from app.operations.backups.errors import BackupError
from app.operations.backups.restore import compare
from app.operations.backups.restore_script import apply_script
from app.operations.backups.store import Verification
from app.operations.backups.temporary_server import temporary_server
from app.secrets.data_key_cache import KeysMissingError
from app.secrets.envelope import Sealed, sealed_of
from app.secrets.vault import Vault
from app.settings import DatabaseSettings, Secret, Settings, Target

log = logger(__name__)

DATABASE = "flagstone"
_ROLE = "verifier"
_SAMPLE = 100
# An empty server with its first segments of the write-ahead log.
_SERVER_BYTES = 80 * 1024 * 1024
# The service's limits are for requests. Here, reading a page of the history may take longer.
_STATEMENT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class SecretsSample:
    """The result of opening a sample of secrets. `is_proof` is true if all were opened."""

    text: str
    is_proof: bool = True


def verify_backup(
    source: BackupSource,
    settings: Settings,
    vault: Vault,
    report: Progress,
    *,
    without_secrets: bool = False,
) -> tuple[Verification, SecretsSample]:
    """Restore a backup into a temporary server, check the result, and store a success.

    Blocks, and runs a separate event loop. The caller has checked the manifest's signature.
    Raises BackupError, EmbeddedError, OSError.
    """
    disk_space.require(_SERVER_BYTES + 2 * source.manifest.bytes)
    data_reader.check_digest(source, lambda *_: None)
    with temporary_server(settings.database.embedded_account) as superuser:
        target = _prepare(superuser, settings.database)
        started = time.monotonic()
        _restore(source, target, settings.database, _guarded(report))
        seconds = time.monotonic() - started
        sample = asyncio.run(_check(source, target, settings.database, vault))
    verification = Verification(
        at=datetime.now(UTC),
        restore_seconds=round(seconds, 3),
        revisions=source.manifest.revisions,
        secrets=sample.text,
    )
    if sample.is_proof or without_secrets:
        _store(source, verification)
    return verification, sample


def _guarded(report: Progress) -> Progress:
    """Return a report that stops the restore before it fills the disk."""

    def check(done: int, total: int) -> None:
        disk_space.require(0)
        report(done, total)

    return check


def _store(source: BackupSource, verification: Verification) -> None:
    try:
        store.store_verification(source.folder, verification)
    except OSError as error:
        # For example, the disk is read-only. The verification was still successful.
        log.warning("verification_not_kept", name=source.manifest.name, reason=error.strerror)


def _prepare(superuser: Target, settings: DatabaseSettings) -> Target:
    """Create a database and the role that owns it, and return that target.

    Functions of the backup may run during the restore. For a superuser they could do everything
    that the server's account may do on this machine.
    """
    password = secrets.token_urlsafe(32)
    with connected(superuser, settings) as connection:
        verifier = psql.Literal(scram_verifier(password))
        connection.execute(
            psql.SQL("create role {} login password {}").format(psql.Identifier(_ROLE), verifier)
        )
        connection.execute(f"create database {DATABASE} template template0 owner {_ROLE}")
    return superuser.named(DATABASE).as_role(_ROLE, Secret(password))


def _restore(
    source: BackupSource, target: Target, settings: DatabaseSettings, report: Progress
) -> None:
    try:
        with connected(target, settings) as connection:
            with connection.transaction():
                apply_script(connection, data_reader.script(source, report))
            connection.execute("set search_path = flagstone")
            compare(connection, source.manifest)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise refusal(error) from None


async def _check(
    source: BackupSource,
    target: Target,
    settings: DatabaseSettings,
    vault: Vault,
) -> SecretsSample:
    """Verify the chain of every environment, and open some secrets. Raises BackupError."""
    slow = replace(
        settings,
        pool_min=0,
        command_timeout_seconds=_STATEMENT_SECONDS,
        acquire_timeout_seconds=_STATEMENT_SECONDS,
    )
    database = Database(slow)
    await database.open(target)
    try:
        async with consistent_read(database) as connection:
            for head in source.manifest.heads:
                outcome = await verify(connection, head.name)
                if isinstance(outcome, Broken):
                    raise BackupError(
                        f"{source.manifest.name}: {outcome.environment}: revision "
                        f"{outcome.revision} {outcome.reason}"
                    )
            return await _open_some(connection, vault)
    finally:
        await database.close()


async def _open_some(connection: Connection, vault: Vault) -> SecretsSample:
    """Open a sample of the sealed values with this host's key ring."""
    sample = await _sample(connection)
    if not sample:
        return SecretsSample(text="none")
    if vault.keys.wrapper is None:
        return SecretsSample(text="not checked, because this host has no key ring", is_proof=False)
    try:
        await vault.check(connection)
        opened = await vault.open_unshredded(connection, sample)
    except (KeysMissingError, AppError) as error:
        return SecretsSample(text=f"not opened: {error}", is_proof=False)
    readable = sum(value is not None for value in opened)
    shredded = len(opened) - readable
    rest = f", {shredded} shredded" if shredded else ""
    return SecretsSample(text=f"{readable} opened{rest}")


async def _sample(connection: Connection) -> Sequence[Sealed]:
    rows = sql.list_some_sealed(connection, sample_size=_SAMPLE)
    sample = [
        sealed_of(row["environment"], row["key"], row["version"], row["sealed"])
        async for row in rows
    ]
    return [sealed for sealed in sample if sealed is not None]
