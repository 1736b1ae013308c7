"""The MAC that binds the row of a session or code to its secret, its rights and its times.

The key is not in the database. So write access to the table is not enough to sign in, to add scopes
to a session, or to extend it.
"""

import hmac
from datetime import UTC, datetime

from app.access.models import Principal
from app.crypto.derivation import Purpose, derive
from app.crypto.fields import joined
from app.settings import Secret


def secret_mac(
    key: Secret, purpose: Purpose, text: str, principal: Principal, created_at: datetime
) -> bytes:
    """Return the HMAC-SHA-256 of a secret and of what it grants, for SESSIONS or SIGN_IN_CODES."""
    grant = principal.grant
    content = joined(
        text,
        principal.actor,
        principal.name,
        principal.token_id or "",
        ",".join(sorted(grant.scopes)),
        ",".join(sorted(grant.environments)),
        _isoformat(created_at),
        _isoformat(grant.expires_at),
        # Sessions of earlier releases belong to no person, and have the MAC of fewer fields.
        *([principal.person_id] if principal.person_id is not None else []),
        # Nor are they limited to prefixes.
        *([] if grant.has_all_keys else [f"prefixes {','.join(sorted(grant.prefixes))}"]),
    )
    return hmac.digest(derive(key, purpose), content, "sha256")


def _isoformat(at: datetime | None) -> str:
    return at.astimezone(UTC).isoformat() if at is not None else "never"
