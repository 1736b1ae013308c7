"""The entries: what earlier releases stored and this one refuses."""

from collections.abc import Sequence

from app.database import sql
from app.operations.doctor.findings import Finding, first_few, passed, warned
from app.operations.doctor.patient import Patient

_KEYS = "keys of entries"


async def look_at_keys(patient: Patient) -> Sequence[Finding]:
    """List keys that clients cannot ask for by a plain path."""
    async with patient.database.connection() as connection:
        rows = [row async for row in sql.list_ambiguous_keys(connection)]
    if not rows:
        return [passed(_KEYS, "every key can be read by a plain path")]
    named = first_few([f"{row['environment']}: {row['key']}" for row in rows])
    return [
        warned(
            _KEYS,
            f"{named}: clients that clean up paths read another key. Write the value under a key "
            "without empty, . and .. segments, then delete this one; its slashes are %2F in a URL",
        )
    ]
