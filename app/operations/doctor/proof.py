"""The proofs: that the history is the one that was signed, and the schema the one that was made."""

from collections.abc import Sequence
from pathlib import Path

from app.access.local_credentials import DataFolderError, has_token_key, token_key
from app.audit.chain_walk import one_moment
from app.audit.heads import Head, read_heads
from app.audit.verification import Broken, Verified, latest_revisions, verify
from app.crypto.signing import Signer
from app.database.catalog.recording import RecordingStatus
from app.database.client.reasons import reason_of
from app.errors import AppError
from app.names import counted
from app.operations.doctor.findings import Finding, absent, failed, first_few, passed, warned
from app.operations.doctor.patient import Patient
from app.schema.drift import SchemaTrail, look
from app.settings import Settings
from app.threads import in_thread

_ACCEPT = "`database accept-schema` takes it as it is, once somebody knows why"


async def look_at_history(patient: Patient) -> Sequence[Finding]:
    """Verify every environment, as `audit verify` does, and without heads that cannot be had."""
    heads: list[Head] | None = None
    trouble = ""
    try:
        heads = await in_thread("heads", lambda: _signed_heads(patient.settings))
    except (AppError, DataFolderError, OSError) as error:
        trouble = reason_of(error)
    async with one_moment(patient.database) as connection:
        names = {*await latest_revisions(connection), *(head.environment for head in heads or ())}
    outcomes: list[Verified | Broken] = []
    for name in sorted(names):
        async with one_moment(patient.database) as connection:
            outcomes.append(await verify(connection, name, heads=heads or ()))
    file = patient.settings.audit.heads_file
    of_heads = (
        failed("signed heads", f"{file}: {trouble}")
        if trouble
        else _of_heads(outcomes, heads, file)
    )
    return [_of_chain(outcomes), of_heads]


def _of_chain(outcomes: Sequence[Verified | Broken]) -> Finding:
    broken = [each for each in outcomes if isinstance(each, Broken)]
    if broken:
        seen = [f"{each.environment}: revision {each.revision} {each.reason}" for each in broken]
        return failed("history", first_few(seen, "; "))
    verified = [each for each in outcomes if isinstance(each, Verified)]
    revisions = sum(each.revision for each in verified)
    text = f"{counted(revisions, 'revision')} of {counted(len(verified), 'environment')} verified"
    unchained = sum(each.unchained for each in verified)
    if unchained:
        return warned("history", f"{text}; {unchained} are older than the chain, so not proven")
    return passed("history", text)


def _of_heads(
    outcomes: Sequence[Verified | Broken], heads: Sequence[Head] | None, file: Path
) -> Finding:
    if heads is None:
        return absent("signed heads", f"there is no {file} here, or no token key")
    held = sum(each.heads for each in outcomes if isinstance(each, Verified))
    text = f"{held} of {len(heads)} are in histories that hold"
    return passed("signed heads", text) if held == len(heads) else failed("signed heads", text)


def _signed_heads(settings: Settings) -> list[Head] | None:
    path = settings.audit.heads_file
    if not path.exists() or not has_token_key(settings):
        return None
    return read_heads(path, {Signer(token_key(settings)).public_key})


async def look_at_schema(patient: Patient) -> Sequence[Finding]:
    """Look for what was changed by hand, and at whether the server records who does so."""
    async with patient.database.connection() as connection:
        trail = await look(connection)
    return [_of_drift(trail), _of_recording(trail)]


def _of_drift(trail: SchemaTrail) -> Finding:
    if trail.drift is None:
        return warned("schema as migrated", trail.unknown or "cannot be compared")
    if trail.drift:
        text = f"{counted(len(trail.drift), 'difference')}: {trail.drift_summary}. {_ACCEPT}"
        return failed("schema as migrated", text)
    return passed("schema as migrated", "every fact is as the last migration left it")


def _of_recording(trail: SchemaTrail) -> Finding:
    match trail.recording:
        case RecordingStatus.RECORDING:
            return passed("schema changes", "are recorded by the server")
        case RecordingStatus.UNAVAILABLE:
            return absent("schema changes", trail.reason or "the server does not record them")
        case RecordingStatus.BROKEN:
            return failed("schema changes", trail.reason or "are not recorded any more")
