"""Checks of the database's contents: migrations, schema, history, keys of entries, data keys."""

from collections.abc import Sequence
from pathlib import Path

from app.access.local_credentials import has_token_key, token_key
from app.audit.chain import consistent_read
from app.audit.heads import Head, read_heads
from app.audit.verification import Broken, Verified, latest_revisions, verify
from app.crypto.signing import Signer
from app.database import sql
from app.database.catalog.recording import RecordingStatus
from app.database.client.reasons import reason_of
from app.database.migrations.runner import Migrator
from app.errors import ForeseenError
from app.names import counted
from app.operations.doctor.findings import Finding, absent, failed, first_few, passed, warned
from app.operations.doctor.installation import Installation
from app.program import PROGRAM
from app.schema.drift import SchemaReport, inspect_schema
from app.secrets.key_sources import present_wrapper_of
from app.secrets.vault import Vault
from app.settings import Settings
from app.threads import in_thread

_ENTRY_KEYS = "keys of entries"


async def check_migrations(installation: Installation) -> Sequence[Finding]:
    """Compare the migration files with the ledger, as `database verify` does."""
    settings, target = installation.settings, installation.migrator_target
    if target is None:
        raise RuntimeError("the database is not open")
    migrator = Migrator(target=target, settings=settings.database, instance=settings.instance)
    ledger = await in_thread("migrations", migrator.status)
    if ledger.problems:
        return [failed("migrations", "; ".join(ledger.problems))]
    if ledger.pending:
        first = ledger.pending[0].name
        return [failed("migrations", f"{len(ledger.pending)} pending, the first is {first}")]
    if ledger.newer:
        return [warned("migrations", f"{', '.join(ledger.newer)}: of a newer release than this")]
    return [passed("migrations", f"all {len(ledger.files)} applied as written")]


async def check_schema(installation: Installation) -> Sequence[Finding]:
    """Check for manual changes of the schema, and whether the server records changes."""
    async with installation.database.connection() as connection:
        report = await inspect_schema(connection)
    return [_drift(report), _recording(report)]


def _drift(report: SchemaReport) -> Finding:
    if report.drift is None:
        return warned("schema as migrated", report.unknown or "cannot be compared")
    if report.drift:
        text = f"{counted(len(report.drift), 'difference')}: {report.drift_summary}"
        advice = f"Find the cause, then accept it with `{PROGRAM} database accept-schema`"
        return failed("schema as migrated", f"{text}. {advice}")
    return passed("schema as migrated", "equals the schema after the last migration")


def _recording(report: SchemaReport) -> Finding:
    match report.recording:
        case RecordingStatus.RECORDING:
            return passed("schema changes", "are recorded by the server")
        case RecordingStatus.UNAVAILABLE:
            return absent("schema changes", report.reason or "the server does not record them")
        case RecordingStatus.BROKEN:
            return failed("schema changes", report.reason or "are no longer recorded")


async def check_history(installation: Installation) -> Sequence[Finding]:
    """Verify the history of every environment, as `audit verify` does.

    Unreadable heads are a separate finding. The history is then verified without them.
    """
    heads: list[Head] | None = None
    problem = ""
    try:
        heads = await in_thread("heads", lambda: _signed_heads(installation.settings))
    except (ForeseenError, OSError) as error:
        problem = reason_of(error)
    async with consistent_read(installation.database) as connection:
        names = {*await latest_revisions(connection), *(head.environment for head in heads or ())}
    outcomes: list[Verified | Broken] = []
    for name in sorted(names):
        async with consistent_read(installation.database) as connection:
            outcomes.append(await verify(connection, name, heads=heads or ()))
    file = installation.settings.audit.heads_file
    if problem:
        return [_chain(outcomes), failed("signed heads", f"{file}: {problem}")]
    return [_chain(outcomes), _heads(outcomes, heads, file)]


def _signed_heads(settings: Settings) -> list[Head] | None:
    path = settings.audit.heads_file
    if not path.exists() or not has_token_key(settings):
        return None
    return read_heads(path, {Signer(token_key(settings)).public_key})


def _chain(outcomes: Sequence[Verified | Broken]) -> Finding:
    broken = [outcome for outcome in outcomes if isinstance(outcome, Broken)]
    if broken:
        texts = [
            f"{chain.environment}: revision {chain.revision} {chain.reason}" for chain in broken
        ]
        return failed("history", first_few(texts, "; "))
    verified = [outcome for outcome in outcomes if isinstance(outcome, Verified)]
    revisions = sum(outcome.revision for outcome in verified)
    text = f"{counted(revisions, 'revision')} of {counted(len(verified), 'environment')} verified"
    return passed("history", text)


def _heads(
    outcomes: Sequence[Verified | Broken], heads: Sequence[Head] | None, file: Path
) -> Finding:
    if heads is None:
        return absent("signed heads", f"there is no {file} here, or no token key")
    verified = sum(outcome.heads for outcome in outcomes if isinstance(outcome, Verified))
    text = f"{verified} of {len(heads)} match the history"
    return (passed if verified == len(heads) else failed)("signed heads", text)


async def check_entry_keys(installation: Installation) -> Sequence[Finding]:
    """List keys that earlier releases accepted and that clients cannot read by a plain path."""
    async with installation.database.connection() as connection:
        rows = [row async for row in sql.list_ambiguous_keys(connection)]
    if not rows:
        return [passed(_ENTRY_KEYS, "every key can be read by a plain path")]
    keys = first_few([f"{row['environment']}: {row['key']}" for row in rows])
    advice = (
        "clients that normalize paths read another key. Write the value under a key without "
        "empty, . and .. segments, then delete this one; its slashes are %2F in a URL"
    )
    return [warned(_ENTRY_KEYS, f"{keys}: {advice}")]


async def check_data_keys(installation: Installation) -> Sequence[Finding]:
    """Unwrap every data key, as each start does."""
    vault = Vault(present_wrapper_of(installation.settings))
    async with installation.database.connection() as connection:
        await vault.refresh(connection)
    if vault.missing:
        keys = first_few([f"{kek} {reason}" for kek, reason in sorted(vault.missing.items())], "; ")
        return [failed("data keys", f"cannot be unwrapped, so secrets are lost: {keys}")]
    if (problem := vault.problem()) is not None:
        return [warned("data keys", problem)]
    count = sum(vault.counts.values())
    return [passed("data keys", f"all {count} can be unwrapped" if count else "there are none yet")]
