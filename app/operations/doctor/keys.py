"""The keys: whether they are there, closed to others, and open what they have to."""

from collections.abc import Sequence

from app.access.local_credentials import has_token_key
from app.names import counted
from app.operations.doctor.findings import Finding, absent, failed, first_few, passed, warned
from app.operations.doctor.patient import Patient
from app.secrets.key_sources import present_wrapper_of, ring_file, ring_of
from app.secrets.keyring import KeyState
from app.secrets.vault import Vault
from app.settings import Tier

_OTHERS = 0o077
_FIRST_START = "there is none yet; the first start makes it"


async def look_at_ring(patient: Patient) -> Sequence[Finding]:
    """Look at the key ring and at its file, if it has one. Makes none."""
    settings = patient.settings
    if settings.keys.command is not None:
        return [absent("key ring", "KEY_COMMAND has the keys")]
    ring, file = ring_of(settings), ring_file(settings)
    if ring is None or not ring.keys:
        because = _FIRST_START if settings.tier is Tier.LOCAL else "KEY_RING is not set"
        return [absent("key ring", f"{because}: until then there are no secrets")]
    retired = sum(key.state is KeyState.RETIRED for key in ring.keys)
    text = f"{counted(len(ring.keys), 'key')}, {retired} of them retired"
    if retired:
        text += ", which can be erased once no backup needs them"
    found = [passed("key ring", text)]
    if file is not None:
        mode = file.stat().st_mode & 0o777
        told = f"{file} has mode {mode:04o}"
        is_closed = not mode & _OTHERS
        found.append(
            passed("key ring's file", told)
            if is_closed
            else warned(
                "key ring's file", f"{told}: others than its owner may open it; 0600 is due"
            )
        )
    return found


async def look_at_data_keys(patient: Patient) -> Sequence[Finding]:
    """Unwrap every data key, as each start does."""
    vault = Vault(present_wrapper_of(patient.settings))
    async with patient.database.connection() as connection:
        await vault.look(connection)
    if vault.missing:
        named = first_few(
            [f"{kek} {reason}" for kek, reason in sorted(vault.missing.items())], "; "
        )
        return [failed("data keys", f"cannot be unwrapped, so secrets are lost: {named}")]
    if vault.problem is not None:
        return [warned("data keys", vault.problem)]
    count = sum(vault.counts.values())
    return [passed("data keys", f"all {count} can be unwrapped" if count else "there are none yet")]


async def look_at_token_key(patient: Patient) -> Sequence[Finding]:
    """Look for the key of tokens, in the settings or in DATA_DIR."""
    if patient.settings.access.token_key is not None:
        return [passed("token key", "is set")]
    if has_token_key(patient.settings):
        return [passed("token key", f"is in {patient.settings.data_dir}")]
    return [warned("token key", _FIRST_START)]
