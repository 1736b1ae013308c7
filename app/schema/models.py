"""Answers about schema changes and migrations."""

from datetime import datetime

import msgspec

from app.database.catalog.recording import RecordingStatus


class SchemaChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """One schema change that the server recorded.

    `acting_role` is the role that `session_role` had set. `object` is null for a grant; the
    statement names it. `is_direct` is false for an object that was dropped or changed with another
    one. `statement` is cut before its first literal or comment, and then ends in `...`.
    """

    id: int
    at: datetime
    session_role: str
    acting_role: str
    application: str
    client: str | None
    tag: str
    object_type: str | None
    object: str | None
    is_direct: bool
    statement: str


class SchemaAuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of schema changes. `next` is the `before` of the next page, or null on the last one.

    `status` says whether changes are recorded, and `reason` why they are not.
    """

    status: RecordingStatus
    reason: str | None
    items: list[SchemaChangeView]
    next: int | None


class MigrationView(msgspec.Struct, frozen=True, kw_only=True):
    """One migration of the ledger. The state `running` is in progress, or was interrupted."""

    name: str
    kind: str
    phase: str
    state: str
    checksum: str
    instance: str
    applied_at: datetime
    applied_by: str
    duration_ms: int | None


class MigrationList(msgspec.Struct, frozen=True, kw_only=True):
    """All migrations of the ledger, latest first."""

    items: list[MigrationView]
