"""The proofs: that the history is the one that was signed, and the schema the one that was made."""

from collections.abc import Sequence

from app.access.local import has_token_key, token_key
from app.audit.drift import SchemaTrail, look
from app.audit.heads import Head, of_environment, read_heads
from app.audit.verification import Broken, Verified, one_moment, verify
from app.crypto.signing import Signer
from app.database.recording import RecordingStatus
from app.database.threads import in_thread
from app.doctor.findings import Finding, absent, failed, passed, warned
from app.doctor.patient import Patient
from app.environments import service as environments
from app.settings import Settings

_ACCEPT = "`database accept-schema` takes it as it is, once somebody knows why"


async def look_at_history(patient: Patient) -> Sequence[Finding]:
    """Verify every environment, as `audit verify` does."""
    heads = await in_thread("heads", lambda: _signed_heads(patient.settings))
    async with one_moment(patient.database) as connection:
        names = [each.name for each in await environments.list_all(connection)]
    outcomes: list[Verified | Broken] = []
    for name in names:
        async with one_moment(patient.database) as connection:
            known = of_environment(heads or (), name)
            outcomes.append(await verify(connection, name, heads=known))
    return [_of_chain(outcomes), _of_heads(outcomes, heads)]


def _of_chain(outcomes: Sequence[Verified | Broken]) -> Finding:
    broken = [each for each in outcomes if isinstance(each, Broken)]
    if broken:
        told = (f"{each.environment}: revision {each.revision} {each.reason}" for each in broken)
        return failed("history", "; ".join(told))
    verified = [each for each in outcomes if isinstance(each, Verified)]
    revisions = sum(each.revision for each in verified)
    text = f"{revisions} revisions of {len(verified)} environments hold"
    unchained = sum(each.unchained for each in verified)
    if unchained:
        return warned("history", f"{text}; {unchained} are older than the chain, so not proven")
    return passed("history", text)


def _of_heads(outcomes: Sequence[Verified | Broken], heads: Sequence[Head] | None) -> Finding:
    if heads is None:
        return absent("signed heads", "there are none yet: the service writes them")
    held = sum(each.heads for each in outcomes if isinstance(each, Verified))
    return passed("signed heads", f"{held} of {len(heads)} are in the histories that hold")


def _signed_heads(settings: Settings) -> list[Head] | None:
    path = settings.audit.heads_file
    if not path.exists() or not has_token_key(settings):
        return None
    return read_heads(path, Signer(token_key(settings)).public_key)


async def look_at_schema(patient: Patient) -> Sequence[Finding]:
    """Look for what was changed by hand, and at whether the server records who does so."""
    async with patient.database.connection() as connection:
        trail = await look(connection)
    return [_of_drift(trail), _of_recording(trail)]


def _of_drift(trail: SchemaTrail) -> Finding:
    if trail.drift is None:
        return warned("schema as migrated", trail.unknown or "cannot be compared")
    if trail.drift:
        text = f"{len(trail.drift)} facts differ: {trail.drift_summary}. {_ACCEPT}"
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
