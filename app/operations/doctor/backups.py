"""The backups: whether there is a way back, how old it is, and whether it was ever proven."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from app.access.local_credentials import has_token_key, token_key
from app.crypto.signing import Signer
from app.names import counted
from app.operations.backups import store
from app.operations.backups.store import Backup
from app.operations.doctor.findings import Finding, absent, failed, passed, warned
from app.operations.doctor.patient import Patient
from app.settings import STRICT_TIERS
from app.threads import in_thread

# Without a schedule of our own: somebody else's makes one a day, and may miss one.
_AGE_MAX = timedelta(days=2)
# A way back that nobody has gone for so long may not be one any more.
_PROOF_AGE_MAX = timedelta(days=31)
_VERIFY = "`backup verify` proves one"


async def look_at_backups(patient: Patient) -> Sequence[Finding]:
    """Look at the newest backup, and at the newest that was restored aside."""
    settings = patient.settings
    folder, interval = settings.backups.folder, settings.backups.interval_seconds
    needed = settings.tier in STRICT_TIERS or interval > 0
    if not has_token_key(settings):
        return [absent("backups", "there is no key yet to sign any with")]
    key = Signer(token_key(settings)).public_key
    found = await in_thread("backups", lambda: store.list_all(folder, key))
    good = list(store.usable(found))
    if not good:
        text = f"none in {folder} that is ours and whole, out of {len(found)}"
        return [failed("backups", text) if needed else absent("backups", f"there are {text}")]
    age_max = timedelta(seconds=2 * interval) if interval else _AGE_MAX
    return [_newest(good[0], age_max), *_damaged(found), _proven(good)]


def _newest(backup: Backup, age_max: timedelta) -> Finding:
    if backup.manifest is None:
        return failed("backups", f"{backup.name} has no manifest")
    age = datetime.now(UTC) - backup.manifest.created_at
    text = f"{backup.name}, {_words(age)} old, {backup.manifest.bytes} bytes"
    if age > age_max:
        return warned("backups", f"{text}: above {_words(age_max)}")
    return passed("backups", text)


def _damaged(found: Sequence[Backup]) -> list[Finding]:
    problems = [each.problem for each in found if each.problem is not None]
    if not problems:
        return []
    return [warned("damaged backups", f"{len(problems)} of {len(found)}: {problems[0]}")]


def _proven(good: Sequence[Backup]) -> Finding:
    proof = next((each.verification for each in good if each.verification is not None), None)
    if proof is None:
        return warned(
            "proven backups", f"{counted(len(good), 'backup')}, none was ever restored: {_VERIFY}"
        )
    age = datetime.now(UTC) - proof.at
    text = f"one was restored {_words(age)} ago, in {proof.restore_seconds:g} s"
    if age > _PROOF_AGE_MAX:
        return warned("proven backups", f"{text}: {_VERIFY} anew")
    return passed("proven backups", text)


def _words(time: timedelta) -> str:
    hours = time.total_seconds() / 3600
    return f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.1f} h"
