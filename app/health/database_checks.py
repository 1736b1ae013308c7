"""What health reports about the way to the database: the primary, and the pooler before it."""

import time

from app.database import Database
from app.health.check import Check, Status

# Followers and heartbeats use statements all the time, so a lasting fault shows again by then.
POOLER_SECONDS = 60.0


def primary_check(database: Database) -> Check:
    """Fail where the only server that answers was the primary once: its data is superseded."""
    primary = database.primary
    failed = Status.WARN if primary.is_found else Status.FAIL
    reasons = [f"{host} is refused: {reason}" for host, reason in primary.refused.items()]
    return Check(
        status=failed if reasons else Status.PASS,
        component_type="datastore",
        observed_value=primary.timeline,
        observed_unit="timeline",
        output="; ".join(reasons) or None,
    )


def pooler_check(database: Database) -> Check:
    """Fail while the pooler loses prepared statements: most requests would fail here."""
    failed_at = database.pooler_failed_at
    has_failed = failed_at is not None and time.monotonic() - failed_at < POOLER_SECONDS
    return Check(
        status=Status.FAIL if has_failed else Status.PASS,
        component_type="datastore",
        output="DATABASE_POOLER or DATABASE_STATEMENT_CACHE does not fit the pooler"
        if has_failed
        else None,
    )
