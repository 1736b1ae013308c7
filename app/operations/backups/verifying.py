"""Proof that a backup can be put back: it is, in full, into a server made for nothing else.

That a list of its contents can be read proves nothing: it stands at the beginning of the file.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import psycopg
from psycopg import sql as psql

from app.audit.chain_walk import consistent_read
from app.audit.verification import Broken, verify
from app.database import Connection, Database, sql
from app.database.role_names import scram_verifier
from app.errors import AppError
from app.log import logger
from app.operations.backups import reading, store
from app.operations.backups.errors import BackupError
from app.operations.backups.reading import BackupSource, Progress
from app.operations.backups.restoring import compare
from app.operations.backups.scratch import scratch_server
from app.operations.backups.script import apply
from app.operations.backups.statements import connected, said
from app.operations.backups.store import Verification
from app.secrets.data_key_cache import KeysMissingError
from app.secrets.models import Sealed, sealed_of
from app.secrets.vault import Vault
from app.settings import DatabaseSettings, Secret, Settings, Target

log = logger(__name__)

DATABASE = "flagstone"
_ROLE = "verifier"
_SAMPLE = 100
# The service's limits are for requests; here a page of the history may take its time.
_STATEMENT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class SecretsSample:
    """What became of the sample of sealed values, and whether that proves that they open."""

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
    """Restore a backup aside and look at what comes out; keep beside it that this went well.

    Blocks, and runs an event loop of its own. The manifest's signature is checked by the caller.
    Raises BackupError, EmbeddedError, OSError.
    """
    reading.check_digest(source, lambda *_: None)
    with scratch_server(settings.database.embedded_account) as superuser:
        target = _prepare(superuser, settings.database)
        started = time.monotonic()
        _restore(source, target, settings.database, report)
        seconds = time.monotonic() - started
        sample = asyncio.run(_look(source, target, settings.database, vault))
    verification = Verification(
        at=datetime.now(UTC),
        restore_seconds=round(seconds, 3),
        revisions=source.manifest.revisions,
        secrets=sample.text,
    )
    if sample.is_proof or without_secrets:
        _keep(source, verification)
    return verification, sample


def _keep(source: BackupSource, verification: Verification) -> None:
    try:
        store.store_verification(source.folder, verification)
    except OSError as error:
        # Such as a disk that is for reading alone: what was proven is so all the same.
        log.warning("verification_not_kept", name=source.manifest.name, reason=error.strerror)


def _prepare(superuser: Target, settings: DatabaseSettings) -> Target:
    """Make a database and an ordinary role that owns it, and return its way in.

    What was dumped may hold functions that run while it is restored; a superuser's could do
    anything that its account may do on this machine.
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
                apply(connection, reading.script(source, report))
            connection.execute("set search_path = flagstone")
            compare(connection, source.manifest)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise said(error) from None


async def _look(
    source: BackupSource,
    target: Target,
    settings: DatabaseSettings,
    vault: Vault,
) -> SecretsSample:
    """Verify every chain and open some secrets. Raises BackupError."""
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
    """Open a sample of the sealed values with the key ring that is here."""
    sample = await _sample(connection)
    if not sample:
        return SecretsSample(text="none")
    if vault.keys.wrapper is None:
        return SecretsSample(text="not checked, because there is no key ring here", is_proof=False)
    try:
        await vault.check(connection)
        opened = await vault.open_unshredded(connection, sample)
    except (KeysMissingError, AppError) as error:
        return SecretsSample(text=f"not opened: {error}", is_proof=False)
    living = sum(each is not None for each in opened)
    shredded = len(opened) - living
    rest = f", {shredded} shredded" if shredded else ""
    return SecretsSample(text=f"{living} opened{rest}")


async def _sample(connection: Connection) -> Sequence[Sealed]:
    rows = sql.list_some_sealed(connection, sample_size=_SAMPLE)
    found = [
        sealed_of(row["environment"], row["key"], row["version"], row["sealed"])
        async for row in rows
    ]
    return [each for each in found if each is not None]
